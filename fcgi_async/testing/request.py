"""One request: for its handler, and kept for assertions."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Protocol
from urllib.parse import parse_qsl

import anyio
import attrs

from fcgi_async.job.response import Headers
from fcgi_async.testing.faults import Drip, Fault, Interruption, Reject
from fcgi_async.testing.reply import Reply
from fcgi_async.wire.spec import ProtocolStatus, Role

__all__ = ("FORM", "Answer", "Carrier", "ClientGone", "Request")

Answer = Reply | str | bytes | Fault | None
FORM = "application/x-www-form-urlencoded"


class ClientGone(Exception):
    """The connection was closed, by either side. Raised in a handler that reads or writes; you need not catch it."""


class Carrier(Protocol):
    """The connection that a request came on."""

    @property
    def number(self) -> int:
        """Its number, from 1, over all connections of the responder."""

    async def receive_more(self, request: Request) -> None:
        """Wait until something may have come for a request."""

    async def write_stdout(self, request: Request, data: bytes) -> None:
        """Send a part of the response."""

    async def write_stderr(self, request: Request, data: bytes) -> None:
        """Send a part of an error message."""

    async def end(self, request: Request, app_status: int, protocol_status: ProtocolStatus) -> None:
        """Send END_REQUEST."""

    async def send_raw(self, request: Request, data: bytes) -> None:
        """Send raw bytes."""

    async def interrupt(self, request: Request, fault: Interruption) -> None:
        """Make a fault happen now."""

    async def wait_closed(self) -> None:
        """Wait until the client has closed."""


@attrs.define(eq=False)
class ReceivedStream:
    """STDIN or DATA: what has come, and how much of it the handler has read.

    Attributes:
        ended: whether no more will come.
        complete: whether all of it came.
        read: whether all of it was read.
    """

    received: bytearray = attrs.field(factory=bytearray, init=False)
    ended: bool = attrs.field(default=False, init=False)
    complete: bool = attrs.field(default=False, init=False)
    read: bool = attrs.field(default=False, init=False)
    given: int = attrs.field(default=0, init=False)

    def end(self) -> None:
        """Called when all of it has come."""
        self.ended = self.complete = True

    def take(self) -> bytes:
        """Return what has come since the last call."""
        part = bytes(memoryview(self.received)[self.given :])
        self.given = len(self.received)
        self.read = self.complete
        return part


@attrs.define(eq=False)
class Request:
    """A request that a responder received. Its handler reads it and answers; afterwards tests check it.

    `async for part in request` yields the body as it arrives.

    Attributes:
        number: its number, from 1, over all requests of the responder; the number in `fault`.
        connection_number: the number of its connection, from 1.
        request_id: FastCGI's id, unique among the open requests on the connection.
        role: the role that the client asks for.
        keep_conn: whether the client asks to keep the connection.
        params: the FastCGI parameters.
        aborted: set when ABORT_REQUEST has come. Without multiplexing, nothing is read while a handler runs unless it
            reads the body: then an abort is not noticed, as in PHP-FPM.
        ended: whether END_REQUEST was sent.
        app_status: the app_status in END_REQUEST, once `ended`.
        protocol_status: the protocol status in END_REQUEST, once `ended`.
    """

    _carrier: Carrier
    request_id: int
    role: Role
    keep_conn: bool
    number: int = attrs.field(default=0, init=False)
    params: Mapping[str, str] = attrs.field(factory=dict, init=False)
    aborted: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    ended: bool = attrs.field(default=False, init=False)
    app_status: int = attrs.field(default=0, init=False)
    protocol_status: ProtocolStatus = attrs.field(default=ProtocolStatus.REQUEST_COMPLETE, init=False)
    # set by the connection
    stdin: ReceivedStream = attrs.field(factory=ReceivedStream, init=False, repr=False)
    file: ReceivedStream = attrs.field(factory=ReceivedStream, init=False, repr=False)
    sent: int = attrs.field(default=0, init=False, repr=False)
    answered: bool = attrs.field(default=False, init=False, repr=False)
    interruption: Interruption | None = attrs.field(default=None, init=False, repr=False)
    drip: Drip | None = attrs.field(default=None, init=False, repr=False)

    # the request

    @property
    def connection_number(self) -> int:
        return self._carrier.number

    @property
    def script(self) -> str:
        """SCRIPT_FILENAME, or ""."""
        return self.params.get("SCRIPT_FILENAME", "")

    @property
    def method(self) -> str:
        """REQUEST_METHOD, or ""."""
        return self.params.get("REQUEST_METHOD", "")

    @property
    def uri(self) -> str:
        """REQUEST_URI, or ""."""
        return self.params.get("REQUEST_URI", "")

    @property
    def query(self) -> str:
        """QUERY_STRING, or ""."""
        return self.params.get("QUERY_STRING", "")

    @property
    def headers(self) -> Headers:
        """The request's headers, from HTTP_*, CONTENT_TYPE and CONTENT_LENGTH; FastCGI does not keep their case."""
        found = []
        for name, value in self.params.items():
            if name.startswith("HTTP_"):
                found.append((name.removeprefix("HTTP_").replace("_", "-").lower(), value))
            elif name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                found.append((name.replace("_", "-").lower(), value))
        return Headers(tuple(found))

    async def body(self) -> bytes:
        """Wait for the whole body and return it; may be called again.

        After END_REQUEST, it is the part that had arrived until then.

        Raises:
            ClientGone: the connection ended before the body did.
        """
        return await self._read_all(self.stdin)

    def content(self) -> bytes:
        """Return the whole body, for handlers that cannot await and for tests; `json()`, `text` and `form` use it.

        A plain function is called after the body has come; a coroutine function awaits `body()` first.

        Raises:
            RuntimeError: the handler has not read the body to its end.
        """
        if not self.stdin.read:
            raise RuntimeError(
                f"the body of request {self.number} was not read: `await request.body()` in the handler, or make it a "
                "plain function, which is called once the body is there"
            )
        return bytes(self.stdin.received)

    @property
    def text(self) -> str:
        """The body as text in UTF-8; invalid bytes are replaced. Raises what `content()` does."""
        return self.content().decode("utf-8", "replace")

    def json(self) -> object:
        """Return the body parsed as JSON.

        Raises:
            ValueError: it is not JSON.
            RuntimeError: as for `content()`.
        """
        return json.loads(self.content())

    @property
    def form(self) -> dict[str, str]:
        """The fields of an urlencoded body, by their names as sent, such as `a[b]`; for a repeated name, the last one.

        Raises:
            ValueError: the Content-Type is not `application/x-www-form-urlencoded`.
            RuntimeError: as for `content()`.
        """
        kind = self.headers.get("content-type", "")
        if kind.partition(";")[0].strip().lower() != FORM:
            raise ValueError(f"the body is not a form: its Content-Type is {kind!r}, not {FORM}")
        return dict(parse_qsl(self.text, keep_blank_values=True))

    async def read_part(self) -> bytes:
        """Return the next part of the body as it arrives, b"" at its end.

        Raises:
            ClientGone: the connection ended before the body did.
        """
        while self.stdin.given == len(self.stdin.received) and not self.stdin.ended:
            await self._carrier.receive_more(self)
        return self.stdin.take()

    async def data(self) -> bytes:
        """Wait for a Filter's whole file and return it; may be called again. Other roles have none.

        Raises:
            ClientGone: the connection ended before the file did.
        """
        return await self._read_all(self.file)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while part := await self.read_part():
            yield part

    async def _read_all(self, stream: ReceivedStream) -> bytes:
        while not stream.ended:
            await self._carrier.receive_more(self)
        stream.read = stream.complete
        return bytes(stream.received)

    # the answer

    async def write_stdout(self, data: bytes | str) -> None:
        """Send a part of the response, beginning with its head, such as `b"Content-type: text/plain\\r\\n\\r\\n"`.

        Raises:
            ClientGone: the connection has ended.
            LocalProtocolError: the request has ended.
        """
        self.answered = True
        await self._carrier.write_stdout(self, _to_bytes(data))

    async def write_stderr(self, data: bytes | str) -> None:
        """Send a part of an error message, as PHP-FPM does when PHP logs one.

        Raises:
            ClientGone: the connection has ended.
            LocalProtocolError: the request has ended.
        """
        await self._carrier.write_stderr(self, _to_bytes(data))

    async def end(self, app_status: int = 0, protocol_status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE) -> None:
        """Send END_REQUEST. A handler that continues is like PHP after `fastcgi_finish_request()`.

        Args:
            app_status: 0 to 2 ** 32 - 1.
            protocol_status: anything except REQUEST_COMPLETE means that the request was rejected.

        Raises:
            ClientGone: the connection has ended.
            LocalProtocolError: the request has ended, or `app_status` is out of range.
        """
        await self._carrier.end(self, app_status, protocol_status)

    async def respond(self, answer: Reply | str | bytes) -> None:
        """Send a whole answer and END_REQUEST; a handler's return value is sent with this.

        Raises:
            ClientGone: the connection has ended.
            LocalProtocolError: the request has ended.
        """
        reply = answer if isinstance(answer, Reply) else Reply(body=answer)
        if reply.stderr:
            await self.write_stderr(reply.stderr)
        content = reply.content()
        if isinstance(content, bytes):
            await self.write_stdout(reply.head() + content)
        else:
            await self.write_stdout(reply.head())
            async for part in content:
                await self.write_stdout(part)
        await self.end(reply.app_status, reply.protocol_status)

    async def send_raw(self, data: bytes) -> None:
        """Send raw bytes on the connection: for example late output after END_REQUEST, or invalid records.

        Raises:
            ClientGone: the connection has ended.
        """
        await self._carrier.send_raw(self, data)

    async def fault(self, fault: Fault) -> None:
        """Make a fault happen.

        Args:
            fault: a `Drip` changes how the rest is sent. A `Reject` ends the request. An `Interruption` happens after
                `after` more bytes, or at once; the handler does not continue after it.

        Raises:
            ClientGone: an interruption has happened.
            LocalProtocolError: the request has ended, and cannot be rejected.
        """
        match fault:
            case Drip():
                self.drip = fault
            case Reject():
                await self.end(protocol_status=fault.protocol_status)
            case Interruption(after=0):
                await self._carrier.interrupt(self, fault)
            case Interruption():
                self.interruption = attrs.evolve(fault, after=self.sent + fault.after)
            case _:
                raise TypeError(f"{fault!r} is none of the faults of fcgi_async.testing")

    async def wait_closed(self) -> None:
        """Wait until the client has closed the connection; discard what it still sends.

        It does not raise. Without multiplexing, the connection cannot be used afterwards.
        """
        await self._carrier.wait_closed()


def _to_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
