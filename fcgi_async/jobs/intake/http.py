"""HTTPIntake: an ASGI application that puts durable jobs for HTTP clients."""

from __future__ import annotations

import hmac
import json
from typing import TYPE_CHECKING, Final, cast

import attrs

from fcgi_async.asgi.protocol import Receive, Scope, Send, acknowledge_lifespan, read_headers
from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.errors import JobsError, PayloadTooLarge, StoreError, StoreRefused
from fcgi_async.jobs.intake.message import Reader, Unusable
from fcgi_async.jobs.record import NewJob
from fcgi_async.jobs.task import Task

if TYPE_CHECKING:
    from fcgi_async.jobs.client import Jobs

__all__ = ("HTTPIntake",)

# most jobs in one request, and most bytes of a job besides its data
_MOST: Final = 1000
_AROUND: Final = 4096
_RETRY_AFTER: Final = b"1"


class _Refused(Exception):
    def __init__(self, status: int, message: str, *headers: tuple[bytes, bytes], **more: object) -> None:
        super().__init__(message)
        self.status, self.headers, self.answer = status, headers, {"error": message, **more}


@attrs.frozen
class HTTPIntake:
    """Made by `Jobs.intake()`; see there.

    Raises:
        ConfigurationError: the token is empty, or there is no task.
    """

    _jobs: Jobs = attrs.field(repr=False)
    _tasks: tuple[Task, ...]
    _token: str | None = attrs.field(repr=False)
    _reader: Reader = attrs.field(init=False, repr=False)

    def __attrs_post_init__(self) -> None:
        if self._token == "":
            raise ConfigurationError("intake(token) must be text that is not empty, or None")
        object.__setattr__(self, "_reader", Reader(self._tasks, "job", {}, self._jobs._new))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; refuse a websocket, and only acknowledge a lifespan."""
        if scope["type"] == "lifespan":
            await acknowledge_lifespan(receive, send)
            return
        if scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
            return
        more: tuple[tuple[bytes, bytes], ...] = ()
        try:
            status, answer = 202, await self._answer(scope, receive)
        except _Refused as refused:
            status, answer, more = refused.status, refused.answer, refused.headers
        body = json.dumps(answer).encode()
        headers = [
            (b"content-type", b"application/json"),
            (b"cache-control", b"no-store"),
            (b"content-length", str(len(body)).encode()),
            *more,
        ]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body})

    async def _answer(self, scope: Scope, receive: Receive) -> object:
        headers = read_headers(scope)
        self._admit(headers)
        if scope["method"] != "POST":
            raise _Refused(405, "use POST to put a job", (b"allow", b"POST"))
        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            # another site's page can send other types, or none, without a preflight request
            raise _Refused(415, "the body must be JSON, with the content type application/json")
        value = await self._read(receive)
        if isinstance(value, list):
            if not 1 <= len(value) <= _MOST:
                raise _Refused(400, f"a request puts 1 to {_MOST} jobs, not {len(value)}")
            jobs = [self._described(one, None) for one in value]
            holders = await self._put(jobs)
            return [
                {"id": job.id} if holder is None else {"id": holder, "duplicate": True}
                for job, holder in zip(jobs, holders, strict=True)
            ]
        job = self._described(value, headers.get("idempotency-key"))
        [holder] = await self._put([job])
        if holder is not None:
            raise _Refused(409, f"another job holds the unique key {job.unique!r}", id=holder)
        return {"id": job.id}

    def _admit(self, headers: dict[str, str]) -> None:
        if self._token is None:
            return
        scheme, _, given = headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not hmac.compare_digest(given.strip().encode(), self._token.encode()):
            raise _Refused(401, "give the token: Authorization: Bearer TOKEN", (b"www-authenticate", b"Bearer"))

    async def _read(self, receive: Receive) -> object:
        most, body = _AROUND + self._jobs.payload_limit, bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise _Refused(400, "the request ended early")
            body += cast("bytes", message.get("body", b""))
            if len(body) > most:
                raise _Refused(413, f"the request has more than {most} bytes")
            if not message.get("more_body", False):
                break
        try:
            value: object = json.loads(bytes(body))
        except (ValueError, RecursionError) as error:
            raise _Refused(400, f"the body is not JSON: {error}") from None
        return value

    def _described(self, value: object, id: str | None) -> NewJob:
        try:
            return self._reader.described(value, id)
        except Unusable as unusable:
            status = 413 if isinstance(unusable.__cause__, PayloadTooLarge) else 400
            raise _Refused(status, str(unusable)) from None

    async def _put(self, jobs: list[NewJob]) -> list[str | None]:
        try:
            return await self._jobs.store.put(jobs)
        except StoreRefused as error:
            raise _Refused(400, str(error)) from None
        except StoreError as error:
            raise _Refused(503, str(error), (b"retry-after", _RETRY_AFTER), may_be_stored=error.may_be_stored) from None
        except JobsError as error:
            raise _Refused(400, str(error)) from None
