"""`fcgi-async worker`: takes durable jobs from a database and runs them, until SIGTERM."""

from __future__ import annotations

import argparse
import importlib
import os
import signal
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress

import anyio
from anyio.abc import TaskStatus

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.jobs_options import add_jobs_option, open_jobs
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options
from fcgi_async.commands.stdio import STDERR, write
from fcgi_async.job.job import Job
from fcgi_async.jobs.task import Task
from fcgi_async.jobs.worker import Worker

__all__ = ("add_arguments", "execute")

_TIMEOUT = 30.0
# what a shell reports for a program that SIGINT has ended
INTERRUPTED = 128 + 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_jobs_option(parser)
    parser.add_argument(
        "--tasks",
        metavar="MODULE:NAME",
        required=True,
        help="the tasks: a sequence of fcgi_async.jobs.Task, or one, in a Python module",
    )
    parser.add_argument(
        "--queue",
        metavar="NAME[=WEIGHT]",
        action="append",
        type=_queue,
        help="a queue to serve, and its weight beside the others (default: all queues of the tasks, alike)",
    )
    parser.add_argument(
        "--ahead", metavar="N", type=int, default=1, help="jobs claimed beside those that run (default: 1)"
    )
    parser.add_argument(
        "--shutdown-timeout",
        metavar="SECONDS",
        type=float,
        default=_TIMEOUT,
        help=f"what jobs that run have to end after SIGTERM or SIGINT (default: {_TIMEOUT:g})",
    )
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Work until a signal; return the exit code.

    Raises:
        UsageError: the options or what they name cannot be used.
        FastCGIError: the database or PHP-FPM cannot be used.
    """
    tasks = _load(options.tasks)
    pool = PoolOptions.parse(options)
    like = [Job(task.script, uri=task.uri) for task in tasks]
    async with pool.open(*like) as php, open_jobs(options) as jobs:
        worker = Worker(
            php,
            jobs,
            tasks,
            queues=dict(options.queue) if options.queue else None,
            ahead=options.ahead,
            shutdown_timeout=options.shutdown_timeout,
        )
        names = ", ".join(task.name for task in tasks)
        failure: Exception | None = None
        ended = False
        async with anyio.create_task_group() as group:
            await group.start(_stop_by_signal, worker, group.cancel_scope)
            await write(STDERR, f"fcgi-async: worker {worker.id} takes jobs of {names}\n".encode())
            try:
                await worker.run()
            except Exception as error:
                # not as a group
                failure = error
            ended = True
            group.cancel_scope.cancel()
        if failure is not None:
            raise failure
    return 0 if ended else INTERRUPTED


async def _stop_by_signal(worker: Worker, scope: anyio.CancelScope, *, task_status: TaskStatus[None]) -> None:
    """Have the worker finish at the first signal, and end it at the second."""
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        stopping = False
        async for _ in signals:
            if stopping:
                scope.cancel()
                return
            stopping = True
            with suppress(OSError):
                await write(
                    STDERR, b"fcgi-async: the worker finishes the jobs that run; a second signal ends it at once\n"
                )
            worker.stop()


def _load(name: str) -> list[Task]:
    """Return the tasks that are called `module:name`.

    Raises:
        UsageError: there are none.
    """
    module, colon, attribute = name.partition(":")
    if not module or not colon or not attribute:
        raise UsageError(f"--tasks {name}: write MODULE:NAME, such as app.tasks:TASKS")
    if os.getcwd() not in sys.path:
        sys.path.insert(0, os.getcwd())
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        raise UsageError(f"--tasks {name}: {error}") from error
    value: object = getattr(found, attribute, None)
    if isinstance(value, Mapping):
        value = tuple(value.values())
    tasks = [value] if isinstance(value, Task) else list(value) if isinstance(value, Iterable) else []
    if not tasks or not all(isinstance(task, Task) for task in tasks):
        raise UsageError(f"--tasks {name}: this is not a Task, nor a sequence of them")
    return tasks


def _queue(text: str) -> tuple[str, int]:
    """Parse a queue and its weight, for argparse."""
    name, _, weight = text.partition("=")
    return name, int(weight or 1)
