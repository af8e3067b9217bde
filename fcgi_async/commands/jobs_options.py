"""Which databases of durable jobs a command uses."""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from fcgi_async.commands.errors import UsageError
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.databases import Databases
from fcgi_async.jobs.locate import LEASE
from fcgi_async.jobs.sql.sqlite_path import relative_meant
from fcgi_async.jobs.sql.sqlite_store import SQLiteStore

__all__ = ("add_jobs_option", "open_jobs", "open_one")

_VARIABLE: Final = "FCGI_ASYNC_JOBS"
_KIND: Final = "(?:sqlite|postgres|postgresql|mysql|mariadb):"
_NAMED: Final = re.compile(rf"(?P<queue>[^=:/@ ]+(?::[^=:/@ ]+)*)=(?P<url>{_KIND}.*)", re.DOTALL)
# a file's path may have blanks
_BETWEEN: Final = re.compile(rf"\s+(?=(?:[^=/@\s]+=)?{_KIND})")


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that `open_jobs()` and `open_one()` read."""
    parser.add_argument(
        "--jobs",
        metavar="[QUEUE=]URL",
        action="append",
        help="the database: sqlite:///var/lib/app/jobs.db, postgresql://user@host/database or "
        f"mysql://user@host/database (default: the environment variable {_VARIABLE}, which hides a password from "
        "the list of processes); with QUEUE= that of one queue, repeated for several databases, which stand in the "
        "variable one after the other with blanks in between",
    )


def open_jobs(options: argparse.Namespace, *, lease: float = LEASE) -> Jobs | Databases:
    """Return the database, or several, to be entered.

    Args:
        options: the parsed command line.
        lease: seconds without a sign after which a worker counts as dead, if the database is a server.

    Raises:
        UsageError: none is named, one is named twice, or the extra for it is not installed.
        ConfigurationError: there is no such kind of database, or the lease is too short.
    """
    queues, others = _named(options)
    try:
        if others is not None and not queues:
            return Jobs(others, lease=lease)
        return Databases(queues, others, lease=lease)
    except ImportError as error:
        raise UsageError(str(error)) from error


def open_one(options: argparse.Namespace, queue: str | None, *, makes_file: bool) -> Jobs:
    """Return the database, to be entered; of several that of a queue.

    Args:
        options: what was parsed.
        queue: whose database it is, if there are several.
        makes_file: whether an SQLite file that is not there is made.

    Raises:
        UsageError: what `open_jobs()` raises; there are several, and no queue says which; or the file is not there.
        ConfigurationError: what `open_jobs()` raises.
    """
    queues, others = _named(options)
    several = {*queues.values(), *(() if others is None else (others,))}
    if len(several) == 1:
        return _open(several.pop(), makes_file)
    if queue is None:
        raise UsageError(f"there are several databases: say which by one of its queues, --of {next(iter(queues))}")
    url = queues.get(queue, others)
    if url is None:
        raise UsageError(f"no database is named for queue {queue!r}; there are {', '.join(map(repr, queues))}")
    return _open(url, makes_file)


def _open(url: str, makes_file: bool) -> Jobs:
    try:
        jobs = Jobs(url)
    except ImportError as error:
        raise UsageError(str(error)) from error
    if not makes_file and isinstance(jobs.store, SQLiteStore):
        _require_file(jobs.store.path)
    return jobs


def _named(options: argparse.Namespace) -> tuple[dict[str, str], str | None]:
    """Return the URL of each queue that has its own, and that of the others."""
    given: Sequence[str] = options.jobs or _BETWEEN.split(os.environ.get(_VARIABLE, "").strip())
    queues: dict[str, str] = {}
    others: list[str] = []
    for each in filter(None, given):
        named = _NAMED.fullmatch(each)
        if named is None:
            others.append(each)
        elif queues.setdefault(named["queue"], named["url"]) != named["url"]:
            raise UsageError(f"two databases are named for queue {named['queue']!r}; one keeps it")
    if not queues and not others:
        raise UsageError(f"name the database of the jobs with --jobs URL, or in the environment variable {_VARIABLE}")
    if len(others) > 1:
        raise UsageError("several databases are named without a queue: write --jobs QUEUE=URL for all but one")
    return queues, others[0] if others else None


def _require_file(path: Path) -> None:
    try:
        path.stat()
    except FileNotFoundError as error:
        makers = "`fcgi-async jobs migrate`, or the first job that is put, makes it"
        raise UsageError(f"--jobs: there is no file {path}; {makers}{relative_meant(path)}") from error
    except OSError:
        # SQLite's own message says what is wrong with it
        return
