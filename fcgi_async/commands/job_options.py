"""The options that all jobs of a command share, except their bodies."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from typing import Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.job.job import Job
from fcgi_async.job.settings import UNSET

__all__ = ("JobOptions", "add_job_options", "parse_json")

_JSON_TYPE = "application/json"


def add_job_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `JobOptions` reads."""
    parser.add_argument("script", metavar="SCRIPT", help="the PHP file to run")
    group = parser.add_argument_group("request")
    group.add_argument(
        "--uri", metavar="TARGET", help="the request target for a front controller, such as /orders/7?x=1"
    )
    group.add_argument("--method", metavar="METHOD", help="the request method (default: POST with a body, GET without)")
    group.add_argument(
        "--query",
        metavar="STRING",
        action=_Query,
        help="the query string, such as a=1&b=2; several are joined with &",
    )
    group.add_argument(
        "--header",
        metavar="'NAME: VALUE'",
        action="append",
        default=[],
        help="a request header; may be given several times",
    )
    group.add_argument(
        "--param",
        metavar="NAME=VALUE",
        action="append",
        default=[],
        help="a FastCGI parameter; may be given several times",
    )
    group.add_argument("--timeout", metavar="SECONDS", type=float, help="from submitting a job to its response")
    group.add_argument(
        "--idempotent",
        action="store_true",
        help="running a job twice does no harm: a job whose connection was lost is retried, even if PHP may have "
        "run it",
    )
    group.add_argument(
        "--success-mark",
        metavar="TEXT",
        help="text at the end of the body (before a line end); a job without it has failed",
    )


def parse_json(text: bytes | str) -> object:
    """Parse standard JSON, without NaN and Infinity.

    Raises:
        ValueError: it is not JSON.
    """
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


class _Query(argparse.Action):
    """Joins what is given several times, as a form's fields are."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: str | Sequence[object] | None,
        option_string: str | None = None,
    ) -> None:
        """Keep one more part."""
        part = str(values)
        if part.startswith("?"):
            parser.error(f"{option_string} {part!r} starts with '?'; leave that out")
        given = getattr(namespace, self.dest)
        setattr(namespace, self.dest, "&".join(filter(None, (given, part))))


@attrs.frozen(kw_only=True)
class JobOptions:
    """How to make each job of a command."""

    script: str
    uri: str | None
    method: str | None
    query: str | None
    headers: Mapping[str, str]
    params: Mapping[str, str]
    timeout: float | None
    idempotent: bool
    success_mark: str | None

    @classmethod
    def parse(cls, options: argparse.Namespace, script: str) -> Self:
        """Read the options.

        Args:
            options: the parsed command line.
            script: the script's absolute path.

        Raises:
            UsageError: an option has the wrong form.
        """
        return cls(
            script=script,
            uri=options.uri,
            method=options.method,
            query=options.query,
            headers=_pairs("--header", options.header, ":"),
            params=_pairs("--param", options.param, "="),
            timeout=options.timeout,
            idempotent=options.idempotent,
            success_mark=options.success_mark,
        )

    def job(self, content: bytes | None, *, is_json: bool = False, tag: object = None) -> Job:
        """Make a job with this body.

        Raises:
            InvalidJob: the job could never be sent.
        """
        headers = dict(self.headers)
        if is_json and not any(name.lower() == "content-type" for name in headers):
            headers["Content-Type"] = _JSON_TYPE
        return Job(
            self.script,
            uri=self.uri,
            method=self.method,
            query=self.query,
            headers=headers,
            params=self.params,
            content=content,
            timeout=UNSET if self.timeout is None else self.timeout,
            idempotent=self.idempotent,
            success_mark=self.success_mark,
            tag=tag,
        )


def _pairs(option: str, given: Sequence[str], separator: str) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for text in given:
        name, found, value = text.partition(separator)
        if not found:
            raise UsageError(f"{option} {text!r} has no {separator!r} between name and value")
        name, value = name.strip(), value.strip() if option == "--header" else value
        if name in pairs:
            raise UsageError(f"{option} {name!r} is given twice")
        pairs[name] = value
    return pairs


def _refuse_constant(name: str) -> object:
    raise ValueError(f"{name} is not JSON")
