"""A relay between a client and a FastCGI server that counts the requests in flight on each connection."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import anyio
import attrs

from fcgi_async.wire.spec import RecordType

_HEADER = 8


@attrs.define(eq=False)
class Passed:
    """What passed on one connection.

    Attributes:
        requests: how many were begun.
        most_in_flight: the most that were begun and not ended at once.
    """

    requests: int = 0
    most_in_flight: int = 0
    in_flight: int = 0

    def see(self, record_type: int) -> None:
        """Take note of a record."""
        if record_type == RecordType.BEGIN_REQUEST:
            self.requests += 1
            self.in_flight += 1
            self.most_in_flight = max(self.most_in_flight, self.in_flight)
        elif record_type == RecordType.END_REQUEST:
            self.in_flight -= 1


@attrs.define(eq=False)
class RecordingProxy:
    """Relays to `target` from the socket `path`.

    Attributes:
        connections: what passed on each, in the order of their coming.
    """

    target: Path
    path: Path
    connections: list[Passed] = attrs.field(factory=list)

    async def accept(self, listener: socket.socket) -> None:
        """Relay every connection that comes."""
        async with anyio.create_task_group() as tasks:
            while True:
                await anyio.wait_readable(listener)
                with suppress(BlockingIOError):
                    tasks.start_soon(self.serve, listener.accept()[0])

    async def serve(self, client: socket.socket) -> None:
        """Relay one connection until one of its ends closes."""
        passed = Passed()
        self.connections.append(passed)
        # plain sockets: a UNIXSocketStream of anyio's that is cancelled as it becomes readable fails on uvloop
        with client, socket.socket(socket.AF_UNIX) as server:
            server.connect(str(self.target))
            async with anyio.create_task_group() as tasks:

                async def relay(source: socket.socket, destination: socket.socket) -> None:
                    rest = b""
                    with suppress(ConnectionError):
                        while data := await _receive(source):
                            rest = _see_records(rest + data, passed)
                            await _send(destination, data)
                    tasks.cancel_scope.cancel()

                for source, destination in ((client, server), (server, client)):
                    source.setblocking(False)
                    tasks.start_soon(relay, source, destination)


async def _receive(sock: socket.socket) -> bytes:
    while True:
        await anyio.wait_readable(sock)
        with suppress(BlockingIOError):
            return sock.recv(65536)


async def _send(sock: socket.socket, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


def _see_records(data: bytes, passed: Passed) -> bytes:
    """Count the complete records at the beginning of `data`, and return the rest."""
    start = 0
    while len(data) - start >= _HEADER:
        size = _HEADER + int.from_bytes(data[start + 4 : start + 6]) + data[start + 6]
        if len(data) - start < size:
            break
        passed.see(data[start + 1])
        start += size
    return data[start:]


@asynccontextmanager
async def recording(target: Path, path: Path) -> AsyncIterator[RecordingProxy]:
    """Run a proxy."""
    proxy = RecordingProxy(target, path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(path))
        listener.listen(1024)
        listener.setblocking(False)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(proxy.accept, listener)
            yield proxy
            tasks.cancel_scope.cancel()
