"""`fcgi-async run`: run one job, and write its body to standard output."""

from __future__ import annotations

import argparse
import os

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.job_options import JobOptions, add_job_options, parse_json
from fcgi_async.commands.missing_script import missing_script
from fcgi_async.commands.pool_options import PoolOptions, add_pool_options
from fcgi_async.commands.stdio import STDERR, STDIN, STDOUT, read_all, write, write_at_once
from fcgi_async.commands.terminal import printable
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.stream import ResponseStream
from fcgi_async.errors import JobFailed
from fcgi_async.job.job import Job

__all__ = ("add_arguments", "execute")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_job_options(parser)
    bodies = parser.add_argument_group(
        "body",
        "Without either, standard input is the body, unless it is a terminal or empty. "
        "TEXT may be @FILE, or @- or - for standard input.",
    ).add_mutually_exclusive_group()
    bodies.add_argument("--json", metavar="TEXT", help="a JSON body, sent with its Content-Type")
    bodies.add_argument(
        "--data", metavar="TEXT", help="any other body; give its type with --header 'Content-Type: ...'"
    )
    parser.add_argument("--include", action="store_true", help="print the response's status and headers too")
    add_pool_options(parser)


async def execute(options: argparse.Namespace) -> int:
    """Run the job; return the exit code.

    Raises:
        UsageError: an option, or something that it names, cannot be used.
        FastCGIError: the job could not be run, or did not finish.
    """
    pool = PoolOptions.parse(options, one_job=True)
    template = JobOptions.parse(options, pool.script(options.script))
    template.job(None)
    job = template.job(await _read_body(options), is_json=options.json is not None)
    async with pool.open(job) as php:
        return await _run(php, job, include=options.include)


async def _read_body(options: argparse.Namespace) -> bytes | None:
    if options.json is not None:
        body = await _read_text(options.json)
        try:
            parse_json(body)
        except ValueError as error:
            raise UsageError(f"--json is not JSON: {error}") from error
        return body
    if options.data is not None:
        return await _read_text(options.data)
    if os.isatty(STDIN):
        return None
    # an empty input, such as /dev/null under cron, is no body
    return await read_all(_say_what_is_awaited) or None


def _say_what_is_awaited() -> None:
    text = "waits for the body on standard input; add </dev/null if there is none, or --data - to wait silently"
    write_at_once(STDERR, f"fcgi-async: {text}\n".encode())


async def _read_text(text: str) -> bytes:
    if text in ("-", "@-"):
        return await read_all()
    if not text.startswith("@"):
        return os.fsencode(text)
    try:
        with open(text[1:], "rb") as file:  # noqa: ASYNC230 - nothing else is going on yet
            return file.read()
    except (OSError, ValueError) as error:
        raise UsageError(f"{text}: {error.strerror if isinstance(error, OSError) else error}") from error


async def _run(php: Dispatcher, job: Job, *, include: bool) -> int:
    async with php.stream(job) as response:
        if include:
            await write(STDOUT, _head(response))
        shown = 0
        try:
            async for part in response:
                await write(STDOUT, part)
                shown = await _show_stderr(response, shown)
        finally:
            shown = await _show_stderr(response, shown)
            if shown and not response.stderr.endswith(b"\n"):
                await write(STDERR, b"\n")
        if not response.ok:
            hint = missing_script(job.script, response.status, response.stderr)
            await write(STDERR, f"fcgi-async: {_failure(response)}{hint}\n".encode())
            return 1
    return 0


def _failure(response: ResponseStream) -> str:
    if response.status >= 400:
        return f"PHP answered with status {response.status}"
    try:
        response.raise_for_status()
    except JobFailed as error:
        return printable(" ".join(error.message.split()))
    return ""


def _head(response: ResponseStream) -> bytes:
    lines = [("Status", str(response.status)), *response.headers.raw, ("", "")]
    return (
        "\n".join(f"{name}: {value}" if name else "" for name, value in lines).encode("utf-8", "surrogateescape")
        + b"\n"
    )


async def _show_stderr(response: ResponseStream, shown: int) -> int:
    stderr = response.stderr
    await write(STDERR, stderr[shown:])
    return len(stderr)
