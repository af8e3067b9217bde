"""What the jobs of a command have in common, besides their bodies."""

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
    group.add_argument("--query", metavar="STRING", help="the query string, such as a=1&b=2")
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
    group.add_argument("--timeout", metavar="SECONDS", type=float, help="from handing a job in to its response")


def parse_json(text: bytes | str) -> object:
    """Parse JSON as the standard has it, without NaN and Infinity.

    Raises:
        ValueError: it is none.
    """
    try:
        value: object = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    return value


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

    @classmethod
    def parse(cls, options: argparse.Namespace, script: str) -> Self:
        """Read the options.

        Args:
            options: what the command line says.
            script: the script's absolute path.

        Raises:
            UsageError: one of them is not in its form.
        """
        return cls(
            script=script,
            uri=options.uri,
            method=options.method,
            query=options.query,
            headers=_pairs("--header", options.header, ":"),
            params=_pairs("--param", options.param, "="),
            timeout=options.timeout,
        )

    def job(self, content: bytes | None, *, is_json: bool = False, tag: object = None) -> Job:
        """Make the job that has this body.

        Raises:
            InvalidJob: it could never be sent.
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
