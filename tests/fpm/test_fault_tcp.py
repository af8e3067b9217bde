"""TCP between us and FPM: a peer that vanishes, one that stops reading, one that does not want us."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import attrs
import pytest

from fcgi_async import ConnectError, JobTimeout
from tests.eventually import eventually
from tests.fpm.fault import fault

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Proxy:
    """Stands between a client and FPM on loopback, until it is told to pass nothing on any more."""

    host: str
    port: int
    passes: anyio.Event = attrs.field(factory=anyio.Event)
    address: str = ""

    async def serve(self, client: anyio.abc.SocketStream) -> None:
        async with client, await anyio.connect_tcp(self.host, self.port) as server, anyio.create_task_group() as tasks:

            async def move(source: anyio.abc.SocketStream, target: anyio.abc.SocketStream) -> None:
                try:
                    while True:
                        # nothing is read while it is stopped, so that the sender's buffers fill
                        await self.passes.wait()
                        data = await source.receive(65536)
                        await self.passes.wait()
                        await target.send(data)
                except (anyio.EndOfStream, anyio.BrokenResourceError, anyio.ClosedResourceError):
                    tasks.cancel_scope.cancel()

            tasks.start_soon(move, client, server)
            tasks.start_soon(move, server, client)

    def stop(self) -> None:
        """Pass nothing on, as where a cable was pulled."""
        self.passes = anyio.Event()

    def go_on(self) -> None:
        """Pass on again."""
        self.passes.set()


@asynccontextmanager
async def proxy(address: str) -> AsyncIterator[Proxy]:
    host, _, port = address.removeprefix("tcp://").rpartition(":")
    it = Proxy(host, int(port))
    it.go_on()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    async with listener, anyio.create_task_group() as tasks:
        tasks.start_soon(listener.serve, it.serve)
        it.address = f"tcp://127.0.0.1:{listener.extra(anyio.abc.SocketAttribute.local_port)}"
        yield it
        tasks.cancel_scope.cancel()


async def test_peer_vanishes(start_fpm: Any, marks: Path) -> None:
    """A peer of which nothing more is heard holds a job up to its deadline, and the job may have run."""
    fpm = await start_fpm(max_children=2, listen="tcp")
    async with proxy(fpm.address) as between, fault(between.address, marks, drain_timeout=0.05) as it:
        await it.load(4)
        gate = marks.parent / "gate"
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: it.run("sleep until told", gate=gate, job={"timeout": 0.5}))
            await eventually(lambda: len(it.executed()) == 5)
            between.stop()
            gate.touch()
        assert it.failed == {"JobTimeout": 1}
        assert all(it.may_have_run.values())
        between.go_on()
        await it.load(4)


async def test_peer_stops_reading(start_fpm: Any, marks: Path) -> None:
    """A body that nobody reads waits for its deadline, without taking memory for it."""
    fpm = await start_fpm(max_children=2, listen="tcp")
    async with proxy(fpm.address) as between, fault(between.address, marks) as it:
        await it.load(4)

        async def body() -> AsyncIterator[bytes]:
            between.stop()
            for _ in range(1000):
                yield bytes(100_000)

        end = await it.run(job={"content": body(), "content_length": 100_000_000, "timeout": 0.5})
        assert isinstance(end, JobTimeout)
        assert end.body_truncated
        between.go_on()
        await it.load(4)


async def test_client_that_is_not_allowed(start_fpm: Any, marks: Path) -> None:
    """Where listen.allowed_clients does not name us, jobs fail at once, have not run, and the error says it."""
    fpm = await start_fpm(max_children=2, listen="tcp", pool={"listen.allowed_clients": "192.0.2.1"})
    async with fault(fpm, marks, alive=False) as it:
        end = await it.run()
        assert isinstance(end, ConnectError)
        assert "listen.allowed_clients" in str(end)
        assert not it.executed()
