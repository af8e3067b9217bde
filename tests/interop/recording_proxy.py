"""A relay between a client and a FastCGI server that counts the requests in flight on each connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import attrs
from anyio.abc import SocketStream

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

    async def serve(self, client: SocketStream) -> None:
        """Relay one connection until one of its ends closes."""
        passed = Passed()
        self.connections.append(passed)
        async with client, await anyio.connect_unix(self.target) as server, anyio.create_task_group() as tasks:

            async def relay(source: SocketStream, destination: SocketStream) -> None:
                rest = b""
                try:
                    async for data in source:
                        rest = _see_records(rest + data, passed)
                        await destination.send(data)
                except (anyio.BrokenResourceError, anyio.ClosedResourceError):
                    pass
                tasks.cancel_scope.cancel()

            tasks.start_soon(relay, client, server)
            tasks.start_soon(relay, server, client)


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
    async with await anyio.create_unix_listener(path, backlog=1024) as listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, proxy.serve)
        yield proxy
        tasks.cancel_scope.cancel()
