"""Many requests on one connection, where the peer says that it can: never where it does not."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Literal

import anyio
import pytest

from fcgi_async import (
    ConfigurationError,
    Dispatcher,
    Endpoint,
    FastCGIError,
    Job,
    JobCancelled,
    KeepAlive,
    Limits,
    Response,
    ResponseTooLarge,
    UnknownRole,
)
from fcgi_async.testing import Close, ProtocolStatus, Reject, Reply, Request, Responder
from tests.dispatch.hostile.peer import Behaviour, HostilePeer, Wire
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.wire import frames

pytestmark = pytest.mark.anyio

JOB = Job("/a.php")


class Gate:
    """A handler whose answers wait."""

    def __init__(self) -> None:
        self.opened = anyio.Event()

    async def __call__(self, request: Request) -> str:
        body = await request.body()
        await self.opened.wait()
        return f"{request.params['QUERY_STRING']} {len(body)}"


def serving(responder: Responder) -> int:
    """How many connections have had requests: one more was asked whether it multiplexes."""
    return sum(bool(connection.requests) for connection in responder.connections)


def jobs(count: int) -> list[Job]:
    return [Job("/a.php", query=f"n={n}", content=bytes(n * 97 % 5000)) for n in range(count)]


async def test_many_requests_on_one_connection() -> None:
    """Fifty jobs run at once on one connection, and each gets its own answer."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder, Dispatcher(responder.address, max_children=50) as php:
        handles = [await php.submit(job) for job in jobs(50)]
        await eventually(lambda: responder.running == 50)
        statistics = php.statistics()
        assert (statistics.busy, statistics.connections_opened, serving(responder)) == (50, 2, 1)
        gate.opened.set()
        texts = [(await handle).text for handle in handles]
        assert texts == [f"n={n} {n * 97 % 5000}" for n in range(50)]
        assert slots(await settled(php)) == 0


async def test_no_more_than_the_share() -> None:
    """A slot is a request id: what finds none waits in the queue."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder, Dispatcher(responder.address, max_children=3) as php:
        handles = [await php.submit(job) for job in jobs(10)]
        await eventually(lambda: responder.running == 3)
        assert (php.statistics().busy, php.statistics().queued) == (3, 7)
        gate.opened.set()
        for handle in handles:
            await handle
        assert responder.most_at_once == 3


async def test_no_more_than_the_peer_serves() -> None:
    """FCGI_MAX_REQS bounds it where the share does not."""
    gate = Gate()
    async with Responder(gate, multiplex=True, max_requests=4) as responder:
        async with Dispatcher(responder.address, max_children=50) as php:
            handles = [await php.submit(job) for job in jobs(20)]
            await eventually(lambda: responder.running == 4)
            gate.opened.set()
            for handle in handles:
                await handle
            assert (responder.most_at_once, serving(responder)) == (4, 1)


async def test_a_peer_that_does_not_say_so() -> None:
    """Without FCGI_MPXS_CONNS=1 no two requests are ever on one connection."""
    gate = Gate()
    async with Responder(gate, workers=3) as responder, Dispatcher(responder.address, max_children=3) as php:
        handles = [await php.submit(job) for job in jobs(9)]
        await eventually(lambda: responder.running == 3)
        assert serving(responder) == 3
        gate.opened.set()
        for handle in handles:
            await handle


async def test_never() -> None:
    """multiplex="never" takes a connection for each request of a peer that could do without, and keeps it."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder:
        async with Dispatcher(Endpoint(responder.address, max_children=3, multiplex="never")) as php:
            handles = [await php.submit(job) for job in jobs(9)]
            await eventually(lambda: responder.running == 3)
            gate.opened.set()
            for handle in handles:
                await handle
            assert (serving(responder), responder.most_at_once) == (3, 3)
            assert php.statistics().idle == 3


async def test_cancelling_one_leaves_the_others() -> None:
    """A cancelled request is aborted on the wire, keeps its id and its slot until it ends, and disturbs nobody."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder, Dispatcher(responder.address, max_children=9) as php:
        handles = [await php.submit(job) for job in jobs(9)]
        await eventually(lambda: responder.running == 9)
        handles[4].cancel()
        assert isinstance(handles[4].exception(), JobCancelled)
        assert (php.statistics().busy, php.statistics().draining) == (8, 1)
        await eventually(lambda: responder.requests[4].aborted.is_set())
        gate.opened.set()
        assert [(await handle).text for n, handle in enumerate(handles) if n != 4] == [
            f"n={n} {n * 97 % 5000}" for n in range(9) if n != 4
        ]
        assert slots(await settled(php)) == 0
        assert serving(responder) == 1


async def test_connection_that_loses_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids of aborted requests are not given again; a connection that has lost too many of them is replaced."""
    monkeypatch.setattr("fcgi_async.pool.channel._ABORTED_MAX", 3)
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder, Dispatcher(responder.address, max_children=9) as php:
        handles = [await php.submit(job) for job in jobs(4)]
        await eventually(lambda: responder.running == 4)
        for handle in handles[:3]:
            handle.cancel()
        new = await php.submit(JOB)
        await eventually(lambda: responder.running >= 2 and serving(responder) == 2)
        gate.opened.set()
        assert (await handles[3]).text == "n=3 291"
        assert (await new).text == " 0"


async def test_peer_that_reads_nothing_more(tmp_path: Path) -> None:
    """A peer that stops to read at ABORT_REQUEST, as gevent-fastcgi may, costs its connection and no job."""

    async def deaf(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.deafness()

    behaviour = Behaviour(jobs=frozenset({"last"}), at_requests=deaf, values=frames.pair(frames.MPXS, b"1"))
    async with HostilePeer(behaviour, f"unix://{tmp_path}/peer.sock") as peer:
        async with Dispatcher(Endpoint(peer.address, max_children=4, linger=0.0)) as php:
            assert (await php.run(JOB)).text == "ok"
            handle = await php.submit(Job("/last.php"))
            await eventually(lambda: php.statistics().busy == 1)
            handle.cancel()
            with anyio.fail_after(20):
                assert (await php.run(Job("/next.php"))).text == "ok"
            assert slots(await settled(php)) == 0


async def test_requests_that_never_end() -> None:
    """Aborted requests that the peer never ends take no room from those that come after `drain_timeout`."""

    async def handler(request: Request) -> str:
        if request.query == "endless":
            await anyio.sleep_forever()
        return "ok"

    values = {"FCGI_MPXS_CONNS": "1", "FCGI_MAX_REQS": "2"}
    async with Responder(handler, multiplex=True, values=values) as responder:
        endpoint = Endpoint(responder.address, max_children=4, drain_timeout=0.05, linger=0.05)
        async with Dispatcher(endpoint) as php:
            handles = [await php.submit(Job("/a.php", query="endless")) for _ in range(2)]
            await eventually(lambda: responder.running == 2)
            for handle in handles:
                handle.cancel()
            with anyio.fail_after(20):
                assert (await php.run(JOB)).text == "ok"
            assert slots(await settled(php)) == 0


@pytest.mark.parametrize("multiplex", ["auto", "never"])
async def test_role_that_is_refused(tmp_path: Path, multiplex: Literal["auto", "never"]) -> None:
    """A peer that stops to read behind UNKNOWN_ROLE, as gevent-fastcgi does, costs its connection and no job."""

    async def refuses(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(frames.end(ids["refused"], 0, ProtocolStatus.UNKNOWN_ROLE))
        await wire.deafness()

    behaviour = Behaviour(jobs=frozenset({"refused"}), at_requests=refuses, values=frames.pair(frames.MPXS, b"1"))
    async with HostilePeer(behaviour, f"unix://{tmp_path}/peer.sock") as peer:
        async with Dispatcher(Endpoint(peer.address, max_children=1, multiplex=multiplex)) as php:
            first, second = await php.submit(Job("/refused.php")), await php.submit(JOB)
            with anyio.fail_after(20):
                with pytest.raises(UnknownRole):
                    await first
                assert (await second).ok
                assert (await php.run(JOB)).ok


async def test_large_uploads_do_not_hold_up_neighbours() -> None:
    """A small job is answered while a large body is on its way to a handler that has not read it."""
    gate = anyio.Event()

    async def handler(request: Request) -> str:
        if request.params["QUERY_STRING"] == "large":
            size = 0
            async for part in request:
                size += len(part)
                await gate.wait()
            return str(size)
        return "small"

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield bytes(1_000_000)

    async with Responder(handler, multiplex=True) as responder, Dispatcher(responder.address, max_children=5) as php:
        large = [
            await php.submit(Job("/a.php", query="large", content=bytes(5_000_000))),
            await php.submit(Job("/a.php", query="large", content=parts(), content_length=20_000_000)),
        ]
        await eventually(lambda: responder.running == 2)
        gate.set()
        with anyio.fail_after(20):
            assert (await php.run(JOB)).text == "small"
            assert [(await handle).text for handle in large] == ["5000000", "20000000"]
        assert serving(responder) == 1


async def test_a_slow_reader_holds_up_nobody() -> None:
    """New jobs go around a connection whose reader is behind, and those on it are answered still."""
    going = anyio.Event()

    async def body() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield bytes(50_000)

    async def handler(request: Request) -> Reply | str:
        if request.params["QUERY_STRING"] == "large":
            return Reply(body=body())
        if request.params["QUERY_STRING"] == "neighbour":
            await going.wait()
        return "small"

    async with Responder(handler, multiplex=True) as responder, Dispatcher(responder.address, max_children=5) as php:
        neighbour = await php.submit(Job("/a.php", query="neighbour"))
        async with php.stream(Job("/a.php", query="large")) as response:
            await eventually(lambda: len(responder.requests) == 2)
            # its reader reads nothing; five megabytes come, more than wait for a reader otherwise
            await anyio.wait_all_tasks_blocked()
            for _ in range(3):
                assert (await php.run(JOB)).text == "small"
            going.set()
            assert (await neighbour).text == "small"
            assert len(await response.aread()) == 5_000_000


@pytest.mark.parametrize("leaving", [False, True])
async def test_a_slow_reader_that_catches_up_lets_jobs_in(leaving: bool) -> None:
    """Where the peer accepts no other connection, a job waits until the reader has caught up or left, and no longer.

    The response that it reads need not have ended.
    """
    ending = anyio.Event()

    async def handler(request: Request) -> str | None:
        if request.params["QUERY_STRING"] != "large":
            return "small"
        await request.write_stdout(b"\r\n" + bytes(1_000_000))
        await ending.wait()
        return None

    async with Responder(handler, multiplex=True, workers=1) as responder:
        async with Dispatcher(responder.address, max_children=5) as php:
            assert php._scheduler is not None
            (pool,) = php._scheduler.pools
            async with php.stream(Job("/a.php", query="large")) as response:
                await eventually(lambda: any(not channel.helps for channel in pool._channels))
                handle = await php.submit(JOB)
                await anyio.wait_all_tasks_blocked()
                assert php.statistics().queued == 1
                size = 0
                while not leaving and size < 1_000_000:
                    size += len(await anext(response))
                if not leaving:
                    await eventually(handle.done)
            with anyio.fail_after(20):
                assert (await handle).text == "small"
            assert serving(responder) == 1
            ending.set()


@pytest.mark.parametrize("multiplex", ["auto", "never"])
async def test_a_fault_behind_a_response(multiplex: Literal["auto", "never"]) -> None:
    """Jobs that wait while a response and a fault come in one piece are run on another connection."""
    content = b"\r\nfirst"
    faulty = frames.stdout(1, content) + frames.end(1) + b"\xff" * 8
    waiting = anyio.Event()

    async def handler(request: Request) -> str | None:
        if request.number > 1:
            return "small"
        await waiting.wait()
        await request.send_raw(faulty)
        return None

    async with Responder(handler, multiplex=True) as responder:
        endpoint = Endpoint(responder.address, max_children=1, multiplex=multiplex, linger=0.05)
        async with Dispatcher(endpoint) as php:
            handles = [await php.submit(JOB) for _ in range(3)]
            await eventually(lambda: responder.running == 1)
            waiting.set()
            assert [(await handle).text for handle in handles] == ["first", "small", "small"]


async def test_a_fault_behind_a_response_that_is_too_large() -> None:
    """A job is given up for its own reason where a fault of the peer's comes in the same piece."""

    async def handler(request: Request) -> str | None:
        if request.number > 1:
            return "small"
        await request.send_raw(frames.stdout(1, b"\r\n" + bytes(100)) + b"\xff" * 8)
        return None

    async with Responder(handler, multiplex=True) as responder:
        endpoint = Endpoint(responder.address, max_children=1, linger=0.05)
        async with Dispatcher(endpoint, limits=Limits(response=10)) as php:
            with pytest.raises(ResponseTooLarge):
                await php.run(JOB)
            assert (await php.run(JOB)).text == "small"


async def test_no_more_connections_than_the_peer_accepts() -> None:
    """FCGI_MAX_CONNS bounds the connections: what finds none waits in the queue."""
    gate = Gate()
    async with Responder(gate, multiplex=True, workers=2) as responder:
        async with Dispatcher(Endpoint(responder.address, max_children=5, multiplex="never")) as php:
            handles = [await php.submit(job) for job in jobs(9)]
            await eventually(lambda: responder.running == 2)
            await anyio.wait_all_tasks_blocked()
            assert (php.statistics().busy, php.statistics().queued) == (2, 7)
            gate.opened.set()
            assert [(await handle).text for handle in handles] == [f"n={n} {n * 97 % 5000}" for n in range(9)]


async def test_an_upload_that_fails_costs_no_connection() -> None:
    """A body that breaks off is aborted; its neighbour, on the same connection, is answered."""
    gate = Gate()

    async def parts() -> AsyncIterator[bytes]:
        yield b"x" * 10
        raise LookupError("no more")

    async with Responder(gate, multiplex=True) as responder, Dispatcher(responder.address, max_children=5) as php:
        neighbour = await php.submit(Job("/a.php", query="n=1"))
        await eventually(lambda: responder.running == 1)
        with pytest.raises(FastCGIError) as caught:
            await php.run(Job("/a.php", content=parts(), content_length=20))
        assert caught.value.may_have_run
        assert caught.value.body_truncated
        gate.opened.set()
        assert (await neighbour).text == "n=1 0"
        assert serving(responder) == 1


async def test_multiplexing_that_is_refused() -> None:
    """CANT_MPX_CONN: the job did not run and is sent again, and from then on a connection has one request at a time."""
    refused = 0

    async def handler(request: Request) -> Reject | str:
        nonlocal refused
        if responder.running > 1 and not refused:
            refused += 1
            return Reject(ProtocolStatus.CANT_MPX_CONN)
        return request.params["QUERY_STRING"]

    async with Responder(handler, multiplex=True) as responder, Dispatcher(responder.address, max_children=4) as php:
        responses = await php.run_all(jobs(40))
        assert [response.text for response in responses] == [f"n={n}" for n in range(40)]
        assert php.statistics().failed == 0
        assert refused <= 1
        if refused:
            assert php.statistics().retried == 1
            assert serving(responder) > 1


async def test_peer_that_has_too_many() -> None:
    """OVERLOADED: the job did not run, and comes back when there may be room."""
    times = 0

    async def handler(request: Request) -> Reject | str:
        nonlocal times
        times += 1
        return Reject(ProtocolStatus.OVERLOADED) if times <= 2 else "at last"

    async with Responder(handler, multiplex=True) as responder, Dispatcher(responder.address, max_children=4) as php:
        response = await php.run(JOB)
        assert (response.text, response.attempts) == ("at last", 3)


async def test_connection_without_requests_is_closed() -> None:
    """A shared connection without a request pins nobody, and is closed after KeepAlive.idle all the same."""

    async def handler(request: Request) -> str:
        return "ok"

    async with Responder(handler, multiplex=True) as responder:
        keepalive = KeepAlive(idle=0.05)
        async with Dispatcher(Endpoint(responder.address, max_children=4, keepalive=keepalive)) as php:
            await php.run_all([JOB] * 10)
            assert serving(responder) == 1
            await eventually(lambda: responder.open_connections == 0)
            assert (await php.run(JOB)).ok
            assert serving(responder) == 2


async def test_connection_that_is_worn_out() -> None:
    """KeepAlive.max_requests retires a shared connection without failing what runs on it."""

    async def handler(request: Request) -> str:
        return request.params["QUERY_STRING"]

    async with Responder(handler, multiplex=True) as responder:
        keepalive = KeepAlive(max_requests=10)
        async with Dispatcher(Endpoint(responder.address, max_children=4, keepalive=keepalive)) as php:
            responses = await php.run_all(jobs(60))
            assert [response.text for response in responses] == [f"n={n}" for n in range(60)]
            assert serving(responder) > 3


async def test_connection_that_is_worn_out_by_requests_at_once() -> None:
    """KeepAlive.max_requests bounds those that run together too: the others go to further connections."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder:
        keepalive = KeepAlive(max_requests=4)
        async with Dispatcher(Endpoint(responder.address, max_children=10, keepalive=keepalive)) as php:
            handles = [await php.submit(job) for job in jobs(30)]
            await eventually(lambda: responder.running == 10)
            assert serving(responder) == 3
            gate.opened.set()
            for handle in handles:
                await handle
            assert max(len(connection.requests) for connection in responder.connections) == 4
            assert slots(await settled(php)) == 0


async def test_worn_out_connection_whose_last_caller_leaves() -> None:
    """A cancelled request keeps its slot until it ends on a connection that gets no more too, and does not linger."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder:
        endpoint = Endpoint(responder.address, max_children=2, keepalive=KeepAlive(max_requests=1), linger=1000.0)
        async with Dispatcher(endpoint) as php:
            handle = await php.submit(JOB)
            await eventually(lambda: responder.running == 1)
            handle.cancel()
            assert (php.statistics().draining, php.statistics().lingering) == (1, 0)
            gate.opened.set()
            assert slots(await settled(php)) == 0
            await eventually(lambda: responder.open_connections == 0)


async def test_peer_that_goes_away() -> None:
    """When the connection is lost every request on it may have run, and each caller is told."""
    gate = Gate()
    ends: list[Response | FastCGIError] = []

    async def handler(request: Request) -> Close | str:
        return Close() if request.params["QUERY_STRING"] == "close" else await gate(request)

    async with Responder(handler, multiplex=True) as responder:
        async with Dispatcher(Endpoint(responder.address, max_children=5, linger=0.0)) as php:

            async def run(query: str) -> None:
                try:
                    ends.append(await php.run(Job("/a.php", query=query)))
                except FastCGIError as error:
                    ends.append(error)

            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(run, "n=1")
                await eventually(lambda: responder.running == 4)
                tasks.start_soon(run, "close")
            assert len(ends) == 5
            assert all(isinstance(end, FastCGIError) and end.may_have_run for end in ends)
            gate.opened.set()
            assert (await php.run(JOB)).ok


async def test_ping() -> None:
    """A ping is answered on a shared connection while requests run on it."""
    gate = Gate()
    async with Responder(gate, multiplex=True) as responder, Dispatcher(responder.address, max_children=5) as php:
        handle = await php.submit(JOB)
        await eventually(lambda: responder.running == 1)
        assert await php.ping() >= 0
        gate.opened.set()
        await handle
        assert serving(responder) == 1


async def ok(request: Request) -> str:
    return "ok"


@pytest.mark.parametrize(
    ("values", "share"),
    [
        (None, 7),
        ({"FCGI_MPXS_CONNS": "1"}, 100),
        ({"FCGI_MPXS_CONNS": "1", "FCGI_MAX_REQS": "9" * 5000}, 100),
        ({"FCGI_MPXS_CONNS": "1", "FCGI_MAX_REQS": "99999999"}, 65535),
    ],
    ids=["said", "not said", "no number", "more than ids"],
)
async def test_share_that_nobody_gave(values: dict[str, str] | None, share: int) -> None:
    """Without max_children a peer that multiplexes has FCGI_MAX_REQS, or 100 requests at once."""
    async with Responder(ok, multiplex=True, max_requests=7, values=values) as responder:
        async with Dispatcher(responder.address) as php:
            assert php.statistics().share == share
            assert (await php.run(JOB)).text == "ok"


async def test_share_that_nobody_knows() -> None:
    """Without max_children a peer that does not multiplex is refused on entering, and the error says where to look."""
    async with Responder(ok) as responder:
        with pytest.raises(ConfigurationError, match=r"give pm\.max_children of that pool"):
            async with Dispatcher(responder.address):
                pass
