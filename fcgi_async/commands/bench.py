"""`fcgi-async bench`: run one job repeatedly, and report how long each stage takes."""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Iterator
from itertools import repeat
from typing import Final

import attrs

from fcgi_async.commands.bench_report import Figures, as_json, as_text
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.job_options import JobOptions, add_job_options
from fcgi_async.commands.pool_choice import seconds
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options, count
from fcgi_async.commands.progress import Progress
from fcgi_async.commands.stdio import STDOUT, write
from fcgi_async.commands.stop_signals import stop_signals
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.job.job import Job

__all__ = ("add_arguments", "execute")

_JOBS: Final = 200
_CUT_OFF: Final = 128 + 2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_job_options(parser)
    parser.add_argument("--data", metavar="TEXT", help="the body; @FILE to read it from a file")
    parser.add_argument("-n", "--number", metavar="N", type=count, help=f"how many jobs (default: {_JOBS})")
    parser.add_argument("-z", "--duration", metavar="SECONDS", type=seconds, help="instead: start jobs for so long")
    parser.add_argument(
        "-c",
        "--concurrency",
        metavar="N",
        type=count,
        help="jobs at a time; those without a free worker wait in the queue (default: the number of workers)",
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line")
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Run the jobs and print the figures; return the exit code, 1 if a job failed.

    Raises:
        UsageError: an option, or something that it names, cannot be used.
        FastCGIError: no job can be run with these options.
    """
    pool = PoolOptions.parse(options)
    job = JobOptions.parse(options, pool.script(options.script)).job(_body(options.data))
    async with pool.open(job) as php:
        bench = _Bench(php, job, options.number, options.duration, options.concurrency)
        figures = await bench.run()
    text = as_json(figures) if options.json else as_text(figures)
    await write(STDOUT, text.encode())
    if bench.cut_off:
        return _CUT_OFF
    return 1 if figures.failed else 0


def _body(text: str | None) -> bytes | None:
    if text is None:
        return None
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        with open(text[1:], "rb") as file:
            return file.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"{text}: {error.strerror if isinstance(error, OSError) else error}") from error


@attrs.define(eq=False)
class _Bench:
    """The jobs, and their measurements.

    Attributes:
        cut_off: whether a second signal ended it.
    """

    php: Dispatcher
    job: Job
    number: int | None
    duration: float | None
    concurrency: int | None
    cut_off: bool = attrs.field(init=False, default=False)

    async def run(self) -> Figures:
        """Run the jobs, some at a time; after the first signal, only running jobs are finished."""
        share = sum(endpoint.share for endpoint in self.php.endpoints)
        at_once = self.concurrency or share
        total = self.number or (None if self.duration else _JOBS)
        figures, progress = Figures(at_once, share), Progress(total)
        began = time.monotonic()
        until = None if self.duration is None else began + self.duration

        def end() -> None:
            self.cut_off = True
            outcomes.stop(cancel=True)

        try:
            async with self.php.map(self._jobs(total, until), ordered=False, limit=at_once) as outcomes:
                with stop_signals(outcomes.stop, end):
                    async for outcome in outcomes:
                        figures.add(outcome)
                        figures.seconds = time.monotonic() - began
                        progress.update(figures.jobs, f"{figures.jobs:,} jobs, {figures.rate:,.0f}/s")
        finally:
            progress.clear()
        return figures

    def _jobs(self, total: int | None, until: float | None) -> Iterator[Job]:
        jobs = repeat(self.job) if total is None else repeat(self.job, total)
        for job in jobs:
            if until is not None and time.monotonic() >= until:
                return
            yield job
