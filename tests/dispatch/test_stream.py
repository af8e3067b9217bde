"""A response that is read while the script writes it."""

from __future__ import annotations

from typing import Any

import anyio
import pytest

from fcgi_async import (
    ConnectionLost,
    Dispatcher,
    Endpoint,
    FastCGIError,
    Job,
    JobCancelled,
    JobTimeout,
    QueueTimeout,
    RemoteProtocolError,
    StreamBusy,
)
from fcgi_async.testing import Request, Reset, Responder, Stall
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

JOB = Job("/a.php")


def endpoint(address: str, **settings: Any) -> Endpoint:
    """One worker, whose slot is free as soon as its connection is closed."""
    return Endpoint(address, max_children=1, linger=0.0, **settings)


async def test_stream(address: str) -> None:
    """The head is there on entering, then the body in parts as the script flushes them, then what it logged."""
    flushed = anyio.Event()

    async def script(request: Request) -> None:
        await request.write_stdout(b"Status: 202 Accepted\r\nX-A: 1\r\n")
        await request.write_stdout(b"\r\n")
        await flushed.wait()
        for part in (b"one", b"two"):
            await request.write_stdout(part)
            await request.write_stderr(part)

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(JOB) as response:
            assert (response.status, response.headers["x-a"]) == (202, "1")
            assert response.stderr == b""
            before = response.timing
            flushed.set()
            assert b"".join([part async for part in response]) == b"onetwo"
            assert response.stderr == b"onetwo"
            assert response.timing.total >= before.total
            assert response.timing.queued == before.queued
        now = await settled(php)
        assert (now.completed, now.cancelled, now.idle) == (1, 0, 1)


async def test_what_has_come_so_far(address: str) -> None:
    """It can be had without waiting, and whether it is all."""
    flushed = anyio.Event()

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"one")
        await flushed.wait()
        await request.write_stdout(b"two")
        await request.write_stdout(b"three")

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(JOB) as response:
            assert (response.read_available(), response.ended) == (b"one", False)
            assert (response.read_available(), response.ended) == (b"", False)
            flushed.set()
            await eventually(lambda: response.ended)
            assert response.read_available() == b"twothree"
            assert await response.aread() == b""


@pytest.mark.parametrize("on_cancel", ["drain", "close"])
async def test_cancelling_does_what_the_endpoint_says(address: str, on_cancel: str) -> None:
    """Its reader gets JobCancelled, and the script is drained, not only for the 20 ms of a stream that is left."""
    over = anyio.Event()

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"one")
        await over.wait()

    async with Responder(script, address), Dispatcher(endpoint(address, on_cancel=on_cancel)) as php:
        manager = php.stream(JOB)
        manager.cancel()
        async with manager as response:
            assert await response.__anext__() == b"one"
            manager.cancel()
            with pytest.raises(JobCancelled):
                await response.__anext__()
            assert php.statistics().draining == (on_cancel == "drain")
        over.set()
        await settled(php)


async def test_each_part_as_it_comes(address: str) -> None:
    """A part is delivered when it is there, not when the next one or the end is."""
    turn: list[anyio.Event] = [anyio.Event() for _ in range(3)]

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        for n, event in enumerate(turn):
            await event.wait()
            await request.write_stdout(str(n).encode())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        for n, event in enumerate(turn):
            event.set()
            assert await response.__anext__() == str(n).encode()
        with pytest.raises(StopAsyncIteration):
            await response.__anext__()


async def test_aread(address: str) -> None:
    """aread() returns what is left; at the end there is nothing."""
    async with Responder(echo, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(Job("/a.php", content=b"x" * 200_000)) as response:
            first = await response.__anext__()
            assert first + await response.aread() == b"x" * 200_000
            assert await response.aread() == b""


@pytest.mark.parametrize(
    ("body", "lines"),
    [
        (b"", []),
        (b"one", ["one"]),
        (b"one\ntwo\n", ["one", "two"]),
        (b"one\r\n\r\ntwo", ["one", "", "two"]),
        (b"\n\n", ["", ""]),
        ("é\nü".encode(), ["é", "ü"]),
        (b"a\xffb\n\xc3", ["a\ufffdb", "\ufffd"]),
        (b"a\rb\x0bc\xe2\x80\xa8d\n", ["a\rb\x0bc\u2028d"]),
    ],
)
@pytest.mark.parametrize("piece", [None, 1])
async def test_lines(address: str, body: bytes, lines: list[str], piece: int | None) -> None:
    """Lines end at line feeds alone, however they are cut on their way; the last need not have one."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        size = piece or len(body)
        for start in range(0, len(body), size or 1):
            await request.write_stdout(body[start : start + size])

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        assert [line async for line in response.aiter_lines()] == lines


async def test_lines_as_they_come(address: str) -> None:
    """A line is delivered when its end is there."""
    turn: list[anyio.Event] = [anyio.Event() for _ in range(3)]

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        for n, event in enumerate(turn):
            await event.wait()
            await request.write_stdout(f"{n}\nhalf ".encode())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        lines = response.aiter_lines()
        turn[0].set()
        assert await lines.__anext__() == "0"
        turn[1].set()
        assert await lines.__anext__() == "half 1"
        turn[2].set()
        assert [line async for line in lines] == ["half 2", "half "]


async def test_slow_reader_holds_up_the_script(address: str) -> None:
    """A script that writes faster than it is read waits in its worker, and memory stays flat."""
    written: list[int] = [0]
    total = 40 * 1024 * 1024

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        while written[0] < total:
            await request.write_stdout(bytes(1 << 16))
            written[0] += 1 << 16

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        last = -1
        while last != written[0]:
            last = written[0]
            await anyio.wait_all_tasks_blocked()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        assert written[0] < 10 * 1024 * 1024
        read = 0
        async for part in response:
            read += len(part)
        assert read == total


async def test_reader_that_is_behind_holds_up_nobody_else(address: str) -> None:
    """Once a response is complete its reader may take its time: the worker serves the next job meanwhile."""
    size = 1024 * 1024
    async with Responder(echo, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(Job("/a.php", content=bytes(size))) as response:
            # read until what is left is not enough to hold the peer up, then no more
            read = 0
            while read < size - 64 * 1024:
                read += len(await response.__anext__())
            await eventually(lambda: php.statistics().completed == 1)
            with anyio.fail_after(10):
                assert (await php.run(Job("/b.php", content=b"next"))).content == b"next"
            assert read + len(await response.aread()) == size


async def test_leaving_early(address: str) -> None:
    """Leaving before the end closes the connection at once; the worker's slot lingers, and the next job runs."""
    gone: list[bool] = []

    async def script(request: Request) -> None:
        if request.script == "/next.php":
            await request.write_stdout(HEAD + b"next")
            return
        await request.write_stdout(HEAD + b"first part")
        try:
            await request.fault(Stall())
        finally:
            gone.append(True)

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(JOB) as response:
            assert await response.__anext__() == b"first part"
        await eventually(lambda: gone)
        assert (await php.run(Job("/next.php"))).content == b"next"
        now = await settled(php)
        assert (now.cancelled, now.completed, now.failed) == (1, 1, 0)


async def test_reading_after_leaving(address: str) -> None:
    """A response that was left has no more to give, and says so."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"part")
        await request.fault(Stall())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(JOB) as response:
            pass
        with anyio.fail_after(10), pytest.raises(JobCancelled, match="left before its end"):
            await response.aread()


async def test_exception_in_the_block(address: str) -> None:
    """An exception leaves the stream, and goes on as it is."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"part")
        await request.fault(Stall())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(LookupError, match="mine"):
            async with php.stream(JOB):
                raise LookupError("mine")
        await settled(php)


async def test_cancelled_while_entering(address: str) -> None:
    """Cancelling before the head is there takes the job back: queued it never runs, running it is closed."""
    held = Held()
    async with Responder(held, address) as responder, Dispatcher(endpoint(address)) as php:

        async def enter() -> None:
            async with php.stream(JOB):
                pass

        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(enter)
            await eventually(lambda: held.running and php.statistics().queued == 1)
            tasks.cancel_scope.cancel()
        held.release()
        await settled(php)
        assert len(responder.requests) == 1
        assert php.statistics().cancelled == 2


async def test_cancelled_read_loses_nothing(address: str) -> None:
    """Cancelling a read leaves the next part for the next read."""
    flushed = anyio.Event()

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        await flushed.wait()
        await request.write_stdout(b"part")

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response.__anext__)
            await anyio.wait_all_tasks_blocked()
            tasks.cancel_scope.cancel()
        flushed.set()
        assert await response.aread() == b"part"


async def test_two_readers(address: str) -> None:
    """A stream has one reader at a time; a second one is refused, not left to wait for ever."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        await request.fault(Stall())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(response.__anext__)
            await anyio.wait_all_tasks_blocked()
            with anyio.fail_after(10), pytest.raises(StreamBusy) as caught:
                await response.__anext__()
            assert isinstance(caught.value, FastCGIError)
            assert isinstance(caught.value, anyio.BusyResourceError)
            assert str(caught.value) == "another task is reading this response; let one task read it"
            tasks.cancel_scope.cancel()


async def test_failure_behind_what_came(address: str) -> None:
    """A worker that dies in the middle fails the read behind all that had come before."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"first part")
        await request.body()
        await request.fault(Reset())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php, php.stream(JOB) as response:
        assert await response.__anext__() == b"first part"
        for _ in range(2):
            with pytest.raises(ConnectionLost) as caught:
                await response.__anext__()
        assert (caught.value.job, caught.value.endpoint, caught.value.may_have_run) == (JOB, address, True)


async def test_deadline_fails_the_next_read(address: str) -> None:
    """The job's deadline ends a stream: the connection is closed at once, and the next read says why."""
    gone: list[bool] = []

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD + b"part")
        try:
            await request.fault(Stall())
        finally:
            gone.append(True)

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        async with php.stream(JOB, timeout=0.1) as response:
            assert await response.__anext__() == b"part"
            await eventually(lambda: gone)
            with pytest.raises(JobTimeout) as caught:
                await response.__anext__()
            assert caught.value.may_have_run


async def test_deadline_before_the_head(address: str) -> None:
    """A stream that no worker takes in time is a QueueTimeout on entering; one without a head in time a JobTimeout."""
    held = Held()
    async with Responder(held, address), Dispatcher(endpoint(address)) as php:
        running = await php.submit(JOB)
        await eventually(lambda: held.running)
        with pytest.raises(QueueTimeout):
            async with php.stream(JOB, timeout=0.01):
                pass
        running.cancel()
        held.release()
    held = Held()
    async with Responder(held, address + "2"), Dispatcher(endpoint(address + "2")) as php:
        with pytest.raises(JobTimeout):
            async with php.stream(Job("/a.php", run_timeout=0.05)):
                pass


async def test_head_that_never_ends(address: str) -> None:
    """A response that ends before its head does is no response."""

    async def script(request: Request) -> None:
        await request.write_stdout(b"X-A: 1\r\n")

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(RemoteProtocolError, match="ended before its head was complete"):
            async with php.stream(JOB):
                pass
        await settled(php)
