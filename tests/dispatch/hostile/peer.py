"""A peer that does what it is told, byte by byte, with none of the library's own code between it and the socket."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, suppress
from struct import Struct, pack
from types import TracebackType

import anyio
import anyio.abc
import attrs

from fcgi_async.wire.spec import RecordType
from tests.handlers import HEAD
from tests.listening import bound_address, listening
from tests.wire import frames

_HEADER = Struct(">BBHHBx")
_SCRIPT = b"SCRIPT_FILENAME"
NOT_MULTIPLEXING = frames.pair(frames.MPXS, b"0")


class Gone(Exception):
    """The connection is over, by whomever."""


@attrs.define(eq=False)
class Wire:
    """One connection, as bytes.

    Args:
        sock: the socket.
        drip: whether every byte leaves in a write of its own.
    """

    sock: socket.socket
    drip: bool = False

    async def record(self) -> tuple[int, int, bytes]:
        """Read no more than one record; return its type, id and content."""
        _, record_type, request_id, length, padding = _HEADER.unpack(await self.receive(_HEADER.size))
        return record_type, request_id, (await self.receive(length + padding))[:length]

    async def receive(self, size: int) -> bytes:
        """Read exactly so many bytes."""
        data = b""
        while len(data) < size:
            data += await self._receive_some(size - len(data))
        return data

    async def send(self, data: bytes) -> None:
        """Send all of it."""
        step = 1 if self.drip else len(data)
        for start in range(0, len(data), step or 1):
            await self._send(memoryview(data)[start : start + step])
            if self.drip:
                await anyio.lowlevel.checkpoint()

    async def close(self) -> None:
        """End it normally: the client sees an EOF and no reset."""
        self.sock.shutdown(socket.SHUT_WR)
        await self.silence()

    async def reset(self) -> None:
        """End it as the kernel does for a worker that is killed."""
        if self.sock.family == socket.AF_UNIX:
            # what is unread makes the reset
            await anyio.wait_readable(self.sock)
        else:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        raise Gone

    async def silence(self) -> None:
        """Say nothing more, and read until the client has gone."""
        while True:
            await self._receive_some(1 << 20)

    async def deafness(self) -> None:
        """Say nothing more, and read nothing either."""
        await anyio.sleep_forever()

    async def _receive_some(self, size: int) -> bytes:
        await anyio.wait_readable(self.sock)
        part = self.sock.recv(size)
        if not part:
            raise Gone
        return part

    async def _send(self, rest: memoryview) -> None:
        while rest:
            try:
                rest = rest[self.sock.send(rest) :]
            except BlockingIOError:
                await anyio.wait_writable(self.sock)


# what a peer does; the ids are those of the jobs on the connection, by name
Strike = Callable[[Wire, Mapping[str, int]], Awaitable[None]]


@attrs.frozen(kw_only=True)
class Behaviour:
    """What a peer does besides serving jobs.

    Args:
        jobs: the names of the jobs that it waits for before it strikes; it answers all others.
        at_connection: done before anything is read.
        at_requests: done once all the jobs have come, their bodies included; what is not answered then is never.
        at_params: done once the parameters of a job are complete, with its body unread.
        struck: on how many connections `at_connection` is done, None for all.
        values: what GET_VALUES is answered with.
        drip: whether every byte leaves in a write of its own.
    """

    jobs: frozenset[str]
    at_connection: Strike | None = None
    at_requests: Strike | None = None
    at_params: Strike | None = None
    struck: int | None = 1
    values: bytes = NOT_MULTIPLEXING
    drip: bool = False


@attrs.define(eq=False)
class HostilePeer:
    """Listens for as long as it is entered.

    Args:
        behaviour: what it does.
        address: where it listens.
    """

    behaviour: Behaviour
    address: str
    connections: int = attrs.field(default=0, init=False)
    _listener: socket.socket = attrs.field(init=False)
    _tasks: anyio.abc.TaskGroup = attrs.field(init=False)
    _stack: AsyncExitStack = attrs.field(factory=AsyncExitStack, init=False)

    async def __aenter__(self) -> HostilePeer:
        self._listener = self._stack.enter_context(listening(self.address))
        self.address = bound_address(self._listener, self.address)
        self._tasks = await self._stack.enter_async_context(anyio.create_task_group())
        self._tasks.start_soon(self._accept)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._tasks.cancel_scope.cancel()
        await self._stack.aclose()

    async def _accept(self) -> None:
        while True:
            await anyio.wait_readable(self._listener)
            sock, _ = self._listener.accept()
            sock.setblocking(False)
            self.connections += 1
            self._tasks.start_soon(self._connection, sock, self.connections)

    async def _connection(self, sock: socket.socket, number: int) -> None:
        behaviour = self.behaviour
        wire = Wire(sock, behaviour.drip)
        struck = behaviour.struck is None or number <= behaviour.struck
        with sock, suppress(Gone, OSError):
            if behaviour.at_connection is not None and struck:
                await behaviour.at_connection(wire, {})
            await _Service(behaviour, wire).run()


@attrs.define(eq=False)
class _Service:
    """What is good about a peer: it answers what nothing else is to be done about."""

    behaviour: Behaviour
    wire: Wire
    # what came of the parameters of each request, and which requests to strike at have come
    _params: dict[int, bytes] = attrs.field(factory=dict, init=False)
    _ids: dict[str, int] = attrs.field(factory=dict, init=False)

    async def run(self) -> None:
        """Serve until the client has gone."""
        while True:
            record_type, request_id, content = await self.wire.record()
            if record_type == RecordType.GET_VALUES:
                await self.wire.send(frames.values(self.behaviour.values))
            elif record_type == RecordType.BEGIN_REQUEST:
                self._params[request_id] = b""
            elif record_type == RecordType.PARAMS and content:
                self._params[request_id] += content
            elif record_type == RecordType.PARAMS:
                await self._begun(request_id)
            elif record_type == RecordType.STDIN and not content:
                await self._complete(request_id)

    async def _begun(self, request_id: int) -> None:
        name = self._name(request_id)
        if name in self.behaviour.jobs:
            self._ids[name] = request_id
            if self.behaviour.at_params is not None:
                await self.behaviour.at_params(self.wire, dict(self._ids))

    async def _complete(self, request_id: int) -> None:
        if self._name(request_id) not in self.behaviour.jobs:
            await self.wire.send(frames.stdout(request_id, HEAD + b"ok") + frames.end(request_id))
        elif self.behaviour.at_requests is not None and self._ids.keys() == self.behaviour.jobs:
            await self.behaviour.at_requests(self.wire, dict(self._ids))

    def _name(self, request_id: int) -> str:
        # lengths of a byte each, in these tests
        params, at = self._params[request_id], self._params[request_id].index(_SCRIPT)
        start = at + len(_SCRIPT)
        return params[start : start + params[at - 1]].decode().removeprefix("/").removesuffix(".php")
