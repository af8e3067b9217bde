"""`fcgi-async demo`: real work on real input."""

from __future__ import annotations

import argparse
import json
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path

import anyio
import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options
from fcgi_async.commands.progress import Progress
from fcgi_async.commands.stdio import STDOUT, write
from fcgi_async.demo.report import Measurement, format_differences, format_report
from fcgi_async.demo.sources import Count, count, find_sources, total
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import JobFailed
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response

__all__ = ("add_arguments", "execute")

_SCRIPT = Path(__file__).parent.parent / "demo" / "script.php"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the measurements of each job as JSON")
    library = Path(sysconfig.get_path("stdlib"))
    parser.add_argument("--directory", metavar="DIR", type=Path, default=library, help="another tree of Python files")
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Run PHP over every file, report, and check; return the exit code, 1 if PHP and Python count differently.

    Raises:
        UsageError: there are no files, or --json cannot be written.
        FastCGIError: a job could not be run.
    """
    pool = PoolOptions.parse(options)
    if options.json is not None and not options.json.absolute().parent.is_dir():
        raise UsageError(f"--json {options.json}: there is no such directory")
    contents = await anyio.to_thread.run_sync(_read, options.directory)
    async with pool.open(_job("", b"")) as php:
        jobs, seconds = await _run(php, contents)
    counted = total({job.name: job.count for job in jobs})
    if options.json is not None:
        options.json.write_text(json.dumps([attrs.asdict(job) for job in jobs]))
    expected = total({name: count(content) for name, content in contents.items()})
    text = f"{format_report(jobs, seconds, counted)}\n\n{format_differences(counted, expected)}\n"
    await write(STDOUT, text.encode("utf-8", "surrogateescape"))
    return 0 if counted == expected else 1


def _read(directory: Path) -> dict[str, bytes]:
    try:
        contents = {name: path.read_bytes() for name, path in find_sources(directory).items()}
    except OSError as error:
        raise UsageError(str(error)) from error
    if not contents:
        raise UsageError(f"{directory}: there are no .py files")
    return contents


async def _run(php: Dispatcher, contents: Mapping[str, bytes]) -> tuple[list[Measurement], float]:
    progress = Progress(len(contents), plain=True)
    done: list[Measurement] = []
    began = time.monotonic()
    jobs = (_job(name, content) for name, content in contents.items())
    try:
        # all are submitted at once, to show the queue
        async with php.map(jobs, ordered=False, limit=len(contents)) as outcomes:
            async for outcome in outcomes:
                done.append(_measure(str(outcome.job.tag), outcome.result().raise_for_status(), began))
                files, queued = f"{len(done):,} of {len(contents):,} files", php.statistics().queued
                progress.update(len(done), f"{files}, {queued:,} queued")
    finally:
        progress.clear()
    return done, time.monotonic() - began


def _job(name: str, content: bytes) -> Job:
    return Job(str(_SCRIPT), content=content, tag=name)


def _measure(name: str, response: Response, began: float) -> Measurement:
    try:
        found = json.loads(response.text)
        counted = Count(found["bytes"], found["lines"], found["words"], found["sha256"])
        # PHP's hrtime() reads the machine's monotonic clock, like time.monotonic()
        times = (response.timing.queued, found["started"] / 1e9 - began, found["ended"] / 1e9 - began)
        return Measurement(name, counted, found["compressed"], found["pid"], *times)
    except (ValueError, KeyError, TypeError) as error:
        raise JobFailed(f"this is not the demo's answer: {response.text[:100]!r}", response=response) from error
