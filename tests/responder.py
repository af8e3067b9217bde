"""A FastCGI responder that misbehaves on demand: what PHP-FPM is to the client, with scripts written in Python.

It has FPM's shape: so many workers, each serving one connection at a time, and reading no more of it than it needs.
What a script has not
read is still unread when its worker dies, which resets the connection, as it does with FPM.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from struct import pack
from types import TracebackType

import anyio
import anyio.abc
import attrs

from fcgi_async.net.address import Address, AddressFamily
from fcgi_async.wire.events import (
    ParamsReceived,
    RequestBegun,
    ServerEvent,
    Stdin,
    StdinEnded,
    Terminated,
    ValuesRequested,
)
from fcgi_async.wire.records import HEADER, encode_record
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import FCGI_MPXS_CONNS, HEADER_LENGTH, ProtocolStatus, RecordType, Role

HEAD = b"Content-type: text/plain\r\n\r\n"


class Gone(Exception):
    """The connection is over, by whomever; ends the worker's turn."""


@attrs.define(eq=False)
class Peer:
    """One connection, as the worker that serves it sees it.

    Attributes:
        number: counts from 1, over all workers.
    """

    sock: socket.socket
    number: int
    piece: int | None
    cut_after: int | None
    machine: ServerConnection = attrs.field(factory=ServerConnection, init=False)
    events: deque[ServerEvent] = attrs.field(factory=deque, init=False)
    sent: int = attrs.field(default=0, init=False)

    async def next_event(self) -> ServerEvent:
        """Return what the client did next, reading one record where nothing is at hand."""
        while not self.events:
            header = await self._receive(HEADER_LENGTH)
            _, _, _, length, padding = HEADER.unpack(header)
            self.events.extend(self.machine.receive_data(header + await self._receive(length + padding)))
            # what the machine answers by itself
            await self.flush()
        event = self.events.popleft()
        if isinstance(event, Terminated):
            raise Gone
        return event

    async def flush(self) -> None:
        """Send what the machine's verbs have written."""
        await self.send(self.machine.data_to_send())

    async def send(self, data: bytes) -> None:
        """Send any bytes, in pieces where that is asked for, and die once `cut_after` bytes are out."""
        if self.cut_after is not None and self.sent + len(data) >= self.cut_after:
            await self._send(data[: self.cut_after - self.sent])
            raise Gone
        await self._send(data)

    async def close(self) -> None:
        """End the connection in good order, with nothing left unread: the client sees an EOF."""
        self.sock.shutdown(socket.SHUT_WR)
        await self.wait_gone()

    async def reset(self) -> None:
        """End the connection as a worker does that is killed: the client sees a reset."""
        if self.sock.family != socket.AF_UNIX:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        else:
            # what is unread makes the reset
            await anyio.wait_readable(self.sock)
        raise Gone

    async def wait_gone(self) -> None:
        """Throw away what the client still sends until it has closed, and end the worker's turn."""
        with suppress(OSError):
            while True:
                await self._receive_some(1 << 20)
        raise Gone

    async def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            data += await self._receive_some(size - len(data))
        return data

    async def _receive_some(self, size: int) -> bytes:
        await anyio.wait_readable(self.sock)
        part = self.sock.recv(size)
        if not part:
            raise Gone
        return part

    async def _send(self, data: bytes) -> None:
        size = self.piece or len(data)
        for start in range(0, len(data), size or 1):
            rest = memoryview(data)[start : start + size]
            while rest:
                try:
                    count = self.sock.send(rest)
                except BlockingIOError:
                    await anyio.wait_writable(self.sock)
                    continue
                self.sent += count
                rest = rest[count:]
            if self.piece:
                await anyio.lowlevel.checkpoint()


@attrs.define(eq=False)
class Request:
    """One request, as the script that serves it sees it."""

    peer: Peer
    id: int
    role: Role
    keep_conn: bool
    params: dict[str, str] = attrs.field(factory=dict)
    ended: bool = attrs.field(default=False, init=False)
    _body: bytes = attrs.field(default=b"", init=False)
    _body_ended: bool = attrs.field(default=False, init=False)

    @property
    def script(self) -> str:
        """SCRIPT_FILENAME."""
        return self.params["SCRIPT_FILENAME"]

    async def read(self) -> bytes:
        """Return the next part of the body; nothing at its end."""
        while not self._body_ended:
            event = await self.peer.next_event()
            if isinstance(event, Stdin):
                return event.data
            if isinstance(event, StdinEnded):
                self._body_ended = True
        return b""

    async def body(self) -> bytes:
        """Return the rest of the body."""
        parts = []
        while part := await self.read():
            parts.append(part)
        return b"".join(parts)

    async def stdout(self, data: bytes) -> None:
        """Send a part of the response."""
        self.peer.machine.send_stdout(self.id, data)
        await self.peer.flush()

    async def stderr(self, data: bytes) -> None:
        """Log something."""
        self.peer.machine.send_stderr(self.id, data)
        await self.peer.flush()

    async def respond(self, content: bytes = b"", head: bytes = HEAD) -> None:
        """Send a head and a body."""
        await self.stdout(head + content)

    async def end(self, app_status: int = 0, protocol_status: int = 0) -> None:
        """Send END_REQUEST. The script may go on: what comes behind it is `fastcgi_finish_request()`."""
        self.ended = True
        self.peer.machine.end_request(self.id, app_status, ProtocolStatus(protocol_status))
        await self.peer.flush()

    async def stray(self, data: bytes) -> None:
        """Send output behind END_REQUEST, as a script does that prints after fastcgi_finish_request()."""
        await self.peer.send(encode_record(RecordType.STDOUT, self.id, data))

    async def wait_gone(self) -> None:
        """Wait until the client has closed the connection."""
        await self.peer.wait_gone()


Script = Callable[[Request], Awaitable[None]]
# what a worker does with a GET_VALUES
Values = Callable[[Peer], Awaitable[None]]


async def answer(peer: Peer) -> None:
    """Say what PHP-FPM says: no multiplexing, and nothing else."""
    peer.machine.send_values({FCGI_MPXS_CONNS: b"0"})
    await peer.flush()


async def answer_and_close(peer: Peer) -> None:
    """Close behind the answer, as PHP before 8.2.13 does."""
    await answer(peer)
    await peer.close()


async def reset(peer: Peer) -> None:
    """Close instead of answering, as FPM does where listen.allowed_clients does not name the client."""
    await peer.reset()


async def ignore(peer: Peer) -> None:
    """Keep the connection and never answer."""
    await peer.wait_gone()


async def echo(request: Request) -> None:
    """Answer with the body."""
    await request.respond(await request.body())


async def ok(request: Request) -> None:
    """Answer "ok"."""
    await request.body()
    await request.respond(b"ok")


@attrs.define(eq=False)
class Held:
    """A script that answers when it is told to.

    Attributes:
        running: the requests that wait, in the order in which they came.
    """

    running: list[Request] = attrs.field(factory=list, init=False)
    _released: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def release(self) -> None:
        """Let those that run, and all that come, answer."""
        self._released.set()

    async def __call__(self, request: Request) -> None:
        await request.body()
        self.running.append(request)
        await self._released.wait()
        await request.respond(request.script.encode())


@attrs.define(eq=False)
class Responder:
    """Serves scripts at an address for as long as it is entered.

    Args:
        script: run for each request; END_REQUEST is sent for it where it has not.
        address: where to listen.
        workers: how many connections are served at a time; more wait in the kernel's backlog.
        values: what is done with GET_VALUES.
        backlog: how many connections may wait.
        piece: send everything in pieces of so many bytes.
        cut_after: let the worker of each connection die when it has sent so many bytes.
    """

    script: Script
    address: str
    workers: int = 4
    values: Values = answer
    backlog: int = 64
    piece: int | None = None
    cut_after: int | None = None
    # every request that was begun, every connection that was taken
    requests: list[Request] = attrs.field(factory=list, init=False)
    connections: int = attrs.field(default=0, init=False)
    listening: bool = attrs.field(default=True, init=False)
    # connections, and scripts, at this moment and at most
    open: int = attrs.field(default=0, init=False)
    most_open: int = attrs.field(default=0, init=False)
    running: int = attrs.field(default=0, init=False)
    most_running: int = attrs.field(default=0, init=False)
    _listener: socket.socket = attrs.field(init=False)
    _peers: set[Peer] = attrs.field(factory=set, init=False)
    _accepting: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)
    _tasks: anyio.abc.TaskGroup = attrs.field(init=False)
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)

    async def __aenter__(self) -> Responder:
        self._listener = self._stack.enter_context(listening(self.address, self.backlog))
        self.address = bound_address(self._listener, self.address)
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        for _ in range(self.workers):
            self._tasks.start_soon(self._work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        await self._stack.aclose()

    def stop_listening(self) -> None:
        """Refuse new connections from now on; those there are are served to their end."""
        self.listening = False
        anyio.notify_closing(self._listener)
        self._listener.close()

    def drop_idle(self) -> None:
        """Close every connection in good order, as workers do that are reloaded between two requests."""
        for peer in self._peers:
            peer.sock.shutdown(socket.SHUT_WR)

    async def _work(self) -> None:
        while True:
            try:
                async with self._accepting:
                    if not self.listening:
                        return
                    await anyio.wait_readable(self._listener)
                    sock, _ = self._listener.accept()
            except anyio.ClosedResourceError:
                return
            sock.setblocking(False)
            self.connections += 1
            self.open += 1
            self.most_open = max(self.most_open, self.open)
            peer = Peer(sock, self.connections, self.piece, self.cut_after)
            self._peers.add(peer)
            try:
                with suppress(Gone, OSError):
                    await self._serve(peer)
            finally:
                self._peers.remove(peer)
                self.open -= 1
                sock.close()

    async def _serve(self, peer: Peer) -> None:
        begun: Request | None = None
        while True:
            event = await peer.next_event()
            if isinstance(event, ValuesRequested):
                await self.values(peer)
            elif isinstance(event, RequestBegun):
                begun = Request(peer, event.request_id, event.role, event.keep_conn)
            elif isinstance(event, ParamsReceived) and begun is not None:
                begun.params = decoded(event.params)
                self.requests.append(begun)
                await self._run(begun)
                if not begun.keep_conn:
                    await peer.close()

    async def _run(self, request: Request) -> None:
        self.running += 1
        self.most_running = max(self.most_running, self.running)
        try:
            await self.script(request)
            if not request.ended:
                await request.end()
        finally:
            self.running -= 1


def decoded(pairs: list[tuple[bytes, bytes]]) -> dict[str, str]:
    """Parameters as text; a name that comes twice is a mistake."""
    found = {name.decode(): value.decode("utf-8", "surrogateescape") for name, value in pairs}
    assert len(found) == len(pairs)
    return found


def listening(address: str, backlog: int = 64) -> socket.socket:
    """Return a listening socket, non-blocking; port 1 stands for any free one."""
    parsed = Address.parse(address)
    if parsed.family is AddressFamily.TCP:
        family = socket.AF_INET6 if ":" in parsed.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        place: str | tuple[str, int] = (parsed.host, 0 if parsed.port == 1 else parsed.port)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        place = parsed.path if parsed.family is AddressFamily.UNIX else "\0" + parsed.path
    try:
        sock.bind(place)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def bound_address(listener: socket.socket, asked: str) -> str:
    """Return the address that a listener was given."""
    if listener.family == socket.AF_UNIX:
        return asked
    host, port = listener.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def unix_address(folder: Path, name: str = "fcgi.sock") -> str:
    """Return the address of a socket in a folder."""
    return f"unix://{folder / name}"
