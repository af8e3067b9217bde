"""What the library does with servers that others wrote."""

from __future__ import annotations

import hashlib
import random
from contextlib import suppress

import anyio
import anyio.abc
import pytest

from fcgi_async import Dispatcher, Job, JobCancelled, Role, UnknownRole
from fcgi_async.net.values import ask_values
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.spec import RecordType
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.interop.seen import saw
from tests.interop.server import MULTIPLEXING, SCRIPT, WORKERS, Server
from tests.wire import frames

pytestmark = pytest.mark.anyio

SIZES = (0, 1, 65_535, 65_536, 300_000)
multiplexing = pytest.mark.parametrize("server", MULTIPLEXING, indirect=True, ids=lambda kind: kind.name)


def received(body: bytes) -> str:
    """What X-Received says of a body."""
    return f"{len(body)} {hashlib.md5(body).hexdigest()}"


async def test_answers(server: Server) -> None:
    """Status, headers, content, messages and the app status arrive as the program gave them."""
    traits = server.kind.traits
    query = {"name": "a b", "status": "404", "size": "7", "stderr": "oops", "app_status": "3"}
    async with Dispatcher(server.endpoint()) as php:
        query["name"] = "ab"
        response = await php.run(Job(SCRIPT, query=query))
    assert (response.status, response.headers["X-Name"], response.content) == (404, "ab", b"x" * 7)
    assert response.headers["Content-Type"].startswith("text/plain")
    assert (b"oops" in response.stderr) is traits.stderr
    assert response.app_status == (3 if traits.app_status else 0)
    saw(server.kind.name, "stderr arrives", "yes" if b"oops" in response.stderr else "no")
    saw(server.kind.name, "app status of 3 arrives", "yes" if response.app_status == 3 else "no")


@pytest.mark.parametrize("size", SIZES)
async def test_bodies(server: Server, size: int) -> None:
    """Bodies of any size arrive whole in both directions."""
    body = bytes(n % 251 for n in range(size))
    async with Dispatcher(server.endpoint()) as php:
        response = await php.run(Job(SCRIPT, query={"size": str(size)}, content=body))
    assert (response.headers["X-Received"], response.content) == (received(body), b"x" * size)


async def test_values(server: Server) -> None:
    """The peer says of itself what is known of it."""
    with anyio.fail_after(30):
        values = await ask_values(server.endpoint().address, connect_timeout=5.0)
    assert values == server.kind.traits.values
    for name in ("FCGI_MPXS_CONNS", "FCGI_MAX_REQS", "FCGI_MAX_CONNS"):
        saw(server.kind.name, name, values.get(name.encode(), b"not said").decode())


@multiplexing
async def test_thousand_at_once(server: Server) -> None:
    """1000 requests of mixed length overlap on one connection, and each gets its own answer."""
    bodies = [bytes(n * 37 % 20_000) for n in range(1000)]
    jobs = [
        Job(SCRIPT, query={"name": str(n), "ms": str(n % 100), "size": str(n % 333), "together": "1000"}, content=body)
        for n, body in enumerate(bodies)
    ]
    async with Dispatcher(server.endpoint(at_once=1000)) as php:
        responses = await php.run_all(jobs)
        statistics = php.statistics()
    assert [response.headers["X-Name"] for response in responses] == [str(n) for n in range(1000)]
    assert [response.headers["X-Received"] for response in responses] == [received(body) for body in bodies]
    assert [len(response.content) for response in responses] == [n % 333 for n in range(1000)]
    # the fixture has looked whether it listens
    accepted = int(responses[-1].headers["X-Accepted"]) - 1
    assert (accepted, statistics.connections_opened, statistics.retried) == (2, 2, 0)
    saw(server.kind.name, "at once", "1000 requests on 1 connection")


@multiplexing
async def test_cancelling_one(server: Server) -> None:
    """A cancelled request leaves its neighbours whole, and its slot comes back."""
    async with Dispatcher(server.endpoint(at_once=50, drain_timeout=1.0, linger=0.0)) as php:
        handles = [await php.submit(Job(SCRIPT, query={"name": str(n), "together": "50"})) for n in range(49)]
        await eventually(lambda: php.statistics().busy == 49)
        # the server has read them all
        await php.ping()
        handles[7].cancel()
        with pytest.raises(JobCancelled):
            await handles[7]
        # the last that the others wait for: two, since the cancelled one may be gone from the count
        last = await php.run_all(Job(SCRIPT, query={"name": name, "together": "50"}) for name in ("a", "b"))
        assert [response.headers["X-Name"] for response in last] == ["a", "b"]
        for number, handle in enumerate(handles):
            if number != 7:
                assert (await handle).headers["X-Name"] == str(number)
        assert slots(await settled(php)) == 0
        # gevent-fastcgi never ends a request that it kills before it has begun: its connection is replaced
        assert php.statistics().connections_opened <= 2 + server.kind.traits.honours_abort


@multiplexing
async def test_cancelling_many(server: Server) -> None:
    """However many are cancelled, some as they end, the others and those that come later are answered."""
    chance = random.Random(1)
    async with Dispatcher(server.endpoint(at_once=1000)) as php:
        handles = [
            await php.submit(
                Job(
                    SCRIPT,
                    query={"name": str(n), "ms": str(chance.randrange(1000)), "size": str(chance.randrange(20_000))},
                    content=bytes(chance.randrange(2000)),
                )
            )
            for n in range(1000)
        ]
        with anyio.fail_after(60):
            # 2 ms between two cancels let each meet another moment of its request
            for handle in chance.sample(handles, 200):
                await anyio.sleep(0.002)
                handle.cancel()
            for number, handle in enumerate(handles):
                with suppress(JobCancelled):
                    assert (await handle).headers["X-Name"] == str(number)
            later = await php.run_all(Job(SCRIPT, query={"name": str(n)}) for n in range(100))
    assert [response.headers["X-Name"] for response in later] == [str(n) for n in range(100)]


async def test_one_request_on_a_connection(server: Server) -> None:
    """With multiplex="never", and where the peer cannot, connections are kept, one for each request at once."""
    async with Dispatcher(server.endpoint(multiplex="never")) as php:
        responses = await php.run_all(Job(SCRIPT, query={"name": str(n)}) for n in range(100))
        statistics = php.statistics()
    assert [response.headers["X-Name"] for response in responses] == [str(n) for n in range(100)]
    assert statistics.failed == 0
    # one more was asked, where the peer multiplexes
    assert statistics.connections_opened <= WORKERS + server.kind.traits.multiplexes
    if not server.kind.traits.multiplexes:
        saw(server.kind.name, "at once", f"{WORKERS} requests on {WORKERS} connections")


async def test_unknown_role(server: Server) -> None:
    """A role that the program does not serve is an error of its own, where the server says so."""
    async with Dispatcher(server.endpoint()) as php:
        job = Job(SCRIPT, role=Role.AUTHORIZER, query={"name": "it"})
        if server.kind.traits.unknown_role == "UNKNOWN_ROLE":
            with pytest.raises(UnknownRole):
                await php.run(job)
        else:
            assert (await php.run(job)).headers["X-Name"] == "it"
        assert (await php.run(Job(SCRIPT, query={"name": "next"}))).headers["X-Name"] == "next"
    saw(server.kind.name, "an authorizer is", server.kind.traits.unknown_role)


async def test_ping(server: Server) -> None:
    """A ping is answered before a job, and behind one."""
    async with Dispatcher(server.endpoint()) as php:
        with anyio.fail_after(30):
            assert await php.ping() >= 0
            await php.run(Job(SCRIPT))
            assert await php.ping() >= 0


async def answers(stream: anyio.abc.ByteStream) -> list[int]:
    """Return the types of the records that come, up to GET_VALUES_RESULT or the peer's closing."""
    parser, types = RecordParser(), list[int]()
    while RecordType.GET_VALUES_RESULT not in types:
        try:
            data = await stream.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            break
        types += [record_type for record_type, _, _ in parser.feed(data)]
    return types


async def test_unknown_management_record(server: Server) -> None:
    """What the peer answers to a management record of a type that it does not know, and whether it reads on."""
    async with await anyio.connect_unix(server.path) as stream:
        with anyio.fail_after(30):
            await stream.send(frames.record(99, 0))
            # behind it, so that a peer that answers nothing is told from one that is slow
            with suppress(anyio.BrokenResourceError):
                await stream.send(frames.get_values(frames.MPXS))
            types = await answers(stream)
    seen = ["UNKNOWN_TYPE"] if RecordType.UNKNOWN_TYPE in types else []
    if RecordType.GET_VALUES_RESULT not in types:
        seen.append("then closes" if seen else "closes")
    assert (", ".join(seen) or "nothing") == server.kind.traits.unknown_type
    saw(server.kind.name, "an unknown management record is answered with", ", ".join(seen) or "nothing")
