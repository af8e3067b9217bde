"""One connection of the responder: serves one request at a time, as a PHP-FPM worker does, or many.

Without multiplexing, it reads no more than the handler asks for. So the rest is unread if the worker dies, which resets
the connection, as it does with FPM. The last byte of a record stays unread until the next record is needed.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from struct import pack
from typing import NoReturn

import anyio
import attrs

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.testing.faults import Close, Drip, Fault, Garbage, Interruption, Reset, Stall
from fcgi_async.testing.request import ClientGone, Request
from fcgi_async.wire.events import (
    AbortRequested,
    Data,
    DataEnded,
    ParamsReceived,
    RequestBegun,
    ServerEvent,
    Stdin,
    StdinEnded,
    Stray,
    Terminated,
    ValuesRequested,
)
from fcgi_async.wire.records import HEADER
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import HEADER_LENGTH, MAX_CONTENT, VERSION, ProtocolStatus, RecordType

__all__ = ("Application", "ServedConnection")

_READ_SIZE = 1 << 18


@attrs.frozen(eq=False)
class Application:
    """The part of a responder that its connections use.

    Attributes:
        run: calls the handler for a request and ends it.
        arrived: called with a request whose parameters are complete.
        values: returns the answer to GET_VALUES on a connection, or the fault that happens instead.
        closes_after_values: whether the connection is closed after that answer.
        multiplex: whether requests run at the same time.
        max_requests: most requests that may be open, over all connections.
        open_requests: number of open requests.
    """

    run: Callable[[Request], Awaitable[None]]
    arrived: Callable[[Request], None]
    values: Callable[[ServedConnection], Awaitable[Mapping[str, str] | Interruption]]
    closes_after_values: bool
    multiplex: bool
    max_requests: int
    open_requests: Callable[[], int]


@attrs.define(eq=False)
class ServedConnection:
    """A connection that a responder has accepted; it is kept for assertions.

    Attributes:
        number: its number, from 1, over all connections of the responder.
        requests: the requests that came on it, in order.
        is_open: whether it is being served.
        error: how the client broke the protocol, or None.
    """

    _sock: socket.socket = attrs.field(repr=False)
    _application: Application = attrs.field(repr=False)
    number: int
    requests: list[Request] = attrs.field(factory=list, init=False)
    is_open: bool = attrs.field(default=True, init=False)
    error: RemoteProtocolError | None = attrs.field(default=None, init=False)
    # requests that have begun and not ended, by id
    unended: dict[int, Request] = attrs.field(factory=dict, init=False, repr=False)
    _machine: ServerConnection = attrs.field(factory=ServerConnection, init=False, repr=False)
    _ready: deque[Request] = attrs.field(factory=deque, init=False, repr=False)
    _running: Request | None = attrs.field(default=None, init=False, repr=False)
    _values_owed: deque[list[bytes]] = attrs.field(factory=deque, init=False, repr=False)
    _last_byte_unread: bool = attrs.field(default=False, init=False, repr=False)
    _input_ended: bool = attrs.field(default=False, init=False, repr=False)
    _closing: bool = attrs.field(default=False, init=False, repr=False)
    _changed: anyio.Event = attrs.field(factory=anyio.Event, init=False, repr=False)
    _writing: anyio.Lock = attrs.field(factory=anyio.Lock, init=False, repr=False)
    # the fault after which nothing is sent
    _struck: Fault | None = attrs.field(default=None, init=False, repr=False)
    _scope: anyio.CancelScope = attrs.field(factory=anyio.CancelScope, init=False, repr=False)

    async def serve(self) -> None:
        """Serve requests until the connection ends."""
        try:
            with self._scope:
                if self._application.multiplex:
                    await self._serve_many()
                else:
                    with suppress(ClientGone):
                        await self._serve_one_by_one()
        finally:
            self.is_open = False
            self._sock.close()

    async def _serve_one_by_one(self) -> None:
        while True:
            while not self._ready:
                await self._receive_record()
            self._running = self._ready.popleft()
            await self._application.run(self._running)
            self._running = None
            while self._values_owed:
                await self._answer_values(self._values_owed.popleft())
            if self._closing:
                self._shut_down()
                await self.wait_closed()
                return

    async def _serve_many(self) -> None:
        async with anyio.create_task_group() as tasks:
            with suppress(ClientGone):
                while True:
                    await self._receive_record()
                    while self._ready:
                        tasks.start_soon(self._run, self._ready.popleft())
            self._input_ended = True
            self._notify()

    async def _run(self, request: Request) -> None:
        with suppress(ClientGone):
            await self._application.run(request)
        if self._closing and not self.unended:
            self._shut_down()

    def close_when_idle(self) -> None:
        """Close normally between two requests: now, if none is running."""
        self._closing = True
        if self._running is None and not self.unended:
            self._shut_down()

    # called by requests

    async def receive_more(self, request: Request) -> None:
        """Wait until something may have come for a request."""
        if self._input_ended or not self.is_open:
            raise ClientGone("the connection ended before the request did")
        if self._application.multiplex:
            await self._changed.wait()
        else:
            await self._receive_record()

    async def write_stdout(self, request: Request, data: bytes) -> None:
        """Send a part of the response, one record at a time, so that other requests' records can come in between."""
        for start in range(0, len(data), MAX_CONTENT):
            self._machine.send_stdout(request.request_id, data[start : start + MAX_CONTENT])
            await self._send_for(request, self._machine.data_to_send())

    async def write_stderr(self, request: Request, data: bytes) -> None:
        """Send a part of an error message."""
        self._machine.send_stderr(request.request_id, data)
        await self._send_for(request, self._machine.data_to_send())

    async def end(self, request: Request, app_status: int, protocol_status: ProtocolStatus) -> None:
        """Send END_REQUEST."""
        self._machine.end_request(request.request_id, app_status, protocol_status)
        data = self._machine.data_to_send()
        self._note_end(request, app_status, protocol_status)
        await self._send_for(request, data)

    async def send_raw(self, request: Request, data: bytes) -> None:
        """Send raw bytes."""
        await self._send_for(request, data)

    async def interrupt(self, request: Request, fault: Interruption) -> None:
        """Make a fault happen now."""
        if isinstance(fault, Stall):
            # must not hold up other connections
            await self.wait_closed()
            raise ClientGone("a Stall has struck")
        async with self._writing:
            await self._strike(fault)
        await self._end_struck(self.wait_closed)

    async def wait_closed(self) -> None:
        """Wait until the client has closed."""
        if self._application.multiplex:
            while not self._input_ended:
                await self._changed.wait()
            return
        await self._discard_input()

    # receiving

    async def _receive_record(self) -> None:
        if self._last_byte_unread:
            await self._receive_some(1)
            self._last_byte_unread = False
        record = await self._receive(HEADER_LENGTH - 1)
        if record[0] == VERSION:
            _, _, _, length, padding = HEADER.unpack(record + b"\0")
            record += await self._receive(length + padding)
        record += await self._receive_some(1, socket.MSG_PEEK)
        self._last_byte_unread = True
        events = self._machine.receive_data(record)
        # answers that the state machine gives itself
        await self._send(self._machine.data_to_send())
        for event in events:
            await self._handle(event)
        self._notify()

    async def _handle(self, event: ServerEvent) -> None:
        match event:
            case RequestBegun():
                await self._begin(event)
            case ParamsReceived():
                self._take_params(event)
            case Stdin():
                self.unended[event.request_id].stdin.received += event.data
            case StdinEnded():
                self.unended[event.request_id].stdin.end()
            case Data():
                self.unended[event.request_id].file.received += event.data
            case DataEnded():
                self.unended[event.request_id].file.end()
            case AbortRequested():
                await self._abort(self.unended[event.request_id])
            case ValuesRequested():
                if self._running is None:
                    await self._answer_values(event.names)
                else:
                    self._values_owed.append(event.names)
            case Stray(record_type=RecordType.ABORT_REQUEST) if not self._application.multiplex:
                # FPM closes the connection after a late abort
                raise ClientGone("ABORT_REQUEST came between two requests")
            case Stray():
                pass
            case Terminated():
                self.error = event.error
                raise ClientGone("the client broke the protocol")

    async def _begin(self, event: RequestBegun) -> None:
        if self._closing and not self.unended:
            await self._leave()
        if not self._application.multiplex and self.unended:
            refusal = ProtocolStatus.CANT_MPX_CONN
        elif self._application.open_requests() >= self._application.max_requests:
            refusal = ProtocolStatus.OVERLOADED
        else:
            self.unended[event.request_id] = Request(self, event.request_id, event.role, event.keep_conn)
            return
        self._machine.end_request(event.request_id, 0, refusal)
        await self._send(self._machine.data_to_send())

    def _take_params(self, event: ParamsReceived) -> None:
        request = self.unended[event.request_id]
        request.params = {
            name.decode("utf-8", "surrogateescape"): value.decode("utf-8", "surrogateescape")
            for name, value in event.params
        }
        self.requests.append(request)
        self._application.arrived(request)
        self._ready.append(request)

    async def _abort(self, request: Request) -> None:
        request.aborted.set()
        request.stdin.ended = request.file.ended = True
        if request not in self.requests:
            await self.end(request, 0, ProtocolStatus.REQUEST_COMPLETE)

    async def _answer_values(self, names: list[bytes]) -> None:
        values = await self._application.values(self)
        if isinstance(values, Interruption):
            async with self._writing:
                await self._strike(values)
            # the task that reads also answers
            await self._end_struck(self._discard_input)
        else:
            known = {name.encode(): value.encode() for name, value in values.items()}
            self._machine.send_values({name: known[name] for name in names if name in known})
            await self._send(self._machine.data_to_send())
            if self._application.closes_after_values:
                await self._leave()

    def _note_end(self, request: Request, app_status: int, protocol_status: ProtocolStatus) -> None:
        del self.unended[request.request_id]
        request.ended, request.app_status, request.protocol_status = True, app_status, protocol_status
        request.stdin.ended = request.file.ended = True
        self._closing = self._closing or not request.keep_conn

    def _notify(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()

    # bytes

    async def _receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size:
            data += await self._receive_some(size - len(data))
        return bytes(data)

    async def _receive_some(self, size: int, flags: int = 0) -> bytes:
        while True:
            await anyio.wait_readable(self._sock)
            try:
                part = self._sock.recv(size, flags)
            except BlockingIOError:
                continue
            except OSError as error:
                self._input_ended = True
                raise ClientGone("the client has gone") from error
            if not part:
                self._input_ended = True
                raise ClientGone("the client has closed the connection")
            return part

    async def _discard_input(self) -> None:
        with suppress(ClientGone):
            while True:
                await self._receive_some(_READ_SIZE)

    async def _send_for(self, request: Request, data: bytes) -> None:
        async with self._writing:
            cut = request.interruption
            if cut is not None and request.sent + len(data) >= cut.after:
                await self._write(data[: cut.after - request.sent], request.drip)
                await self._strike(cut)
            else:
                await self._write(data, request.drip)
                request.sent += len(data)
        # without the lock: the task that reads up to the end also writes
        if self._struck is not None:
            await self._end_struck(self.wait_closed)

    async def _send(self, data: bytes) -> None:
        if data:
            async with self._writing:
                await self._write(data, None)

    async def _write(self, data: bytes, drip: Drip | None) -> None:
        if not self.is_open:
            raise ClientGone("the connection is over")
        if self._struck is not None:
            return
        size = len(data) if drip is None else drip.size
        for start in range(0, len(data), size or 1):
            await self._write_piece(memoryview(data)[start : start + size])
            if drip is not None:
                await anyio.sleep(drip.pause)

    async def _write_piece(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[self._sock.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self._sock)
            except OSError as error:
                raise ClientGone("the client has gone") from error

    async def _strike(self, fault: Fault) -> None:
        if isinstance(fault, Reset):
            await self._reset()
            raise ClientGone(f"{fault!r} has struck")
        if isinstance(fault, Close):
            self._shut_down()
        elif isinstance(fault, Garbage):
            await self._write(fault.data, None)
        self._struck = fault

    async def _end_struck(self, wait_closed: Callable[[], Awaitable[None]]) -> NoReturn:
        await wait_closed()
        raise ClientGone(f"{self._struck!r} has struck")

    async def _reset(self) -> None:
        if self._sock.family is not socket.AF_UNIX:
            self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        elif not self._application.multiplex:
            # the unread bytes cause the reset
            await anyio.wait_readable(self._sock)
        self._scope.cancel()

    async def _leave(self) -> NoReturn:
        """Close normally, even if the client is still sending."""
        self._shut_down()
        await self._discard_input()
        raise ClientGone("the responder has closed the connection")

    def _shut_down(self) -> None:
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_WR)
