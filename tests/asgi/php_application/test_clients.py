"""Clients that are slow, and clients that leave."""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import anyio
import attrs
import pytest

from fcgi_async import JobCancelled
from fcgi_async.asgi import PHPApplication
from fcgi_async.asgi.php_application.relay import Relay
from fcgi_async.asgi.protocol import Message
from fcgi_async.dispatch.stream import StreamManager
from fcgi_async.testing import Request
from fcgi_async.testing.request import Answer as Scripted
from fcgi_async.testing.request import ClientGone
from tests.asgi.client import Client
from tests.asgi.php_application.site import Site, collected
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

HEAD = "Content-Type: a/b\r\n\r\n"


@attrs.define(eq=False)
class SlowClient(Client):
    """Takes nothing before it is told to."""

    taking: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    offered: int = attrs.field(default=0, init=False)

    async def _send(self, message: Message) -> None:
        self.offered += 1
        await self.taking.wait()
        await Client._send(self, message)


async def get(client: Client, app: PHPApplication, **scope: Any) -> None:
    """Ask for a page."""
    await client.request(app, **{"path": "/page.php", "headers": [(b"host", b"a")], "http_version": "1.1", **scope})


def writes(site: Site, parts: list[bytes]) -> None:
    """Let PHP answer in these parts."""

    async def handle(request: Request) -> Scripted:
        await request.write_stdout(HEAD)
        for part in parts:
            await request.write_stdout(part)
        return None

    site.handle = handle


PARTS = [bytes([n]) * 50_000 for n in range(40)]


@pytest.mark.parametrize("buffer", [1, 120_000, 10_000_000])
async def test_slow_reader_holds_no_worker(site: Site, buffer: int) -> None:
    """What is not taken waits in memory, then in a file, and comes in its order."""
    writes(site, PARTS)
    app, client = site.app(response_buffer=buffer), SlowClient()
    async with anyio.create_task_group() as group:
        group.start_soon(get, client, app)
        await eventually(lambda: site.responder.requests and site.responder.requests[0].ended)
        await eventually(lambda: not site.php.statistics().busy)
        await eventually(
            lambda: app._answering.room.used >= 2_000_000 - max(buffer, 50_000) - 262_144 or buffer > 2_000_000
        )
        assert not client.sent
        client.taking.set()
    answer = collected(client)
    assert (answer.body, answer.complete) == (b"".join(PARTS), True)
    assert app._answering.room.used == 0


@pytest.mark.parametrize(
    "options",
    [
        {"response_buffer": 0},
        {"response_buffer": 1, "response_file": 0},
        {"response_buffer": 1, "max_spooled": 100},
        {"response_buffer": 100_000, "response_file": 300_000},
    ],
)
async def test_full_spool_holds_php_up(site: Site, options: dict[str, int]) -> None:
    """Without room the worker waits for the client, and nothing is lost."""
    parts = [bytes([n]) * 100_000 for n in range(100)]
    writes(site, parts)
    app, client = site.app(**options), SlowClient()
    async with anyio.create_task_group() as group:
        group.start_soon(get, client, app)
        await eventually(lambda: client.offered)
        for _ in range(50):
            await anyio.sleep(0.002)
        assert site.php.statistics().busy == 1
        assert not site.responder.requests[0].ended
        client.taking.set()
    assert collected(client).body == b"".join(parts)


async def test_disk_that_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer waits for its client, and is whole."""

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    writes(site, PARTS)
    client = SlowClient()
    async with anyio.create_task_group() as group:
        group.start_soon(get, client, site.app(response_buffer=1))
        await eventually(lambda: client.offered)
        client.taking.set()
    assert collected(client).body == b"".join(PARTS)


@attrs.define(eq=False)
class Script:
    """One that waits in its middle, and says what became of it."""

    before: str = ""
    gate: anyio.Event = attrs.field(factory=anyio.Event, init=False)
    began: bool = False
    outcome: str = ""

    async def __call__(self, request: Request) -> Scripted:
        self.began = True
        if self.before:
            await request.write_stdout(self.before)
        await self.gate.wait()
        try:
            for _ in range(200):
                await request.write_stdout(b"x" * 10_000 if self.before else HEAD + "x")
                self.before = "written"
        except ClientGone:
            self.outcome = "cut"
            raise
        self.outcome = "ended"
        return None


async def leave(site: Site, script: Script, client: Client, app: PHPApplication, ready: Callable[[], object]) -> None:
    """Ask, leave when it is ready, and let the script go on once the application has returned or knows of it."""
    site.handle = script
    async with anyio.create_task_group() as group:
        group.start_soon(get, client, app)
        await eventually(ready)
        client.disconnect()
        await eventually(lambda: client.asked and not client._messages[:-1])
        if app.on_disconnect == "drain":
            await eventually(lambda: site.php.statistics().draining == 1)
        script.gate.set()
    await eventually(lambda: script.outcome)


@pytest.mark.parametrize("before", ["", HEAD + "begun"])
async def test_client_leaves(site: Site, before: str) -> None:
    """By default the script is drained to its end, its worker is counted as taken until then, and kept."""
    script, client = Script(before), Client()
    await leave(site, script, client, site.app(), lambda: client.sent if before else script.began)
    assert script.outcome == "ended"
    await eventually(lambda: site.php.statistics().draining == 0)
    assert site.php.statistics().cancelled == 1


@pytest.mark.parametrize("before", ["", HEAD + "begun"])
async def test_client_leaves_and_php_finishes(site: Site, before: str) -> None:
    """on_disconnect="finish": the job is no cancelled one."""
    script, client = Script(before), Client()
    app = site.app(on_disconnect="finish")
    await leave(site, script, client, app, lambda: client.sent if before else script.began)
    assert script.outcome == "ended"
    await eventually(lambda: site.php.statistics().completed == 1)
    assert site.php.statistics().cancelled == 0


async def test_client_leaves_the_queue(site: Site) -> None:
    """What waits for a worker does not run any more."""
    async with site.php.slot(), site.php.slot(), site.php.slot(), site.php.slot():
        client = Client()
        async with anyio.create_task_group() as group:
            group.start_soon(get, client, site.app())
            await eventually(lambda: site.php.statistics().queued == 1)
            client.disconnect()
            await eventually(lambda: site.php.statistics().queued == 0)
    assert not site.responder.requests
    assert not client.sent


async def test_server_that_raises_when_its_client_left(site: Site) -> None:
    """OSError out of send, as ASGI 2.4 has it, is no error of the application."""
    writes(site, PARTS)

    @attrs.define(eq=False)
    class Gone(Client):
        async def _send(self, message: Message) -> None:
            raise BrokenPipeError

    await get(Gone(), site.app(response_buffer=1))
    await eventually(lambda: not site.php.statistics().busy)


async def test_cancelled_request(site: Site) -> None:
    """A server that ends cancels requests: the cancellation is passed on, and no task or file is left."""
    script, client = Script(HEAD + "begun"), Client()
    site.handle = script
    app = site.app(response_buffer=1)
    async with anyio.create_task_group() as group:
        group.start_soon(get, client, app)
        await eventually(lambda: client.sent)
        group.cancel_scope.cancel()
    assert app._answering.room.used == 0
    script.gate.set()
    await eventually(lambda: not site.php.statistics().busy)


async def test_stream_that_is_cancelled(site: Site) -> None:
    """What the application stands on: the reader gets JobCancelled, and the job is drained."""
    from fcgi_async import Job

    script = Script(HEAD + "begun")
    site.handle = script
    manager = site.php.stream(Job("/page.php"))
    with pytest.raises(JobCancelled):
        async with manager as stream:
            assert await stream.__anext__() == b"begun"
            manager.cancel()
            await stream.__anext__()
    assert site.php.statistics().draining == 1
    script.gate.set()
    await eventually(lambda: script.outcome == "ended")


async def test_request_leaves_nothing_to_the_garbage_collector(site: Site) -> None:
    """Objects that have each other would wait for it, and its runs cost more than a small request does."""
    app = site.app()
    await get(Client(), app)
    gc.collect()
    gc.disable()
    try:
        await get(Client(), app)
        # the cancelled watch has the frames that cancelled it until it has run
        await anyio.wait_all_tasks_blocked()
        left = [kind for kind in map(type, gc.get_objects()) if kind in (Relay, StreamManager)]
    finally:
        gc.enable()
    assert left == []
