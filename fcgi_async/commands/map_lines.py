"""Make jobs of the lines of standard input, and find what identifies each."""

from __future__ import annotations

import argparse
import os
from hashlib import blake2b
from typing import Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.job_options import JobOptions, add_job_options, parse_json
from fcgi_async.commands.placeholder import (
    PLACEHOLDER,
    fill_bytes,
    fill_json,
    fill_path,
    fill_target,
    fill_text,
)
from fcgi_async.commands.pool_options import PoolOptions
from fcgi_async.errors import InvalidJob
from fcgi_async.job.job import Job

__all__ = ("Key", "Line", "LineJobs", "add_line_options")

Key = str | int


def add_line_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `LineJobs` reads."""
    add_job_options(parser)
    group = parser.add_argument_group(
        "lines",
        "A line is JSON, the body of its job; or any text, if SCRIPT or one of --uri, --query, --header, --param, "
        "--json and --data has {} in it, which the line replaces.",
    )
    bodies = group.add_mutually_exclusive_group()
    bodies.add_argument("--json", metavar="TEXT", help="a JSON body; within a string in it, the line is escaped")
    bodies.add_argument("--data", metavar="TEXT", help="any other body, with the unchanged line")
    group.add_argument(
        "--key",
        metavar="NAME",
        help="the member of each line that identifies it in outcomes and in the job log, text or a whole number "
        "(default: the line itself if there is {}, otherwise its index)",
    )


@attrs.define(eq=False)
class Line:
    """A line of standard input, and its job.

    Attributes:
        index: its index from 0, not counting blank lines.
        key: the value that identifies it.
        digest: the hash of its text.
        job: its job; None if no job can be made of it.
        again: how many times it was run again.
    """

    index: int
    key: Key
    digest: str
    job: Job | None
    again: int = attrs.field(default=0, init=False)


@attrs.frozen(kw_only=True)
class LineJobs:
    """Makes the jobs of lines."""

    options: JobOptions
    json: str | None
    data: str | None
    key: str | None
    folder: str | None
    filled: bool

    @classmethod
    def parse(cls, options: argparse.Namespace, pool: PoolOptions) -> Self:
        """Read the options.

        Raises:
            UsageError: an option has the wrong form, or the options do not go together.
        """
        pairs = [*options.header, *options.param]
        places = [options.script, options.uri, options.query, options.json, options.data, *pairs]
        filled = any(PLACEHOLDER in place for place in places if place is not None)
        if not filled and (options.json is not None or options.data is not None):
            raise UsageError("each line is a body; put {} into --json or --data where the line goes")
        if filled and options.key is not None:
            raise UsageError("--key NAME is a member of lines that are JSON; with {} the line itself is the key")
        script = options.script if PLACEHOLDER in options.script else pool.script(options.script)
        return cls(
            options=JobOptions.parse(options, script),
            json=options.json,
            data=options.data,
            key=options.key,
            folder=os.getcwd() if pool.address is None else None,
            filled=filled,
        )

    def example(self) -> Job:
        """Return an example of the jobs.

        Raises:
            InvalidJob: no job can be sent with these options.
        """
        script = os.path.join(self.folder or "/", self.options.script)
        return attrs.evolve(self.options, script=script).job(b"", is_json=True, tag=0)

    def line(self, text: bytes, index: int) -> Line:
        """Return a line with its job.

        Raises:
            InvalidJob: no job can be made of it; the error tells what is wrong with the line.
        """
        if self.filled:
            return self._filled(text, index)
        try:
            value = parse_json(text)
        except ValueError as error:
            raise InvalidJob(
                f"is not JSON: {error}; if lines are text, put {{}} where a line goes, as in --query 'line={{}}'"
            ) from error
        key = index if self.key is None else _member(value, self.key)
        return Line(index, key, _digest(text), self.options.job(text, is_json=True, tag=key))

    def refused(self, text: bytes, index: int) -> Line:
        """Return a line without a job."""
        key = text.decode("utf-8", "replace") if self.filled else index
        return Line(index, key, _digest(text), None)

    @property
    def by_index(self) -> bool:
        """Whether lines are identified by their index."""
        return self.key is None and not self.filled

    def _filled(self, text: bytes, index: int) -> Line:
        options, key = self.options, text.decode("utf-8", "replace")
        body = None
        if self.json is not None:
            body = fill_json(self.json, text)
            try:
                parse_json(body)
            except ValueError as error:
                raise InvalidJob(f"makes a body that is not JSON: {error}") from error
        elif self.data is not None:
            body = fill_bytes(self.data, text)
        made = attrs.evolve(
            options,
            script=self._script(text),
            uri=None if options.uri is None else fill_target(options.uri, text),
            query=None if options.query is None else fill_target(options.query, text),
            headers={name: fill_text(value, text) for name, value in options.headers.items()},
            params={name: fill_text(value, text) for name, value in options.params.items()},
        )
        return Line(index, key, _digest(text), made.job(body, is_json=self.json is not None, tag=key))

    def _script(self, text: bytes) -> str:
        path = fill_path(self.options.script, text)
        if self.folder is not None:
            return os.path.join(self.folder, path)
        if not path.startswith("/"):
            raise InvalidJob(f"makes the script {path!r}; PHP-FPM needs the absolute path on its side")
        return path


def _digest(text: bytes) -> str:
    return blake2b(text, digest_size=8).hexdigest()


def _member(value: object, name: str) -> Key:
    found = value.get(name) if isinstance(value, dict) else None
    if isinstance(found, bool) or not isinstance(found, str | int):
        raise InvalidJob(f"has no member {name!r} that is a text or a whole number, which --key names")
    return found
