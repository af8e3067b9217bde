"""`fcgi-async worker`: take durable jobs from a database and run them, until SIGTERM."""

from __future__ import annotations

import argparse
import signal
from contextlib import suppress

import anyio
from anyio.abc import TaskStatus

from fcgi_async.commands.jobs_options import add_jobs_option, open_jobs
from fcgi_async.commands.named import load_schedules, load_tasks
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options
from fcgi_async.commands.stdio import STDERR, write
from fcgi_async.job.job import Job
from fcgi_async.jobs.locate import LEASE
from fcgi_async.jobs.worker import Worker

__all__ = ("add_arguments", "execute")

_TIMEOUT = 30.0
# what a shell reports for a program ended by SIGINT
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
        "--schedules",
        metavar="MODULE:NAME",
        help="the schedules: a sequence of fcgi_async.jobs.Cron, or one, in a Python module",
    )
    parser.add_argument(
        "--queue",
        metavar="NAME[=WEIGHT]",
        action="append",
        type=_queue,
        help="a queue to serve, and its weight (default: all queues of the tasks, with equal weights)",
    )
    parser.add_argument(
        "--ahead", metavar="N", type=int, default=1, help="jobs claimed in addition to the running ones (default: 1)"
    )
    parser.add_argument(
        "--lease",
        metavar="SECONDS",
        type=float,
        default=LEASE,
        help=f"on a server: if there is no sign of this worker for so long, its jobs go to others (default: {LEASE:g})",
    )
    parser.add_argument(
        "--shutdown-timeout",
        metavar="SECONDS",
        type=float,
        default=_TIMEOUT,
        help=f"time that running jobs have to end after SIGTERM or SIGINT (default: {_TIMEOUT:g})",
    )
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Work until a signal; return the exit code.

    Raises:
        UsageError: an option, or something that it names, cannot be used.
        FastCGIError: the database or PHP-FPM cannot be used.
    """
    tasks = load_tasks(options.tasks)
    schedules = [] if options.schedules is None else load_schedules(options.schedules)
    pool = PoolOptions.parse(options)
    like = [Job(task.script, uri=task.uri) for task in tasks]
    async with pool.open(*like) as php, open_jobs(options, lease=options.lease) as jobs:
        worker = Worker(
            php,
            jobs,
            tasks,
            schedules=schedules,
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
    """Let the worker finish at the first signal, and end it at the second."""
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


def _queue(text: str) -> tuple[str, int]:
    """Parse a queue and its weight, for argparse."""
    name, _, weight = text.partition("=")
    if not name or not (weight or "1").isdecimal():
        raise argparse.ArgumentTypeError(f"{text} is not NAME=WEIGHT, such as mail=2")
    return name, int(weight or 1)
