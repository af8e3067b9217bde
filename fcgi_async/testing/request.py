"""One request, as its handler sees it, and as it stays on record."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import anyio
import attrs

from fcgi_async.job.response import Headers
from fcgi_async.testing.faults import Drip, Fault, Interruption, Reject
from fcgi_async.testing.reply import Reply
from fcgi_async.wire.spec import ProtocolStatus, Role

__all__ = ("Answer", "Carrier", "ClientGone", "Request")

Answer = Reply | str | bytes | Fault | None


class ClientGone(Exception):
    """The connection is over, by whomever. Raised in a handler that reads or writes; there is no need to catch it."""


class Carrier(Protocol):
    """The connection that a request came on."""

    @property
    def number(self) -> int:
        """Counts from 1, over all connections of the responder."""

    async def receive_more(self, request: Request) -> None:
        """Return when something may have come for a request."""

    async def write_stdout(self, request: Request, data: bytes) -> None:
        """Send a part of the response."""

    async def write_stderr(self, request: Request, data: bytes) -> None:
        """Send a part of an error message."""

    async def end(self, request: Request, app_status: int, protocol_status: ProtocolStatus) -> None:
        """Send END_REQUEST."""

    async def send_raw(self, request: Request, data: bytes) -> None:
        """Send any bytes."""

    async def interrupt(self, request: Request, fault: Interruption) -> None:
        """Let a fault strike, now."""

    async def wait_closed(self) -> None:
        """Wait until the client has closed."""


@attrs.define(eq=False)
class ReceivedStream:
    """STDIN or DATA: all that came of it, and how much the handler was given."""

    received: bytearray = attrs.field(factory=bytearray, init=False)
    ended: bool = attrs.field(default=False, init=False)
    given: int = attrs.field(default=0, init=False)

    def take(self) -> bytes:
        """Return what came since the last call."""
        part = bytes(memoryview(self.received)[self.given :])
        self.given = len(self.received)
        return part


@attrs.define(eq=False)
class Request:
    """A request that a responder received. Its handler reads and writes it; afterwards tests look at it.

    `async for part in request` gives the body as it arrives.

    Attributes:
        number: counts from 1, over all requests of the responder; the n-th of `fault`.
        connection_number: which connection it came on, counted from 1.
        request_id: FastCGI's id, unique among those that are open on the connection.
        role: what the client asks for.
        keep_conn: whether the client wants the connection kept.
        params: the FastCGI parameters.
        aborted: set when ABORT_REQUEST came. Without multiplexing nothing is read while a handler runs, unless it
            reads the body: such a request notices no abort, as PHP-FPM does not.
        ended: whether END_REQUEST was sent.
        app_status: what END_REQUEST said, once `ended`.
        protocol_status: what END_REQUEST said, once `ended`.
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
    # what the connection keeps here
    stdin: ReceivedStream = attrs.field(factory=ReceivedStream, init=False, repr=False)
    file: ReceivedStream = attrs.field(factory=ReceivedStream, init=False, repr=False)
    sent: int = attrs.field(default=0, init=False, repr=False)
    answered: bool = attrs.field(default=False, init=False, repr=False)
    interruption: Interruption | None = attrs.field(default=None, init=False, repr=False)
    drip: Drip | None = attrs.field(default=None, init=False, repr=False)

    # what was asked

    @property
    def connection_number(self) -> int:
        return self._carrier.number

    @property
    def script(self) -> str:
        """SCRIPT_FILENAME, or nothing."""
        return self.params.get("SCRIPT_FILENAME", "")

    @property
    def method(self) -> str:
        """REQUEST_METHOD, or nothing."""
        return self.params.get("REQUEST_METHOD", "")

    @property
    def uri(self) -> str:
        """REQUEST_URI, or nothing."""
        return self.params.get("REQUEST_URI", "")

    @property
    def query(self) -> str:
        """QUERY_STRING, or nothing."""
        return self.params.get("QUERY_STRING", "")

    @property
    def headers(self) -> Headers:
        """The request's headers, from HTTP_*, CONTENT_TYPE and CONTENT_LENGTH; their case is lost on the way."""
        found = []
        for name, value in self.params.items():
            if name.startswith("HTTP_"):
                found.append((name.removeprefix("HTTP_").replace("_", "-").lower(), value))
            elif name in ("CONTENT_TYPE", "CONTENT_LENGTH"):
                found.append((name.replace("_", "-").lower(), value))
        return Headers(tuple(found))

    async def body(self) -> bytes:
        """Return all of the body, once it has arrived; also when asked again.

        After END_REQUEST it is what had arrived until then.

        Raises:
            ClientGone: the connection ended before the body did.
        """
        return await self._read_all(self.stdin)

    async def read_part(self) -> bytes:
        """Return the next part of the body as it arrives, with nothing at its end.

        Raises:
            ClientGone: the connection ended before the body did.
        """
        while self.stdin.given == len(self.stdin.received) and not self.stdin.ended:
            await self._carrier.receive_more(self)
        return self.stdin.take()

    async def data(self) -> bytes:
        """Return all of a Filter's file, once it has arrived; also when asked again. Other roles have none.

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
        return bytes(stream.received)

    # what is answered

    async def write_stdout(self, data: bytes | str) -> None:
        """Send a part of the response: first of all its head, `b"Content-type: text/plain\\r\\n\\r\\n"`.

        Raises:
            ClientGone: the connection is over.
            LocalProtocolError: the request has ended.
        """
        self.answered = True
        await self._carrier.write_stdout(self, _to_bytes(data))

    async def write_stderr(self, data: bytes | str) -> None:
        """Send a part of an error message, which FPM would have written to its log.

        Raises:
            ClientGone: the connection is over.
            LocalProtocolError: the request has ended.
        """
        await self._carrier.write_stderr(self, _to_bytes(data))

    async def end(self, app_status: int = 0, protocol_status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE) -> None:
        """Send END_REQUEST. A handler that goes on does what PHP does after `fastcgi_finish_request()`.

        Args:
            app_status: 0 to 2 ** 32 - 1.
            protocol_status: anything but REQUEST_COMPLETE says that the request was rejected.

        Raises:
            ClientGone: the connection is over.
            LocalProtocolError: the request has ended, or `app_status` is out of range.
        """
        await self._carrier.end(self, app_status, protocol_status)

    async def respond(self, answer: Reply | str | bytes) -> None:
        """Send a whole answer and END_REQUEST; what is returned by a handler is sent by this.

        Raises:
            ClientGone: the connection is over.
            LocalProtocolError: the request has ended.
        """
        reply = answer if isinstance(answer, Reply) else Reply(body=answer)
        if reply.stderr:
            await self.write_stderr(reply.stderr)
        if isinstance(reply.body, bytes | str):
            await self.write_stdout(reply.head() + _to_bytes(reply.body))
        else:
            await self.write_stdout(reply.head())
            async for part in reply.body:
                await self.write_stdout(part)
        await self.end(reply.app_status, reply.protocol_status)

    async def send_raw(self, data: bytes) -> None:
        """Send any bytes on the connection, as they are: what PHP prints after END_REQUEST, or what nobody should send.

        Raises:
            ClientGone: the connection is over.
        """
        await self._carrier.send_raw(self, data)

    async def fault(self, fault: Fault) -> None:
        """Let something go wrong.

        Args:
            fault: a `Drip` changes how the rest is sent. A `Reject` ends the request. An `Interruption` strikes after
                `after` more bytes, or at once; the handler does not get any further then.

        Raises:
            ClientGone: an interruption has struck.
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
        """Wait until the client has closed the connection; what it still sends is thrown away.

        It does not raise. Without multiplexing the connection is of no use afterwards.
        """
        await self._carrier.wait_closed()


def _to_bytes(data: bytes | str) -> bytes:
    return data.encode() if isinstance(data, str) else data
