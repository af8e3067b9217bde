"""How a responder ends connections, and stops to take them, as PHP-FPM does, without a fault of any request."""

from __future__ import annotations

import anyio
import pytest

from fcgi_async import ConnectError, Dispatcher, Endpoint, Job, KeepAlive
from fcgi_async.testing import Close, Garbage, Request, Responder, ServedConnection
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import Held
from tests.testing.wire_client import connected, request
from tests.wire import frames

pytestmark = pytest.mark.anyio
JOB = Job("/srv/a.php")


async def ok(request: Request) -> str:
    await request.body()
    return "ok"


def kept(address: str) -> Endpoint:
    """One worker, whose connection the dispatcher does not close."""
    return Endpoint(address, max_children=1, keepalive=KeepAlive(idle=600.0))


async def test_reload_closes_idle_connections() -> None:
    """A kept connection is closed at once, in good order; the next job gets another."""
    async with Responder(ok) as responder, Dispatcher(kept(responder.address)) as php:
        for _ in range(2):
            await php.run(JOB)
            await settled(php)
            responder.reload()
            await eventually(lambda: not responder.open_connections and not php.statistics().idle)
        assert len(responder.connections) == 2
        assert php.statistics().retried == 0


async def test_reload_lets_a_request_finish() -> None:
    """What runs is answered, and its connection closed after that."""
    held = Held()
    async with Responder(held) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request())
            await eventually(lambda: held.running)
            responder.reload()
            assert responder.open_connections == 1
            held.release()
            await client.answer()
            with pytest.raises(EOFError):
                await client.record()


@pytest.mark.parametrize("multiplex", [False, True])
async def test_request_that_comes_after_a_reload(multiplex: bool) -> None:
    """It is not handled, and its client sees the end of the connection, not a reset."""
    async with Responder(ok, multiplex=multiplex) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request())
            await client.answer()
            await anyio.wait_all_tasks_blocked()
            responder.reload()
            await client.send(request())
            with pytest.raises(EOFError):
                await client.record()
        await eventually(lambda: not responder.open_connections)
    assert len(responder.requests) == 1


async def test_stop_listening() -> None:
    """New connections are refused from then on; a request that runs is answered."""
    held = Held()
    async with Responder(held) as responder:
        async with Dispatcher(Endpoint(responder.address, max_children=2, reconnect_timeout=0.05)) as php:
            handle = await php.submit(JOB)
            await eventually(lambda: held.running)
            responder.stop_listening()
            responder.stop_listening()
            with pytest.raises(ConnectError):
                await php.run(JOB)
            held.release()
            assert (await handle).ok
    assert len(responder.connections) == 1


async def test_closes_after_values() -> None:
    """The answer to GET_VALUES is the last thing on its connection; a request on another is answered."""
    async with Responder(ok, closes_after_values=True) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.get_values(b"FCGI_MPXS_CONNS"))
            assert (await client.record())[2] == b"\x0f\x01FCGI_MPXS_CONNS0"
            with pytest.raises(EOFError):
                await client.record()
        async with Dispatcher(responder.address, max_children=1) as php:
            assert (await php.run(JOB)).text == "ok"


async def test_values_by_a_function() -> None:
    """It is asked each time, may wait, and decides between an answer, the usual one and a fault."""
    go_on = anyio.Event()

    async def values(connection: ServedConnection) -> dict[str, str] | Garbage | Close | None:
        await go_on.wait()
        return {1: None, 2: {"FCGI_MPXS_CONNS": "7"}, 3: Close()}[connection.number]

    async with Responder(ok, values=values) as responder:
        got = []
        for _ in range(3):
            client = await connected(responder.address)
            with client.sock:
                await client.send(frames.get_values(b"FCGI_MPXS_CONNS"))
                go_on.set()
                try:
                    got.append((await client.record())[2][-1:])
                except EOFError:
                    got.append(b"end")
        assert got == [b"0", b"7", b"end"]


async def test_parts_of_a_body() -> None:
    """They are given as they arrive, the first before the second is sent, and nothing at the end."""
    parts: list[bytes] = []

    async def script(request: Request) -> None:
        while part := await request.read_part():
            parts.append(part)
        assert await request.read_part() == b""

    async with Responder(script) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request()[: -len(frames.stdin(1))])
            await client.send(frames.stdin(1, b"one"))
            await eventually(lambda: parts == [b"one"])
            await client.send(frames.stdin(1, b"two"), frames.stdin(1))
            await client.answer()
    assert parts == [b"one", b"two"]


@pytest.mark.parametrize(("address", "begins"), [("tcp", "tcp://127.0.0.1:"), ("tcp6", "tcp://[::1]:")])
async def test_any_free_port(address: str, begins: str) -> None:
    """Two listen beside each other, each at the port that it says."""
    async with Responder(ok, address) as one, Responder(ok, address) as other:
        assert one.address != other.address
        for responder in (one, other):
            assert responder.address.startswith(begins)
            async with Dispatcher(responder.address, max_children=1) as php:
                assert (await php.run(JOB)).text == "ok"
