"""Wrong arguments: of a job, and of what a dispatcher is made of."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Final

from fcgi_async import (
    ConfigurationError,
    Dispatcher,
    Endpoint,
    InvalidJob,
    JobError,
    KeepAlive,
    Limits,
    Retry,
    Role,
    Timeouts,
)
from fcgi_async import Job as RealJob
from tests.mistakes.mistake import ADDRESS, ECHO, Here, Mistake, run_at

# wrong types are what is tried
Job: Any = RealJob


def job(name: str, what: str, where: str, cure: str, **arguments: object) -> Mistake:
    """A job that cannot be made."""
    script = arguments.pop("script", ECHO)
    return Mistake(name, lambda _: Job(script, **arguments), InvalidJob, what, where, cure)


def setting(name: str, make: Any, what: str, where: str, cure: str, **arguments: object) -> Mistake:
    """Settings that cannot work."""
    return Mistake(name, lambda _: make(**arguments), ConfigurationError, what, where, cure)


def dispatcher(endpoints: Any = ADDRESS, max_children: Any = 4, **settings: Any) -> Dispatcher:
    return Dispatcher(endpoints, max_children=max_children, **settings)


def endpoint(max_children: Any = 4, **settings: Any) -> Endpoint:
    return Endpoint(ADDRESS, max_children=max_children, **settings)


async def three_bytes() -> AsyncIterator[bytes]:
    yield b"abc"


async def text() -> AsyncIterator[Any]:
    yield "abc"


async def short_body(here: Here) -> None:
    await run_at(here.fpm.address, Job(ECHO, content=three_bytes(), content_length=5))


async def text_body(here: Here) -> None:
    await run_at(here.fpm.address, Job(ECHO, content=text(), content_length=3))


async def body_sent_twice(here: Here) -> None:
    job = Job(ECHO, content=three_bytes(), content_length=3)
    async with here.php() as php:
        await php.run_all([job, job])


SECONDS = "a number of seconds of at least 0, or None"

JOBS: Final = (
    job("no script", "is empty", "script=", "name the PHP file", script=""),
    job("script as bytes", "not bytes", "script", "must be a string", script=b"/a.php"),
    job("script as a number", "not int", "script", "must be a string", script=7),
    job("script with a NUL", "has a NUL", "script", "remove it", script="/a.php\0.txt"),
    job("URL as uri", "must start with /", "uri='http://a/b'", "as in /orders/7", uri="http://a/b"),
    job("uri with a blank", "no whitespace", "uri='/a b'", "as in /orders/7", uri="/a b"),
    job("uri and query", "both given", "uri= and query=", "write the query into the uri", uri="/a", query="b=1"),
    job("method with a blank", "not a request method", "method='GET /'", "such as GET", method="GET /"),
    job("query as a number", "not int", "query=", "must be a mapping", query=7),
    job("query as a list of names", "not str", "query=", "pairs of (name, value)", query=["a", "b"]),
    job("date in a query", "type date", "query['day']", "give str", query={"day": date(2026, 1, 1)}),
    job("body as a dict", "not dict", "content=", "use json= or form=", content={"a": 1}),
    job("body as a number", "not int", "content=", "must be bytes, str", content=7),
    job("body without a length", "body of unknown length", "content=", "needs content_length=", content=three_bytes()),
    job("length of bytes", "is only for an async iterable", "content_length=", "leave it out", content_length=3),
    job("two bodies", "both bodies", "json= and form=", "give one", json=1, form={"a": 1}),
    job("set as JSON", "type set is not JSON", "json=", "give dicts, lists", json={"a": {1}}),
    job("NaN as JSON", "not JSON compliant", "json=", "finite numbers", json=math.nan),
    job("form as bytes", "not bytes", "form=", "raw bytes go into content=", form=b"a=1"),
    job("files as a list", "not list", "files=", "mapping of names to files", files=["a.png"]),
    job("file that is not there", "No such file", "/nowhere/a", "path of a file", files={"f": Path("/nowhere/a")}),
    job("folder as a file", "not a regular file", "files['f']: /tmp", "path of one", files={"f": Path("/tmp")}),
    job("headers as text", "not str", "headers", "must be a mapping", headers="Accept: a/b"),
    job("header with a line break", "line break", "headers['X-A']", "remove it", headers={"X-A": "a\r\nX-B: b"}),
    job("header name with a blank", "not the name", "'X A'", "such as Accept-Language", headers={"X A": "b"}),
    job("header as a number", "not int", "headers['X-A']", "must be a string", headers={"X-A": 7}),
    job("Content-Length", "do not set", "Content-Length", "computed from the body", headers={"Content-Length": "7"}),
    job("params as pairs", "not list", "params", "mapping of names", params=[("A", "b")]),
    job("param as a number", "not int", "params['A']", "must be a string", params={"A": 7}),
    job("param without a name", "empty name", "params", "name it", params={"": "a"}),
    job("param that is sent anyway", "twice", "'REQUEST_METHOD'", "method=", params={"REQUEST_METHOD": "GET"}),
    job("priority as a word", "not 'high'", "priority", "must be a whole number", priority="high"),
    job("negative timeout", "not -1", "timeout", SECONDS, timeout=-1),
    job("NaN as a timeout", "not nan", "run_timeout", SECONDS, run_timeout=math.nan),
    job("timeout as text", "not '5'", "queue_timeout", SECONDS, queue_timeout="5"),
    job("timeout as a timedelta", "timedelta(seconds=5)", "timeout", SECONDS, timeout=timedelta(seconds=5)),
    job("flag as a word", "not 'yes'", "idempotent", "must be True or False", idempotent="yes"),
    job("role as a word", "not 'responder'", "role", "such as Role.RESPONDER", role="responder"),
    job("role that a job cannot have", "second stream", "role=Role.FILTER", "use Role.RESPONDER", role=Role.FILTER),
    job("blank mark", "blank", "success_mark=", "name what the script prints", success_mark=" "),
    Mistake(
        "misspelt argument",
        lambda _: Job(ECHO, tiemout=5),
        TypeError,
        "unexpected",
        "'tiemout'",
        "did you mean 'timeout'",
    ),
    Mistake("body that is too short", short_body, JobError, "only 3 bytes", "content_length is 5", "make them equal"),
    Mistake("body of text", text_body, JobError, "gave str", ECHO, "must give bytes"),
    Mistake("iterator sent twice", body_sent_twice, JobError, "was sent before", ECHO, "make a new Job"),
)

SETTINGS: Final = (
    setting("no workers", dispatcher, "not 0", "max_children", "give pm.max_children", max_children=0),
    setting("workers as text", dispatcher, "not '4'", "max_children", "must be a whole number", max_children="4"),
    setting("True workers", dispatcher, "not True", "max_children", "must be a whole number", max_children=True),
    setting("nothing left", dispatcher, "leaves no worker", "reserve=4", "lower reserve or raise", reserve=4),
    setting("negative reserve", dispatcher, "not -1", "reserve", "at least 0", reserve=-1),
    setting("no queue", dispatcher, "not 0", "max_queued", "at least 1", max_queued=0),
    setting("unknown overflow", dispatcher, "not 'drop'", "overflow", '"wait" or "reject"', overflow="drop"),
    setting("timeouts as a number", dispatcher, "not 5", "timeouts", "Timeouts(...)", timeouts=5),
    setting("retry as a number", dispatcher, "not 3", "retry", "Retry(...)", retry=3),
    setting("no function", dispatcher, "not 'log'", "on_job_error", "must be a function", on_job_error="log"),
    setting("negative shutdown", dispatcher, "not -1", "shutdown_timeout", SECONDS, shutdown_timeout=-1),
    setting("no endpoint", dispatcher, "no endpoint was given", "endpoint", "name the address", endpoints=[]),
    setting(
        "max_children of two", dispatcher, "for one endpoint", "max_children", "give each", endpoints=[ADDRESS, "a:1"]
    ),
    setting(
        "one endpoint twice",
        dispatcher,
        "are the same address",
        ADDRESS,
        "merge them",
        endpoints=[ADDRESS, ADDRESS],
        max_children=None,
    ),
    setting("negative deadline", Timeouts, "not -1", "Timeouts: total", SECONDS, total=-1),
    setting("limit as text", Limits, "not '64M'", "Limits(response)", "whole number of bytes", response="64M"),
    setting("no attempt", Retry, "attempts=0", "Retry(", "at least 1", attempts=0),
    setting("backoff that falls", Retry, "backoff=5", "Retry(", "backoff <= backoff_max", backoff=5, backoff_max=1),
    setting("negative idle", KeepAlive, "cannot be negative", "KeepAlive(idle=-1)", "0 keeps no idle", idle=-1),
    setting("relative root", endpoint, "not 'app'", ADDRESS, "must be an absolute path", root="app"),
    setting("params as text", endpoint, "not str", "Endpoint(params)", "mapping of names", params="A=b"),
    setting("headers as text", endpoint, "not str", "Endpoint(headers)", "must be a mapping", headers="A: b"),
    setting("multiplex as a flag", endpoint, "not True", "multiplex", '"auto" or "never"', multiplex=True),
    setting("unknown on_cancel", endpoint, "not 'kill'", "on_cancel", '"drain" or "close"', on_cancel="kill"),
    setting("all slots kept", endpoint, "leaves no slot", "kept={10: 4}", "keep fewer", kept={10: 4}),
    setting("no time to connect", endpoint, "not 0", "connect_timeout", "more than 0", connect_timeout=0),
    setting("more processes than workers", endpoint, "leaves no worker", "5 process", "raise pm.max", processes=5),
    setting("one name as a set", endpoint, "set of names", "allow_params", "{'PHP_VALUE'}", allow_params="PHP_VALUE"),
)
