"""The test kit's responder, asked in raw records: what the specification and PHP-FPM demand."""

from __future__ import annotations

import socket

import anyio
import pytest

from fcgi_async.testing import Close, Garbage, Interruption, Request, Responder, Stall
from tests.eventually import eventually
from tests.testing.wire_client import STDOUT, UNKNOWN, VALUES, connected, request
from tests.wire import frames

pytestmark = pytest.mark.anyio

COMPLETE, CANT_MPX, OVERLOADED, UNKNOWN_ROLE = (bytes((0, 0, 0, 0, status)) for status in range(4))
HEAD = b"Content-type: text/html; charset=UTF-8\r\n\r\n"
NAMES = (b"FCGI_MPXS_CONNS", b"FCGI_MAX_REQS", b"FCGI_MAX_CONNS", b"OTHER")


async def echo(request: Request) -> bytes:
    return await request.body()


async def test_values_without_multiplexing() -> None:
    """PHP-FPM's answer: it does not multiplex, and nothing else."""
    async with Responder(echo) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.get_values(*NAMES))
            assert await client.record() == (VALUES, 0, frames.pair(b"FCGI_MPXS_CONNS", b"0"))


async def test_values_with_multiplexing() -> None:
    """It multiplexes, and says how much."""
    async with Responder(echo, multiplex=True, workers=3, max_requests=7) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.get_values(*NAMES))
            values = frames.pair(NAMES[0], b"1") + frames.pair(NAMES[1], b"7") + frames.pair(NAMES[2], b"3")
            assert await client.record() == (VALUES, 0, values)


async def test_values_are_answered_when_the_worker_is_free() -> None:
    """GET_VALUES behind a request is answered after the handler's end, which may come after END_REQUEST."""
    go_on = anyio.Event()

    async def finishes_early(request: Request) -> None:
        await request.respond("")
        await go_on.wait()
        await request.send_raw(frames.record(STDOUT, request.request_id, b"stray"))

    async with Responder(finishes_early) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request(), frames.get_values(NAMES[0]))
            assert await client.answer() == (HEAD, COMPLETE)
            go_on.set()
            assert await client.record() == (STDOUT, 1, b"stray")
            assert (await client.record())[0] == VALUES


@pytest.mark.parametrize("multiplex", [False, True])
async def test_unknown_management_record(multiplex: bool) -> None:
    """It is answered UNKNOWN_TYPE, and the connection goes on."""
    async with Responder(echo, multiplex=multiplex) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.record(99, 0, b"what"), request(body=b"x"))
            assert await client.record() == (UNKNOWN, 0, bytes((99, 0, 0, 0, 0, 0, 0, 0)))
            assert await client.answer() == (HEAD + b"x", COMPLETE)


@pytest.mark.parametrize("multiplex", [False, True])
async def test_unknown_role(multiplex: bool) -> None:
    """It is rejected, and no handler sees it."""
    async with Responder(echo, multiplex=multiplex) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.begin(1, role=9))
            assert await client.answer() == (b"", UNKNOWN_ROLE)
    assert responder.requests == []


async def test_second_request_meanwhile_is_rejected() -> None:
    """Who does not multiplex answers CANT_MPX_CONN to a request that begins in another's body."""
    async with Responder(echo) as responder:
        client = await connected(responder.address)
        with client.sock:
            first = request(1, body=b"abc")
            await client.send(first[:-8], request(2, body=b"lost"), first[-8:])
            assert await client.answer(2) == (b"", CANT_MPX)
            assert await client.answer(1) == (HEAD + b"abc", COMPLETE)
    assert [seen.request_id for seen in responder.requests] == [1]


async def test_requests_in_a_row_are_served_in_a_row() -> None:
    """Without multiplexing a request that waits in the socket is run after the one before, as by PHP-FPM."""
    async with Responder(echo) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request(1, body=b"a"), request(2, body=b"b"))
            assert await client.answer(1) == (HEAD + b"a", COMPLETE)
            assert await client.answer(2) == (HEAD + b"b", COMPLETE)
    assert responder.most_at_once == 1


async def test_requests_of_one_connection_run_together() -> None:
    """With multiplexing the second is answered before the first."""
    first_may_end = anyio.Event()

    async def handler(request: Request) -> bytes:
        if request.request_id == 1:
            await first_may_end.wait()
        return await request.body()

    async with Responder(handler, multiplex=True) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.begin(1), request(2, body=b"b"), frames.params(1), frames.stdin(1, b"a"))
            await client.send(frames.stdin(1))
            assert await client.answer(2) == (HEAD + b"b", COMPLETE)
            first_may_end.set()
            assert await client.answer(1) == (HEAD + b"a", COMPLETE)
    assert len(responder.connections) == 1


async def test_more_requests_than_promised_are_rejected() -> None:
    """Beyond FCGI_MAX_REQS the answer is OVERLOADED; a place that is free again is given."""
    go_on = anyio.Event()

    async def handler(request: Request) -> bytes:
        await go_on.wait()
        return b""

    async with Responder(handler, multiplex=True, max_requests=1) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request(1), request(2))
            assert await client.answer(2) == (b"", OVERLOADED)
            go_on.set()
            assert await client.answer(1) == (HEAD, COMPLETE)
            await client.send(request(3))
            assert await client.answer(3) == (HEAD, COMPLETE)


async def test_abort() -> None:
    """ABORT_REQUEST sets the request's event, and the handler ends it; others on the connection go on."""

    async def handler(request: Request) -> None:
        if request.request_id == 1:
            await request.aborted.wait()
            await request.end(app_status=9)

    async with Responder(handler, multiplex=True) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request(1), request(2))
            assert await client.answer(2) == (HEAD, COMPLETE)
            await client.send(frames.abort(1))
            assert await client.answer(1) == (b"", bytes((0, 0, 0, 9, 0)))
    assert [seen.aborted.is_set() for seen in responder.requests] == [True, False]


async def test_abort_before_the_parameters_are_complete() -> None:
    """No handler sees the request; it is ended."""
    async with Responder(echo, multiplex=True) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.begin(1), frames.abort(1))
            assert await client.answer() == (b"", COMPLETE)
    assert responder.requests == []


async def test_authorizer() -> None:
    """It has parameters and no body."""
    async with Responder(echo) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.begin(1, role=2), frames.params(1, frames.pair(b"A", b"b")), frames.params(1))

            async def read() -> None:
                assert responder.requests[0].params == {"A": "b"}

            with anyio.fail_after(20):
                await responder.wait_for_requests(1)
            await read()


@pytest.mark.parametrize("multiplex", [False, True])
async def test_filter(multiplex: bool) -> None:
    """It has a body and a file."""

    async def handler(request: Request) -> bytes:
        return await request.body() + b"|" + await request.data()

    async with Responder(handler, multiplex=multiplex) as responder:
        client = await connected(responder.address)
        with client.sock:
            streams = [frames.params(1), frames.stdin(1, b"body"), frames.stdin(1), frames.data(1, b"file")]
            await client.send(frames.begin(1, role=3), *streams, frames.data(1))
            assert await client.answer() == (HEAD + b"body|file", COMPLETE)


@pytest.mark.parametrize("multiplex", [False, True])
async def test_connection_that_is_not_to_be_kept(multiplex: bool) -> None:
    """It is closed behind END_REQUEST."""
    async with Responder(echo, multiplex=multiplex) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request(flags=0))
            assert await client.answer() == (HEAD, COMPLETE)
            with pytest.raises(EOFError):
                await client.record()


async def test_kept_connection_holds_its_worker() -> None:
    """The only worker serves another client when the first has closed."""
    async with Responder(echo, workers=1) as responder:
        first = await connected(responder.address)
        second = await connected(responder.address)
        with second.sock:
            with first.sock:
                await first.send(request())
                await first.answer()
                await second.send(request())
                assert (len(responder.connections), responder.open_connections) == (1, 1)
            assert await second.answer() == (HEAD, COMPLETE)
    assert responder.most_connections == 1


@pytest.mark.parametrize("multiplex", [False, True])
async def test_client_that_breaks_the_protocol(multiplex: bool) -> None:
    """Its connection is closed, and says why."""
    async with Responder(echo, multiplex=multiplex) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(b"GET / HTTP/1.1\r\n\r\n")
            await eventually(lambda: responder.connections and not responder.connections[0].is_open)
        assert responder.connections[0].error is not None


@pytest.mark.parametrize("multiplex", [False, True])
async def test_client_that_leaves_in_its_body(multiplex: bool) -> None:
    """The handler's read ends it, without an error of the handler's; the responder serves others."""
    async with Responder(echo, multiplex=multiplex, workers=1) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(frames.begin(1), frames.params(1), frames.stdin(1, b"half"))
            await responder.wait_for_requests(1)
        other = await connected(responder.address)
        with other.sock:
            await other.send(request())
            assert await other.answer() == (HEAD, COMPLETE)
    assert responder.errors == []


@pytest.mark.parametrize("fault", [Close(), Close(after=20), Garbage(), Garbage(after=20), Stall(after=20)])
@pytest.mark.parametrize("multiplex", [False, True])
async def test_what_follows_a_fault_is_not_answered(multiplex: bool, fault: Interruption) -> None:
    """GET_VALUES and another request do not keep the connection from ending when the client has closed it."""
    async with Responder(echo, multiplex=multiplex, workers=1, fault={1: fault}) as responder:
        client = await connected(responder.address)
        with client.sock:
            await client.send(request(1))
            await client.receive(fault.after + (len(fault.data) if isinstance(fault, Garbage) else 0))
            if isinstance(fault, Close):
                with pytest.raises(EOFError):
                    await client.receive(1)
            await client.send(frames.get_values(*NAMES), request(2))
            client.sock.shutdown(socket.SHUT_WR)
            with anyio.fail_after(20), pytest.raises(EOFError):
                await client.receive(1)
            with anyio.fail_after(20):
                await eventually(lambda: responder.open_connections == 0)
        assert responder.errors == []
