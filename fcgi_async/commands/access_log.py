"""A log line for each request of a site: readable during development, JSON in production.

Theory of operation. Each request has a record in its context. The site submits the request's job in that context, so
the dispatcher's observer finds the record and adds where the job's time went. A line is written when both the response
and the job have ended.
"""

from __future__ import annotations

import json
import re
import sys
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from datetime import UTC, datetime

import attrs

from fcgi_async.asgi.protocol import Application, Message, Receive, Scope, Send
from fcgi_async.commands.terminal import printable
from fcgi_async.dispatch.observer import JobReport
from fcgi_async.job.job import Job

__all__ = ("AccessLog", "Visit", "json_line", "readable_line", "write_messages")

_NO_PARAMS: Mapping[str, str] = {}
_MESSAGE = re.compile(r"(?:^|; |\n)PHP message: |\n")
_RED, _YELLOW, _GREEN, _DIM, _PLAIN = "\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m"


@attrs.define(eq=False)
class Visit:
    """One request and its outcome.

    Attributes:
        method: the method, as the client sent it.
        target: the target with its query, as the client sent it.
        client: the client's address; empty if it is not known.
        headers: the logged headers of the request, by name.
        status: the status of the response; 0 if there was none.
        size: bytes of the response's body.
        seconds: from the request to the end of the response.
        job: how the request's job ended; None if PHP was not used.
    """

    method: str
    target: str
    client: str
    headers: Mapping[str, str]
    began: float = attrs.field(factory=time.monotonic, init=False)
    status: int = attrs.field(default=0, init=False)
    size: int = attrs.field(default=0, init=False)
    seconds: float = attrs.field(default=0.0, init=False)
    job: JobReport | None = attrs.field(default=None, init=False)
    # the response, and each submitted job
    open_ends: int = attrs.field(default=1, init=False)


_current: ContextVar[Visit | None] = ContextVar("fcgi_async_visit", default=None)


class AccessLog:
    """Writes a line for each request; wraps the site and observes its dispatcher.

    Args:
        write: called with each visit, at its end.
    """

    def __init__(self, write: Callable[[Visit], None]) -> None:
        self._write = write

    def around(self, app: Application) -> Application:
        """Return an application that runs the site and watches its requests; raises what the site raises."""

        async def watched(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "http":
                await self._watch(app, scope, receive, send)
            else:
                await app(scope, receive, send)

        return watched

    async def _watch(self, app: Application, scope: Scope, receive: Receive, send: Send) -> None:
        visit = _visit(scope)

        async def noting_send(message: Message) -> None:
            if message["type"] == "http.response.start":
                visit.status = message["status"]
            elif message["type"] == "http.response.body":
                visit.size += len(message.get("body", b""))
            await send(message)

        token = _current.set(visit)
        try:
            await app(scope, receive, noting_send)
        finally:
            _current.reset(token)
            visit.seconds = time.monotonic() - visit.began
            self._over(visit)

    def job_submitted(self, job: Job) -> _Observation:
        """Return the observation of a job, with or without a request."""
        visit = _current.get()
        if visit is not None:
            visit.open_ends += 1
        return _Observation(visit, self._over)

    def _over(self, visit: Visit) -> None:
        visit.open_ends -= 1
        if not visit.open_ends:
            self._write(visit)


@attrs.frozen(eq=False)
class _Observation:
    _visit: Visit | None
    _over: Callable[[Visit], None]

    @property
    def params(self) -> Mapping[str, str]:
        return _NO_PARAMS

    def done(self, report: JobReport) -> None:
        if self._visit is not None:
            self._visit.job = report
            self._over(self._visit)


def readable_line(visit: Visit, *, colour: bool) -> str:
    """Return a visit as a readable line: status, method, target, and where the time went."""
    status = f"{visit.status or '---'}"
    if colour:
        shade = _GREEN if visit.status < 300 else _YELLOW if visit.status < 500 else _RED
        status = f"{shade}{status}{_PLAIN}"
    if visit.job is None:
        spent = f"{_ms(visit.seconds)}"
    else:
        timing = visit.job.timing
        spent = f"{_ms(visit.seconds)}: queued {_ms(timing.queued)}, PHP {_ms(timing.total - timing.queued)}"
    spent = f"{_DIM}{spent}{_PLAIN}" if colour else spent
    return f"{status} {printable(visit.method)} {printable(visit.target)}  {spent}"


def json_line(visit: Visit) -> str:
    """Return a visit as a JSON object on one line; times are in seconds, or null if the stage did not happen."""
    timing = None if visit.job is None else visit.job.timing
    return json.dumps(
        {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "client": visit.client,
            "method": visit.method,
            "target": visit.target,
            "status": visit.status,
            "bytes": visit.size,
            "seconds": round(visit.seconds, 6),
            "queued": None if timing is None else round(timing.queued, 6),
            "php": None if timing is None else round(timing.total - timing.queued, 6),
            **{name.replace("-", "_"): value for name, value in visit.headers.items()},
        }
    )


def write_messages(visit: Visit, *, colour: bool) -> None:
    """Write PHP's STDERR to standard error, one line for each message."""
    response = None if visit.job is None else visit.job.response
    if response is None or not response.stderr:
        return
    for text in _MESSAGE.split(response.stderr.decode("utf-8", "replace")):
        if line := printable(text.strip()):
            print(f"    {_RED}{line}{_PLAIN}" if colour else f"    {line}", file=sys.stderr, flush=True)


def _visit(scope: Scope) -> Visit:
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "surrogateescape")
    query = scope.get("query_string", b"")
    target = path.split(b"?", 1)[0] + (b"?" + query if query else b"")
    client = scope.get("client")
    logged = {"host": "", "user-agent": "", "referer": ""}
    for name, value in scope["headers"]:
        if (text := name.decode("latin-1")) in logged:
            logged[text] = value.decode("latin-1")
    return Visit(scope["method"], target.decode("latin-1"), client[0] if client else "", logged)


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
