"""Whatever a peer does ends in the right error with the right `may_have_run`, the ledger whole, the next job served."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack, suppress
from typing import Any

import anyio
import attrs
import pytest

from fcgi_async import (
    ConnectError,
    ConnectionLost,
    Dispatcher,
    Endpoint,
    FastCGIError,
    Job,
    JobFailed,
    Overloaded,
    QueueTimeout,
    RemoteProtocolError,
    Retry,
)
from fcgi_async.net.address import Address
from fcgi_async.testing import Answer, Close, Garbage, ProtocolStatus, Request, Reset, Responder, ServedConnection
from tests.dispatch.hostile.peer import Behaviour, Gone, HostilePeer, Wire
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo, ok
from tests.listening import listening
from tests.wire import frames

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

Script = Callable[[Request], Awaitable[Answer]]

NEXT = Job("/next.php")
BAD = Job("/bad.php", content=b"body")


def endpoint(address: str, **settings: Any) -> Endpoint:
    """One worker, whose slot is free as soon as its connection is closed."""
    return Endpoint(address, **({"max_children": 1, "linger": 0.0} | settings))


def bad(fault: Script) -> Script:
    """A script that does its worst for one job, and serves the others."""

    async def script(request: Request) -> None:
        await (fault(request) if request.script == "/bad.php" else ok(request))

    return script


async def fails(address: str, fault: Script, job: Job = BAD, *, kept: bool = True, **settings: Any) -> FastCGIError:
    """Run the job that goes wrong and return its error; see that the next one runs, on a kept and a new connection."""
    async with Responder(bad(fault), address, workers=2) as responder:
        async with Dispatcher(endpoint(responder.address, **settings), retry=Retry(attempts=1)) as php:
            if kept:
                await php.run(NEXT)
                await settled(php)
            with pytest.raises(FastCGIError) as caught:
                await php.run(job)
            assert slots(php.statistics()) <= 1
            assert (await php.run(NEXT)).text == "ok"
            now = await settled(php)
            assert (now.failed, now.completed) == (1, 1 + kept)
            assert sum(request.script == "/bad.php" for request in responder.requests) == 1
    assert caught.value.job is job
    assert caught.value.endpoint == responder.address
    return caught.value


# in the middle of a request


async def resets_before_reading(request: Request) -> None:
    """Dies at once."""
    await request.fault(Reset())


async def resets_after_reading(request: Request) -> None:
    """Dies when it has read the body."""
    await request.body()
    await request.fault(Reset())


async def resets_in_the_response(request: Request) -> None:
    """Dies when it has written a part."""
    await request.write_stdout(HEAD + b"part")
    await request.fault(Reset())


@pytest.mark.parametrize("where", ["unix", "tcp"])
@pytest.mark.parametrize("fault", [resets_before_reading, resets_after_reading, resets_in_the_response])
async def test_reset(address: str, where: str, fault: Script) -> None:
    """A worker that dies under its job resets the connection: the job may have run, and is not tried again."""
    error = await fails(address if where == "unix" else where, fault)
    assert type(error) is ConnectionLost
    assert error.may_have_run
    assert isinstance(error.__cause__, OSError)
    assert "PHP may have run it" in str(error)


@pytest.mark.parametrize("status", [1, 2])
async def test_rejected_for_a_while(address: str, status: int) -> None:
    """What the peer refused for the moment is tried again until it takes it; what it logged before is forgotten."""

    async def script(request: Request) -> None:
        await request.body()
        if len(responder.requests) < 4:
            await request.write_stderr(b"refused")
            await request.end(protocol_status=ProtocolStatus(status))
        else:
            await request.write_stdout(HEAD + b"done")

    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(BAD)
        assert (response.content, response.attempts, response.stderr) == (b"done", 4, b"")
        assert php.statistics().retried == 3


async def test_rejected_after_output(address: str) -> None:
    """What had begun to answer may have run: it is tried again only where it is idempotent, from its beginning."""

    async def script(request: Request) -> None:
        await request.body()
        if len(responder.requests) % 2:
            await request.write_stdout(b"X-Half: ")
            await request.end(protocol_status=ProtocolStatus.OVERLOADED)
        else:
            await request.write_stdout(HEAD + b"done")

    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(Job("/a.php", idempotent=True))
        assert (response.content, response.attempts) == (b"done", 2)
        assert list(response.headers) == ["content-type"]
        with pytest.raises(Overloaded) as caught:
            await php.run(BAD)
        assert caught.value.may_have_run
        assert len(responder.requests) == 3


async def test_app_status(address: str) -> None:
    """An app_status is the script's own business: a response, whose raise_for_status() raises."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"said")
        await request.end(app_status=4_000_000_000)

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        response = await php.run(BAD)
        assert (response.app_status, response.content, response.ok) == (4_000_000_000, b"said", False)
        with pytest.raises(JobFailed, match="app_status 4000000000"):
            response.raise_for_status()


# closed in good order, without a byte of response


@attrs.define(eq=False)
class LeavesAtFirst:
    """A worker that leaves as pm.max_requests makes it, having read all and run nothing; the next one serves."""

    times: int = 1
    seen: int = attrs.field(default=0, init=False)

    async def __call__(self, request: Request) -> None:
        self.seen += 1
        if self.seen <= self.times:
            await request.fault(Close())
        await echo(request)


@pytest.mark.usefixtures("known_as_fpm")
async def test_clean_end_on_a_unix_socket(address: str) -> None:
    """On a unix socket of FPM's own a clean EOF without a byte of response proves that nothing ran: it is resent."""
    script = LeavesAtFirst(1)
    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        response = await php.run(BAD)
        assert (response.content, response.attempts) == (b"body", 2)
        assert (php.statistics().retried, php.statistics().failed) == (1, 0)


@pytest.mark.usefixtures("known_as_fpm")
async def test_clean_end_is_trusted_once(address: str) -> None:
    """A second clean EOF of the same job is no proof any more: it fails, and says that it may have run."""
    script = LeavesAtFirst(5)
    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ConnectionLost) as caught:
            await php.run(BAD)
        assert caught.value.may_have_run
        assert script.seen == 2


async def test_clean_end_of_a_peer_that_is_not_known(address: str) -> None:
    """A peer that has not shown how it reads may be a relay, and the job may have run."""
    script = LeavesAtFirst(1)
    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(ConnectionLost) as caught:
            await php.run(BAD)
        assert caught.value.may_have_run
        assert script.seen == 1
        assert (await php.run(NEXT)).content == b""


async def test_clean_end_on_tcp() -> None:
    """Over TCP something in between may have turned a reset into an EOF: the job may have run."""
    script = LeavesAtFirst()
    async with Responder(script, "tcp") as responder, Dispatcher(endpoint(responder.address)) as php:
        with pytest.raises(ConnectionLost) as caught:
            await php.run(BAD)
        assert caught.value.may_have_run
        assert (await php.run(NEXT)).content == b""


async def test_worker_that_dies_under_a_large_body(address: str) -> None:
    """A worker that dies having read all that had come, while more is to come: not one sign of it, and yet it ran."""

    async def dies(wire: Wire, ids: Mapping[str, int]) -> None:
        with suppress(BlockingIOError):
            while wire.sock.recv(1 << 20):
                pass
        raise Gone

    async with HostilePeer(Behaviour(jobs=frozenset({"bad"}), at_params=dies), address):
        async with Dispatcher(endpoint(address)) as php:
            with pytest.raises(ConnectionLost) as caught:
                await php.run(Job("/bad.php", content=bytes(5_000_000)))
            assert type(caught.value) is ConnectionLost
            assert caught.value.may_have_run
            assert (await php.run(NEXT)).content == b"ok"


async def test_idempotent(address: str) -> None:
    """What may have run is tried again where running it twice does no harm, three times in all."""
    times = 2

    async def script(request: Request) -> None:
        body = await request.body()
        if len(responder.requests) <= times:
            await request.write_stdout(b"X-Half: ")
            await request.write_stderr(b"dying")
            await request.fault(Reset())
        await request.write_stdout(HEAD + body)

    job = Job("/a.php", content=b"body", idempotent=True)
    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(job)
        assert (response.content, response.attempts, response.stderr) == (b"body", 3, b"")
        assert list(response.headers) == ["content-type"]
        times = 100
        with pytest.raises(ConnectionLost) as caught:
            await php.run(job)
        assert caught.value.may_have_run
        assert len(responder.requests) == 6


async def test_idempotent_with_half_a_response(address: str) -> None:
    """A response of which the caller has seen nothing may be begun anew; one that is being streamed may not."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"half")
        await request.body()
        if len(responder.requests) % 2:
            await request.fault(Reset())

    job = Job("/a.php", idempotent=True)
    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(job)
        assert (response.content, response.attempts) == (b"half", 2)
        async with php.stream(job) as stream:
            with pytest.raises(ConnectionLost):
                await stream.aread()
        assert len(responder.requests) == 3


async def test_may_have_run_is_not_forgotten(address: str) -> None:
    """A job that may have run once, and then finds no worker in time, may have run."""
    first = anyio.Event()

    async def script(request: Request) -> None:
        await request.body()
        responder.stop_listening()
        first.set()
        await request.fault(Reset())

    async with Responder(script, address) as responder:
        async with Dispatcher(endpoint(address, reconnect_timeout=3600.0)) as php:
            handle = await php.submit(Job("/a.php", idempotent=True, timeout=0.3))
            await first.wait()
            with pytest.raises(QueueTimeout) as caught:
                await handle
            assert caught.value.may_have_run


# before a request


async def test_missing_socket(address: str) -> None:
    """A missing socket fails the job at once, and says where to look."""
    async with Dispatcher(endpoint(address)) as php:
        for _ in range(3):
            with pytest.raises(ConnectError, match=r"there is no such socket; compare with `listen`") as caught:
                await php.run(BAD)
            error = caught.value
            assert (error.job, error.endpoint, error.may_have_run) == (BAD, address, False)
            assert isinstance(error.__cause__, FileNotFoundError)
            assert slots(php.statistics()) == 0


async def test_refused(address: str) -> None:
    """So does a socket that nobody listens on."""
    listening(address).close()
    async with Dispatcher(endpoint(address)) as php:
        with pytest.raises(ConnectError, match="nothing listens there") as caught:
            await php.run(BAD)
        assert isinstance(caught.value.__cause__, ConnectionRefusedError)


async def test_permission(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """So does a socket that may not be opened; root may open any, so the kernel's answer is given for it."""

    def connect(self: socket.socket, place: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    monkeypatch.setattr(socket.socket, "connect", connect)
    async with Dispatcher(endpoint(address)) as php:
        with pytest.raises(ConnectError, match=r"`listen\.mode`"):
            await php.run(BAD)


async def test_every_waiting_job_is_told(address: str) -> None:
    """All jobs that wait for an endpoint that was never there fail together, each with an error of its own."""
    async with Dispatcher(endpoint(address)) as php:
        handles = [await php.submit(Job("/a.php", tag=n)) for n in range(5)]
        errors = []
        for handle in handles:
            with pytest.raises(ConnectError) as caught:
                await handle
            errors.append(caught.value)
        assert [error.job.tag for error in errors if error.job is not None] == [0, 1, 2, 3, 4]
        assert len(set(map(id, errors))) == 5


async def test_closed_before_any_answer(address: str) -> None:
    """A peer that takes connections and resets them does not want us: the message names listen.allowed_clients."""
    async with Responder(ok, address, values=Reset()) as responder, Dispatcher(endpoint(address)) as php:
        with anyio.fail_after(20), pytest.raises(ConnectError, match=r"`listen\.allowed_clients`") as caught:
            await php.run(BAD)
        assert not caught.value.may_have_run
        assert len(responder.connections) <= 5
        assert not responder.requests


async def test_http_server_on_the_port(address: str) -> None:
    """An answer to the head probe that is no FastCGI fails the job at once, and does not begin an endless loop."""

    async with Responder(ok, address, values=Garbage()) as responder, Dispatcher(endpoint(address)) as php:
        with anyio.fail_after(20), pytest.raises(ConnectError, match="does not speak FastCGI") as caught:
            await php.run(BAD)
        assert isinstance(caught.value.__cause__, RemoteProtocolError)
        assert len(responder.connections) <= 5


async def test_one_connection_waits_at_a_time(address: str) -> None:
    """However many jobs there are, one connection at a time waits for its answer: a burst strands pm = ondemand."""
    waiting, go_on = [0], anyio.Event()
    most = [0]

    async def values(connection: ServedConnection) -> None:
        if connection.number not in greeted:
            waiting[0] += 1
            most[0] = max(most[0], waiting[0])
            await go_on.wait()
            await anyio.lowlevel.checkpoint()
            waiting[0] -= 1
            greeted.add(connection.number)

    greeted: set[int] = set()
    held = Held()
    async with Responder(held, address, values=values) as responder:
        async with Dispatcher(endpoint(address, max_children=4)) as php:
            handles = [await php.submit(NEXT) for _ in range(8)]
            await eventually(lambda: waiting[0])
            await anyio.wait_all_tasks_blocked()
            assert (len(responder.connections), php.statistics().connecting) == (1, 1)
            go_on.set()
            await eventually(lambda: len(held.running) == 4)
            assert most == [1]
            held.release()
            for handle in handles:
                await handle


async def test_endpoint_that_comes_back(address: str) -> None:
    """An endpoint that has answered before may be away: its jobs wait, and run when it is there again."""
    async with Dispatcher(endpoint(address)) as php:
        async with Responder(ok, address):
            await php.run(NEXT)
        handle = await php.submit(NEXT)
        with pytest.raises(QueueTimeout):
            await php.run(Job("/a.php", timeout=0.05))
        assert not handle.done()
        async with Responder(ok, address):
            assert (await handle).text == "ok"
            await settled(php)


async def test_endpoint_that_does_not_come_back(address: str) -> None:
    """After reconnect_timeout the jobs that wait for it fail."""
    async with Dispatcher(endpoint(address, reconnect_timeout=0.1)) as php:
        async with Responder(ok, address):
            await php.run(NEXT)
        with anyio.fail_after(20), pytest.raises(ConnectError, match="there is no such socket"):
            await php.run(BAD)


async def test_full_backlog_is_waited_for(address: str) -> None:
    """A backlog that is full is no error: the job waits in the queue, and runs when there is room."""
    with ExitStack() as stack:
        listener = stack.enter_context(listening(address, 1))
        with suppress(BlockingIOError):
            while True:
                other = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                other.connect(Address.parse(address).path)
        async with Dispatcher(endpoint(address)) as php:
            with pytest.raises(QueueTimeout):
                await php.run(Job("/a.php", timeout=0.05))
            assert php.statistics().connecting == 1
            handle = await php.submit(NEXT)
            # the others go, and a responder takes the socket over
            stack.pop_all().close()
            assert listener.fileno() == -1
            os.unlink(Address.parse(address).path)
            async with Responder(ok, address):
                with suppress(ConnectError):
                    await handle
                assert (await php.run(NEXT)).text == "ok"


# between requests


async def test_kept_connection_that_was_closed(address: str) -> None:
    """A kept connection that the peer closed is noticed at once, and costs no job anything."""
    async with Responder(ok, address) as responder, Dispatcher(endpoint(address)) as php:
        for n in range(5):
            await php.run(NEXT)
            await settled(php)
            responder.reload()
            await eventually(lambda: php.statistics().idle == 0)
            assert len(responder.connections) == n + 1
        assert php.statistics().retried == 0


@pytest.mark.usefixtures("known_as_fpm")
async def test_job_that_meets_a_closing_connection(address: str) -> None:
    """A job that is written at the very moment at which the worker leaves is tried again, and runs once."""
    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        for n in range(20):
            await php.run(NEXT)
            await settled(php)
            responder.reload()
            # before this end has noticed
            assert (await php.run(Job("/a.php", content=str(n)))).text == str(n)
        assert len(responder.requests) == 40
        assert (php.statistics().retried, php.statistics().failed) == (20, 0)


async def test_bytes_on_an_idle_connection(address: str) -> None:
    """A kept connection that says something unasked is closed; no job sees it."""
    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        await php.run(NEXT)
        await settled(php)
        await responder.requests[0].send_raw(frames.stdout(1, b"SECRET"))
        await eventually(lambda: php.statistics().idle == 0)
        assert (await php.run(BAD)).content == b"body"
        assert len(responder.connections) == 2


async def test_worker_that_dies_after_its_response(address: str) -> None:
    """What happens to the worker behind END_REQUEST is no longer the job's concern."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"done")
        await request.end()
        await request.fault(Reset())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        for _ in range(3):
            assert (await php.run(BAD)).content == b"done"
        assert (await settled(php)).failed == 0


@pytest.mark.parametrize("size", range(0, 68, 4))
async def test_cut_anywhere(address: str, size: int) -> None:
    """A worker that dies after any number of bytes: an error or a whole response, and it tells whether it ran."""
    ran: list[bytes] = []

    async def script(request: Request) -> None:
        ran.append(await request.body())
        await request.write_stdout(HEAD + ran[-1])

    async with Responder(script, address, fault=Reset(after=size)):
        async with Dispatcher(endpoint(address), retry=Retry(attempts=2)) as php:
            with anyio.fail_after(20):
                try:
                    assert (await php.run(BAD)).content == b"body"
                except FastCGIError as error:
                    assert isinstance(error, ConnectError | ConnectionLost | RemoteProtocolError)
                    assert error.may_have_run or not ran
            assert len(ran) <= 1
            await settled(php)


@pytest.mark.parametrize("times", [1, 3])
async def test_reload(address: str, times: int) -> None:
    """Workers that are replaced between two requests cost nothing, however often."""

    async def script(request: Request) -> None:
        await echo(request)
        await request.end()
        if len(responder.requests) % times == 0:
            await request.fault(Close())

    async with Responder(script, address) as responder, Dispatcher(endpoint(address, max_children=3)) as php:
        jobs = [Job("/a.php", content=str(n)) for n in range(60)]
        assert [response.text for response in await php.run_all(jobs)] == [str(n) for n in range(60)]
        assert len(responder.requests) == 60


async def test_old_php_over_tcp() -> None:
    """PHP before 8.2.13, which closes behind GET_VALUES, is served over TCP as well."""
    async with Responder(echo, "tcp", closes_after_values=True) as responder:
        async with Dispatcher(endpoint(responder.address, max_children=2)) as php:
            jobs = [Job("/a.php", content=str(n)) for n in range(10)]
            assert [response.text for response in await php.run_all(jobs)] == list("0123456789")


async def test_log_of_an_endpoint_that_is_not_there(address: str, caplog: pytest.LogCaptureFixture) -> None:
    """Where one of two endpoints is missing, the log says which and why, once, and its jobs go to the other."""
    endpoints = [endpoint(address + ".missing"), endpoint(address)]
    held = Held()
    async with Responder(held, address), Dispatcher(endpoints) as php:
        handles = [await php.submit(NEXT) for _ in range(3)]
        await eventually(lambda: held.running and caplog.records)
        held.release()
        for handle in handles:
            await handle
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"cannot reach PHP-FPM at {address}.missing: there is no such socket" in record.getMessage()
