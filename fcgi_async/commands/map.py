"""`fcgi-async map`: a job for each line of NDJSON, an outcome in NDJSON for each job; xargs for PHP-FPM."""

from __future__ import annotations

import argparse
import json
import os
import stat
import time
from collections.abc import AsyncIterator

import anyio
import attrs

from fcgi_async.commands.job_options import JobOptions, add_job_options, parse_json
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options, count
from fcgi_async.commands.progress import Progress
from fcgi_async.commands.stdio import STDIN, STDOUT, read_lines, write
from fcgi_async.dispatch.handle import Outcome
from fcgi_async.errors import ContentEncodingError, FastCGIError, InvalidJob, ResponseTooLarge
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response

__all__ = ("OutcomeWriter", "add_arguments", "describe", "execute")

_Record = dict[str, object]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_job_options(parser)
    parser.add_argument(
        "--unordered", action="store_true", help="write outcomes as they are there, not in the jobs' order"
    )
    parser.add_argument(
        "--limit",
        metavar="N",
        type=count,
        help="jobs read and not yet written at most (default: enough for every worker)",
    )
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Run a job for each line of standard input; return the exit code, 1 where one failed.

    Raises:
        UsageError: the options or what they name cannot be used.
        FastCGIError: no job can be run like this.
    """
    pool = PoolOptions.parse(options)
    template = JobOptions.parse(options, pool.script(options.script))
    writer = OutcomeWriter(ordered=not options.unordered)
    try:
        async with pool.open(template.job(b"", is_json=True)) as php:
            jobs = _read_jobs(template, writer)
            async with php.map(jobs, ordered=writer.ordered, limit=options.limit) as outcomes:
                async for outcome in outcomes:
                    await writer.write(_record(outcome))
    finally:
        writer.progress.clear()
    return 1 if writer.failed else 0


async def _read_jobs(template: JobOptions, writer: OutcomeWriter) -> AsyncIterator[Job]:
    index = number = 0
    async for line in read_lines():
        number += 1
        writer.read += len(line) + 1
        if not line.strip():
            continue
        try:
            parse_json(line)
        except ValueError as error:
            await writer.write(_refusal(index, f"line {number} of standard input is not JSON: {error}"), in_turn=True)
        else:
            yield template.job(line, is_json=True, tag=index)
        index += 1


def _record(outcome: Outcome) -> _Record:
    if outcome.error is not None:
        return describe(outcome.job.tag, None, outcome.error)
    return describe(outcome.job.tag, outcome.response, None)


def _refusal(index: int, message: str) -> _Record:
    return describe(index, None, InvalidJob(message))


def describe(index: object, response: Response | None, error: FastCGIError | None) -> _Record:
    """Return an outcome as the members of its JSON object; each has the same ones."""
    failure = None
    if error is not None:
        failure = error.message
    elif response is not None and not response.ok:
        failure = f"PHP answered with status {response.status}"
    return {
        "index": index,
        "ok": failure is None,
        "status": response.status if response else None,
        "body": _body(response) if response else None,
        "stderr": response.stderr.decode("utf-8", "replace") if response else None,
        "error": failure,
        "error_type": type(error).__name__ if error else None,
        "may_have_run": True if response else error is not None and error.may_have_run,
        "attempts": response.attempts if response else None,
        "timing": attrs.asdict(response.timing) if response else None,
    }


def _body(response: Response) -> object:
    try:
        text = response.text
    except (ContentEncodingError, ResponseTooLarge):
        return response.content.decode("utf-8", "replace")
    try:
        value = parse_json(text if "content-encoding" in response.headers else response.content)
        # a number too large for Python's float would come out as something that is not JSON
        json.dumps(value, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return value


@attrs.define(eq=False)
class OutcomeWriter:
    """Writes outcomes to standard output, and counts them.

    Attributes:
        ordered: whether outcomes are written in the order of the jobs.
        failed: how many were no success.
        read: bytes of standard input that were taken.
    """

    ordered: bool
    failed: int = attrs.field(init=False, default=0)
    read: int = attrs.field(init=False, default=0)
    progress: Progress = attrs.field(init=False, factory=lambda: Progress(_input_size()))
    _written: int = attrs.field(init=False, default=0)
    _advanced: anyio.Event = attrs.field(init=False, factory=anyio.Event)
    _lock: anyio.Lock = attrs.field(init=False, factory=anyio.Lock)
    _started: float = attrs.field(init=False, factory=time.monotonic)
    _shares_terminal: bool = attrs.field(init=False, factory=lambda: os.isatty(STDOUT))

    async def write(self, record: _Record, *, in_turn: bool = False) -> None:
        """Write one outcome.

        Args:
            record: its members.
            in_turn: where outcomes are ordered, wait until those of all jobs before are written.
        """
        while in_turn and self.ordered and self._written != record["index"]:
            await self._advanced.wait()
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        async with self._lock:
            if self._shares_terminal:
                self.progress.clear()
            await write(STDOUT, line)
            self._written += 1
            if not record["ok"]:
                self.failed += 1
            self._advanced.set()
            self._advanced = anyio.Event()
        rate = self._written / max(time.monotonic() - self._started, 1e-9)
        self.progress.update(self.read, f"{self._written:,} done, {self.failed:,} failed, {rate:,.0f} jobs/s")


def _input_size() -> int | None:
    try:
        found = os.fstat(STDIN)
    except OSError:
        return None
    return found.st_size if stat.S_ISREG(found.st_mode) else None
