"""`fcgi-async jobs`: put and show durable jobs, and retry, cancel or delete them."""

from __future__ import annotations

import argparse
import json
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.job_options import parse_json
from fcgi_async.commands.jobs_intake import add_intake, intake
from fcgi_async.commands.jobs_options import add_jobs_option, open_one
from fcgi_async.commands.jobs_report import counts_as_text, fields, list_as_text, record_as_text
from fcgi_async.commands.jobs_web import add_web, web
from fcgi_async.commands.pool_options import count
from fcgi_async.commands.stdio import STDERR, STDOUT, write
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.record import STATES, State
from fcgi_async.jobs.task import Task

__all__ = ("add_arguments", "execute")

# others look at a file, or change what is in it: one that is not there is a mistyped one
_MAKING: Final = ("enqueue", "migrate", "intake")
# performs an action; returns the exit code
_Action = Callable[[Jobs, argparse.Namespace], Awaitable[int]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    for name, (_, purpose, add) in _ACTIONS.items():
        subparser = actions.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        add(subparser)
        add_jobs_option(subparser)
        subparser.add_argument(
            "--of", metavar="QUEUE", help="of several databases, the one that keeps this queue (needed only then)"
        )
        subparser.add_argument("--json", action="store_true", help="write JSON, one object on a line")


async def execute(options: argparse.Namespace) -> int:
    """Perform the action; return the exit code.

    Raises:
        UsageError: the options cannot be used.
        JobsError: the database cannot be used, or it does not have what was named.
    """
    # pause and resume name one themselves
    queue = options.of or getattr(options, "queue", None)
    async with open_one(options, queue, makes_file=options.action in _MAKING) as jobs:
        return await _ACTIONS[options.action][0](jobs, options)


# the arguments of the actions


def _add_nothing(parser: argparse.ArgumentParser) -> None:
    """Add no arguments."""


def _add_new(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("task", metavar="TASK", help="the task's name")
    parser.add_argument("data", metavar="JSON", nargs="?", default="null", help="its data (default: null)")
    parser.add_argument("--delay", metavar="SECONDS", type=float, default=0.0, help="until the job may run")
    parser.add_argument("--priority", metavar="N", type=int, default=0, help="higher runs first (default: 0)")
    parser.add_argument("--unique", metavar="KEY", help="a key that one job of the task holds at a time")
    parser.add_argument(
        "--unique-for", metavar="SECONDS", type=float, default=0.0, help="for which the key is held at least"
    )
    parser.add_argument("--id", metavar="ID", help="a name for the job; a repeated command stores it only once")


def _add_filter(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--state",
        metavar="STATE",
        choices=STATES,
        action="append",
        default=[],
        help=f"only jobs in this state, one of {', '.join(STATES)}; may be repeated",
    )
    parser.add_argument("--task", metavar="TASK", help="only jobs of this task")
    parser.add_argument("--after", metavar="N", type=int, default=0, help="only jobs whose number is higher")
    parser.add_argument("--limit", metavar="N", type=count, default=100, help="most jobs to show (default: 100)")


def _add_id(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("id", metavar="ID", help="the job's id")


def _add_ids(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="+", help="a job's id")


def _add_purge(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("ids", metavar="ID", nargs="*", help="a job's id (default: all in the named states)")
    parser.add_argument(
        "--state",
        metavar="STATE",
        choices=("done", "dead", "cancelled", "in_doubt"),
        action="append",
        default=[],
        help="only jobs in this state: done, dead, cancelled or in_doubt; may be repeated; needed unless ids are given",
    )


def _add_queue(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("queue", metavar="QUEUE", help="the queue's name")


# the actions


async def _enqueue(jobs: Jobs, options: argparse.Namespace) -> int:
    try:
        data = parse_json(options.data.encode())
    except ValueError as error:
        raise UsageError(f"the data is not JSON: {error}; text needs quotes of its own, as in '\"text\"'") from error
    # only the name is stored: the worker decides what runs
    handle = await jobs.enqueue(
        Task(options.task, "/"),
        data,
        delay=options.delay,
        priority=options.priority,
        unique=options.unique,
        unique_for=options.unique_for,
        id=options.id,
    )
    await _say(json.dumps({"id": handle.id}) if options.json else handle.id)
    return 0


async def _list(jobs: Jobs, options: argparse.Namespace) -> int:
    records = await jobs.find(
        states=options.state, task=options.task, after=options.after, limit=options.limit, data=options.json
    )
    if options.json:
        for record in records:
            await _say(json.dumps(fields(record)))
    else:
        await _say(list_as_text(records))
    return 0


async def _show(jobs: Jobs, options: argparse.Namespace) -> int:
    record = await jobs.get(options.id)
    await _say(json.dumps(fields(record)) if options.json else record_as_text(record))
    return 0


async def _retry(jobs: Jobs, options: argparse.Namespace) -> int:
    return await _changed(await jobs.retry(*options.ids), options, "retried")


async def _cancel(jobs: Jobs, options: argparse.Namespace) -> int:
    return await _changed(await jobs.cancel(*options.ids), options, "cancelled")


async def _purge(jobs: Jobs, options: argparse.Namespace) -> int:
    if not options.ids and not options.state:
        raise UsageError("name the jobs to delete by their ids, or by --state")
    states: Sequence[State] = options.state or ("done", "dead", "cancelled", "in_doubt")
    purged = await jobs.purge(*options.ids, states=states)
    return await _changed(purged, options, "deleted", expected=len(options.ids))


async def _pause(jobs: Jobs, options: argparse.Namespace) -> int:
    await jobs.pause(options.queue)
    return await _counts(jobs, options) if options.json else 0


async def _resume(jobs: Jobs, options: argparse.Namespace) -> int:
    await jobs.resume(options.queue)
    return await _counts(jobs, options) if options.json else 0


async def _counts(jobs: Jobs, options: argparse.Namespace) -> int:
    counts = await jobs.counts()
    await _say(json.dumps(fields(counts)) if options.json else counts_as_text(counts))
    return 0


async def _migrate(jobs: Jobs, options: argparse.Namespace) -> int:
    # opening the database has done it
    version = await jobs.store.version()
    await _say(json.dumps({"version": version}) if options.json else f"the tables are of version {version}")
    return 0


async def _check(jobs: Jobs, options: argparse.Namespace) -> int:
    faults = await jobs.store.check()
    if options.json:
        await _say(json.dumps({"faults": faults}))
    else:
        await _say("\n".join(faults) or "nothing is wrong")
    return 1 if faults else 0


async def _changed(changed: int, options: argparse.Namespace, done: str, expected: int | None = None) -> int:
    wanted = len(options.ids) if expected is None else expected
    await _say(json.dumps({done: changed}) if options.json else f"{changed} {done}")
    if changed < wanted and not options.json:
        what = f"{wanted - changed} not {done}: not in the database, or in another state; see `fcgi-async jobs show ID`"
        await write(STDERR, f"fcgi-async: {what}\n".encode())
    return 1 if changed < wanted else 0


async def _say(text: str) -> None:
    if text:
        await write(STDOUT, f"{text}\n".encode())


_ACTIONS: Final[dict[str, tuple[_Action, str, Callable[[argparse.ArgumentParser], None]]]] = {
    "enqueue": (_enqueue, "put a job and print its id", _add_new),
    "list": (_list, "list jobs in the order in which they were put", _add_filter),
    "show": (_show, "show everything that is known about a job", _add_id),
    "retry": (_retry, "make dead, cancelled and in-doubt jobs ready again", _add_ids),
    "cancel": (_cancel, "stop jobs from running, or from being retried", _add_ids),
    "purge": (_purge, "delete jobs that are done, dead, cancelled or in doubt", _add_purge),
    "pause": (_pause, "stop workers from taking jobs of a queue", _add_queue),
    "resume": (_resume, "let workers take jobs of a queue again", _add_queue),
    "counts": (_counts, "count jobs by state and task, and list workers", _add_nothing),
    "migrate": (_migrate, "create the tables, or migrate them to this release's version", _add_nothing),
    "check": (_check, "check for damage, and for jobs that no worker will ever take", _add_nothing),
    "intake": (intake, "put messages of a broker as jobs", add_intake),
    "web": (web, "serve a page that shows the jobs", add_web),
}
