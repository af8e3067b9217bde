"""`fcgi-async jobs intake`: put messages of a broker as durable jobs, until SIGTERM."""

from __future__ import annotations

import argparse
import os
import signal
from typing import Final

import anyio
from anyio.abc import TaskStatus

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.stdio import STDERR, write
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.intake.intake import Intake
from fcgi_async.jobs.intake.message import FORMS
from fcgi_async.jobs.task import Task

__all__ = ("add_intake", "intake")

_VARIABLE: Final = "FCGI_ASYNC_BROKER"


def add_intake(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments, except the database."""
    parser.add_argument(
        "broker",
        metavar="BROKER",
        nargs="?",
        help="nats://host:4222 or redis://host:6379/0 (default: the environment variable "
        f"{_VARIABLE}, which keeps a password out of the list of processes)",
    )
    parser.add_argument("--stream", metavar="NAME", required=True, help="the stream in JetStream, Redis or Valkey")
    parser.add_argument(
        "--task",
        metavar="NAME",
        action="append",
        required=True,
        help="a task whose jobs messages may put; may be repeated",
    )
    parser.add_argument(
        "--group",
        metavar="NAME",
        default="fcgi_async",
        help="the durable consumer, or consumer group, by which several intakes share the messages "
        "(default: fcgi_async)",
    )
    parser.add_argument(
        "--form",
        metavar="FORM",
        choices=FORMS,
        default="job",
        help='the form of a message: "job", a job as JSON, {"task": ..., "data": ...}; "data", the data of the only '
        'task; or "symfony", a message of Symfony\'s Messenger in JSON (default: job)',
    )
    parser.add_argument(
        "--type",
        metavar="CLASS=TASK",
        action="append",
        default=[],
        type=_type,
        help="with --form symfony: the task for messages of a class; may be repeated",
    )
    parser.add_argument(
        "--keep", action="store_true", help="keep acknowledged messages in the Redis stream, for other groups"
    )
    parser.add_argument(
        "--lost-after",
        metavar="SECONDS",
        type=float,
        default=30.0,
        help="after which messages that an intake took and did not acknowledge go to another intake (default: 30)",
    )


async def intake(jobs: Jobs, options: argparse.Namespace) -> int:
    """Put messages until a signal; return the exit code.

    Raises:
        UsageError: no broker is named, or its client is not installed.
        ConfigurationError: the options do not go together, or the broker has no such stream.
    """
    broker = options.broker or os.environ.get(_VARIABLE)
    if not broker:
        raise UsageError(f"name the broker, or put it into the environment variable {_VARIABLE}")
    try:
        taker = Intake(
            jobs,
            broker,
            stream=options.stream,
            # only the names are stored: the worker decides what runs
            tasks=[Task(name, "/") for name in options.task],
            group=options.group,
            form=options.form,
            types=dict(options.type),
            keep=options.keep,
            lost_after=options.lost_after,
        )
    except ImportError as error:
        raise UsageError(str(error)) from error
    failure: Exception | None = None
    async with anyio.create_task_group() as group:
        await group.start(_stop_by_signal, taker)
        await write(STDERR, f"fcgi-async: takes messages from {taker.name}\n".encode())
        try:
            await taker.run()
        except Exception as error:
            # not as a group
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    await write(STDERR, f"fcgi-async: {taker.taken} messages became jobs, {taker.refused} were refused\n".encode())
    return 0


async def _stop_by_signal(taker: Intake, *, task_status: TaskStatus[None]) -> None:
    with anyio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        task_status.started()
        async for _ in signals:
            taker.stop()


def _type(text: str) -> tuple[str, str]:
    """Parse a class and its task, for argparse."""
    name, sign, task = text.rpartition("=")
    if not sign or not name or not task:
        raise argparse.ArgumentTypeError(r"write CLASS=TASK, such as App\Message\Mail=mail")
    return name, task
