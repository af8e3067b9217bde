"""`fcgi-async demo`: real work on real input."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import anyio

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options
from fcgi_async.commands.progress import Progress
from fcgi_async.commands.stdio import STDOUT, write
from fcgi_async.demo.measurement import Measurement, Run
from fcgi_async.demo.sources import Source, Totals, count, find_sources, standard_library
from fcgi_async.demo.table import format_differences, format_report
from fcgi_async.demo.timeline import draw_timeline
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.handle import Outcome
from fcgi_async.job.job import Job

__all__ = ("add_arguments", "execute")

_SCRIPT = Path(__file__).parent.parent / "demo" / "script.php"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "--timeline", metavar="FILE.svg", type=Path, help="draw the run: a row per PHP worker, a bar per job"
    )
    parser.add_argument("--directory", metavar="DIR", type=Path, help="another tree than the standard library")
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Run PHP over every file, report, and check; return the exit code, 1 where PHP counted something else than Python.

    Raises:
        UsageError: there is nothing to do, or nowhere to draw.
        FastCGIError: a job could not be run.
    """
    pool = PoolOptions.parse(options)
    if options.timeline is not None and not options.timeline.absolute().parent.is_dir():
        raise UsageError(f"--timeline {options.timeline}: there is no such directory")
    directory = standard_library() if options.directory is None else options.directory
    sources = find_sources(directory)
    if not sources:
        raise UsageError(f"{directory}: there are no .py files")
    contents = await anyio.to_thread.run_sync(_read, sources)
    async with pool.open(_job("", b"")) as php:
        run = await _run(php, contents)
    counted = Totals.of((job.name, job.count) for job in run.jobs)
    await _print(f"{format_report(run, counted)}\n\n")
    if options.timeline is not None:
        title = "Python's standard library" if options.directory is None else str(directory)
        options.timeline.write_text(draw_timeline(run, title), encoding="utf-8", errors="replace")
        await _print(f"timeline: {options.timeline}\n")
    expected = Totals.of((name, count(content)) for name, content in contents.items())
    await _print(f"{format_differences(counted, expected)}\n")
    return 0 if counted == expected else 1


def _read(sources: Sequence[Source]) -> dict[str, bytes]:
    try:
        return {source.name: source.path.read_bytes() for source in sources}
    except OSError as error:
        raise UsageError(str(error)) from error


async def _run(php: Dispatcher, contents: Mapping[str, bytes]) -> Run:
    total = len(contents)
    progress = Progress(total, plain=True)
    measurements: list[Measurement] = []
    submitted: dict[str, float] = {}

    def jobs() -> Iterator[Job]:
        for name, content in contents.items():
            submitted[name] = time.monotonic()
            yield _job(name, content)

    started = time.monotonic()
    try:
        # all of them are handed in at once, to see them queue
        async with php.map(jobs(), ordered=False, limit=total) as outcomes:
            async for outcome in outcomes:
                measurements.append(_measure(outcome, submitted))
                done = len(measurements)
                progress.update(done, f"{done:,} of {total:,} files, {php.statistics().queued:,} queued")
    finally:
        progress.clear()
    return Run(measurements, started, time.monotonic())


def _job(name: str, content: bytes) -> Job:
    return Job(str(_SCRIPT), content=content, tag=name)


def _measure(outcome: Outcome, submitted: dict[str, float]) -> Measurement:
    name = str(outcome.job.tag)
    return Measurement.read(name, submitted[name], outcome.result().raise_for_status())


async def _print(text: str) -> None:
    await write(STDOUT, text.encode("utf-8", "surrogateescape"))
