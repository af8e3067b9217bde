"""`fcgi-async map`: run a job for each line, and write an outcome in NDJSON for each job; xargs for PHP-FPM."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.map_joblog import JobLog
from fcgi_async.commands.map_lines import LineJobs, add_line_options
from fcgi_async.commands.map_output import OutcomeWriter
from fcgi_async.commands.map_run import MapRun
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options, count
from fcgi_async.commands.stdio import STDERR, STDIN, write, write_at_once
from fcgi_async.commands.terminal import printable

__all__ = ("add_arguments", "execute")

_STOPPED: Final = 3
_CUT_OFF: Final = 128 + 2
# how many jobs are named in one line
_NAMED: Final = 10


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_line_options(parser)
    parser.add_argument("--unordered", action="store_true", help="write outcomes as they come, not in the lines' order")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count,
        help="most lines that are read and not yet written (default: enough for every worker, plus 1,000 or 16 MiB "
        "that wait for their turn)",
    )
    parser.add_argument(
        "--retries",
        metavar="N",
        type=count,
        default=0,
        help="run a failed job again, at most N times, after 0.2 s and then twice as long each time; without "
        "--idempotent only a job that PHP did not start (default: 0)",
    )
    parser.add_argument("--fail-fast", action="store_true", help="read no more lines after a job has failed")
    parser.add_argument(
        "--joblog", metavar="FILE", help="write each beginning and end of a job there at once, as a line of JSON"
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="continue the --joblog of an earlier run: jobs that succeeded are not run again",
    )
    parser.add_argument("-q", "--quiet", action="store_true", help="write no summary to standard error")
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Run a job for each line of standard input; return the exit code.

    Raises:
        UsageError: the options or what they name cannot be used.
        FastCGIError: no job can be run like this.
    """
    pool = PoolOptions.parse(options)
    jobs = LineJobs.parse(options, pool)
    example = jobs.example()
    with _joblog(options) as log:
        _name_in_doubt(log)
        async with pool.open(example) as php:
            writer = OutcomeWriter(not options.unordered, _input_size())
            run = MapRun(
                jobs=jobs,
                writer=writer,
                log=log,
                limit=options.limit,
                retries=options.retries,
                fail_fast=options.fail_fast,
            )
            try:
                await run.run(php)
            finally:
                writer.progress.clear()
    if run.cut_off:
        write_at_once(STDERR, f"fcgi-async: interrupted; {_summary(run)}\n".encode())
        return _CUT_OFF
    if not options.quiet and writer.read:
        await write(STDERR, f"fcgi-async: {_summary(run)}\n".encode())
    if run.stopped and (run.not_run or not run.complete):
        return _STOPPED
    return 1 if writer.failed else 0


@contextmanager
def _joblog(options: argparse.Namespace) -> Iterator[JobLog | None]:
    if options.joblog is None:
        if options.resume:
            raise UsageError("--resume needs --joblog FILE, which has the jobs that succeeded")
        yield None
        return
    log = JobLog.open(options.joblog, resume=options.resume)
    try:
        yield log
    finally:
        log.close()


def _name_in_doubt(log: JobLog | None) -> None:
    if log is not None and log.in_doubt:
        keys = [printable(str(key)) for key in log.in_doubt]
        more = f" and {len(keys) - _NAMED:,} more" if len(keys) > _NAMED else ""
        names = ", ".join(keys[:_NAMED]) + more
        text = f"were running when an earlier run was cut off, and PHP may have run them; they are run again: {names}"
        write_at_once(STDERR, f"fcgi-async: {len(keys):,} jobs {text}\n".encode())


def _summary(run: MapRun) -> str:
    writer = run.writer
    ended, seconds = writer.done + writer.failed, writer.seconds
    text = f"{ended:,} jobs in {seconds:.1f} s, {ended / max(seconds, 1e-9):,.0f}/s: {writer.done:,} done, "
    text += f"{writer.failed:,} failed"
    if run.skipped:
        text += f", {run.skipped:,} done before"
    if run.not_run:
        text += f", {run.not_run:,} read and not run"
    if not run.complete:
        text += ", and more lines were not read"
    return text


def _input_size() -> int | None:
    try:
        found = os.fstat(STDIN)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
