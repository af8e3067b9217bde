"""Bodies that come in parts: nothing is sent before the first one, and no part is lost or doubled."""

from __future__ import annotations

import asyncio
import types
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import anyio
import attrs
import pytest

from fcgi_async import (
    ConnectionLost,
    Dispatcher,
    Endpoint,
    FastCGIError,
    Job,
    JobCancelled,
    JobError,
    JobTimeout,
    Overloaded,
    QueueTimeout,
)
from fcgi_async.dispatch.upload import Upload
from fcgi_async.job.body import BodyStream
from fcgi_async.net.backend import Backend, TaskHandle
from fcgi_async.net.current import current_backend
from fcgi_async.pool.attempt import JobSlot
from fcgi_async.testing import ProtocolStatus, Request, Reset, Responder
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.handlers import HEAD, Held, echo, ok

pytestmark = pytest.mark.every_loop
on_every_loop = pytest.mark.anyio


def endpoint(address: str, max_children: int = 1) -> Endpoint:
    """Workers whose slots are free as soon as their connections are closed."""
    return Endpoint(address, max_children=max_children, linger=0.0)


async def parts_of(*parts: bytes) -> AsyncIterator[bytes]:
    """A body in parts."""
    for part in parts:
        await anyio.lowlevel.checkpoint()
        yield part


def uploaded(*parts: bytes, **options: Any) -> Job:
    """A job with a body in parts."""
    return Job("/a.php", content=parts_of(*parts), content_length=len(b"".join(parts)), **options)


@on_every_loop
@pytest.mark.parametrize(
    "parts", [(), (b"",), (b"0",), (b"", b"a", b"", b"b", b""), (b"x" * 200_000,), (b"y" * 1000,) * 300]
)
async def test_upload(address: str, parts: tuple[bytes, ...]) -> None:
    """However the body is cut, the script reads it whole, and the worker is free afterwards."""
    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(uploaded(*parts))
        assert response.content == b"".join(parts)
        assert responder.requests[0].params["CONTENT_LENGTH"] == str(len(response.content))
        assert (await settled(php)).idle == 1
        assert (await php.run(uploaded(b"next"))).content == b"next"
        assert len(responder.connections) == 1


@on_every_loop
async def test_both_ways_at_once(address: str) -> None:
    """The response is read while the body is written: 10 MB against 10 MB do not wait for each other."""

    async def script(request: Request) -> None:
        await request.write_stdout(HEAD)
        while part := await request.read_part():
            await request.write_stdout(part)

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        response = await php.run(uploaded(*[bytes([n]) * 1_000_000 for n in range(10)]))
        assert response.content == b"".join(bytes([n]) * 1_000_000 for n in range(10))


@on_every_loop
async def test_files_are_streamed(address: str, tmp_path: Path) -> None:
    """A file given by path goes out in parts."""
    path = tmp_path / "file"
    path.write_bytes(bytes(1_000_000))
    async with Responder(echo, address), Dispatcher(endpoint(address)) as php:
        response = await php.run(Job("/a.php", files={"f": ("name", path, "a/b")}))
        assert bytes(1_000_000) in response.content


@on_every_loop
async def test_slow_peer_holds_up_the_iterable(address: str) -> None:
    """Parts are asked for only as fast as the socket takes them."""
    asked: list[int] = []
    read_on = anyio.Event()

    async def parts() -> AsyncIterator[bytes]:
        for n in range(200):
            asked.append(n)
            yield bytes(100_000)

    async def script(request: Request) -> None:
        await read_on.wait()
        await request.write_stdout(HEAD + str(len(await request.body())).encode())

    async with Responder(script, address), Dispatcher(endpoint(address)) as php:
        handle = await php.submit(Job("/a.php", content=parts(), content_length=20_000_000))
        last = -1
        while last != len(asked):
            last = len(asked)
            await anyio.wait_all_tasks_blocked()
            for _ in range(20):
                await anyio.lowlevel.checkpoint()
        assert len(asked) < 50
        read_on.set()
        assert (await handle).text == "20000000"


@on_every_loop
async def test_nothing_is_sent_before_the_first_part(address: str) -> None:
    """A job that is cancelled before its body begins has certainly not run; its worker serves the next one."""
    began: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        began.append(True)
        await anyio.sleep_forever()
        yield b"never"

    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        handle = await php.submit(Job("/a.php", content=parts(), content_length=5))
        await eventually(lambda: began)
        assert handle.cancel()
        error = handle.exception()
        assert isinstance(error, JobCancelled)
        assert (error.may_have_run, error.body_truncated) == (False, False)
        assert (await php.run(Job("/b.php", content=b"next"))).content == b"next"
        assert len(responder.requests) == 1
        assert len(responder.connections) == 1


@on_every_loop
async def test_deadline_before_the_first_part(address: str) -> None:
    """So has one whose deadline passes before."""

    async def parts() -> AsyncIterator[bytes]:
        await anyio.sleep_forever()
        yield b"never"

    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        with pytest.raises(JobTimeout) as caught:
            await php.run(Job("/a.php", content=parts(), content_length=5), timeout=0.05)
        assert not caught.value.may_have_run
        await settled(php)
        assert not responder.requests


@on_every_loop
@pytest.mark.parametrize("how", ["cancel", "deadline"])
async def test_ended_in_the_middle(address: str, how: str) -> None:
    """A body that is ended in the middle closes the connection, and the error says that PHP may have seen the
    beginning.
    """
    closed: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        run_timeout = None if how == "cancel" else 0.05
        handle = await php.submit(Job("/a.php", content=parts(), content_length=50, run_timeout=run_timeout))
        await eventually(lambda: responder.requests)
        if how == "cancel":
            handle.cancel()
        with pytest.raises(JobCancelled if how == "cancel" else JobTimeout) as caught:
            await handle
        assert (caught.value.may_have_run, caught.value.body_truncated) == (True, True)
        assert "with a truncated body" in str(caught.value)
        await eventually(lambda: closed and responder.open_connections == 0)
        assert (await php.run(Job("/b.php", content=b"next"))).content == b"next"


@on_every_loop
@pytest.mark.parametrize(
    ("parts", "length", "may_have_run", "message"),
    [
        ((b"12345", b"6"), 5, True, "content_length is 5, but the iterable gave at least 6 bytes"),
        ((b"123456",), 5, False, "content_length is 5, but the iterable gave at least 6 bytes"),
        ((b"1234",), 5, True, "content_length is 5, but the iterable gave only 4 bytes"),
        ((), 5, False, "content_length is 5, but the iterable gave only 0 bytes"),
        ((b"1",), 0, False, "content_length is 0, but the iterable gave at least 1 bytes"),
    ],
)
async def test_another_length(
    address: str, parts: tuple[bytes, ...], length: int, may_have_run: bool, message: str
) -> None:
    """A body that does not keep to its length fails the job; before anything is sent where that can be told."""
    async with Responder(echo, address) as responder, Dispatcher(endpoint(address)) as php:
        with pytest.raises(JobError, match=message) as caught:
            await php.run(Job("/a.php", content=parts_of(*parts), content_length=length))
        assert (caught.value.may_have_run, caught.value.body_truncated) == (may_have_run, may_have_run)
        await eventually(lambda: not responder.running)
        assert (await php.run(Job("/b.php", content=b"next"))).content == b"next"


@on_every_loop
@pytest.mark.parametrize("when", ["before", "between"])
async def test_iterable_that_fails(address: str, when: str) -> None:
    """What the iterable raises is the cause of the job's error."""

    async def parts() -> AsyncIterator[bytes]:
        if when == "between":
            yield b"first"
        raise LookupError("mine")

    async with Responder(echo, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(JobError, match="the job's body failed after") as caught:
            await php.run(Job("/a.php", content=parts(), content_length=50, idempotent=True))
        assert isinstance(caught.value.__cause__, LookupError)
        assert caught.value.may_have_run is (when == "between")
        assert (await php.run(Job("/b.php", content=b"next"))).content == b"next"


@on_every_loop
async def test_iterable_of_something_else(address: str) -> None:
    """Parts are bytes."""

    async def parts() -> AsyncIterator[Any]:
        yield "text"

    async with Responder(echo, address), Dispatcher(endpoint(address)) as php:
        with pytest.raises(JobError, match="the iterable gave str, but must give bytes"):
            await php.run(Job("/a.php", content=parts(), content_length=4))


@on_every_loop
async def test_answer_before_the_body_is_through(address: str) -> None:
    """A script that answers early ends the upload: the caller has its answer, the connection is closed, the
    iterable too.
    """
    closed: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            yield b"first"
            await anyio.sleep_forever()
        finally:
            closed.append(True)

    async def early(request: Request) -> None:
        await request.write_stdout(HEAD + b"enough")
        await request.end()

    async with Responder(early, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(Job("/a.php", content=parts(), content_length=50))
        assert response.content == b"enough"
        await eventually(lambda: closed and responder.open_connections == 0)
        assert (await php.run(Job("/b.php"))).content == b"enough"


@on_every_loop
async def test_worker_that_leaves_while_the_first_part_is_awaited(address: str) -> None:
    """A worker that goes before anything was sent is replaced, and the parts taken so far are not lost."""
    asked, go_on = anyio.Event(), anyio.Event()
    closed: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        try:
            asked.set()
            await go_on.wait()
            yield b"one"
            yield b"two"
        finally:
            closed.append(True)

    # two connections are up and idle; the one that the job gets is closed under it
    async with Responder(echo, address) as responder, Dispatcher(endpoint(address, 2)) as php:
        await php.run_all([Job("/w.php", content=b"x")] * 8)
        await settled(php)
        handle = await php.submit(Job("/a.php", content=parts(), content_length=6))
        await asked.wait()
        open_before = php.statistics()
        assert open_before.busy == 1
        responder.reload()
        await eventually(lambda: responder.open_connections == 0)
        go_on.set()
        assert (await handle).content == b"onetwo"
        await eventually(lambda: closed)
        assert handle.result().attempts == 1
        await settled(php)


@on_every_loop
@pytest.mark.parametrize("replayable", [True, False])
async def test_refused_in_the_middle(address: str, tmp_path: Path, replayable: bool) -> None:
    """OVERLOADED in the middle of a body: what can be sent again is, what cannot is an error, not half a body."""
    path = tmp_path / "file"
    path.write_bytes(b"f" * 600_000)

    async def script(request: Request) -> None:
        if len(responder.requests) == 1:
            await request.read_part()
            await request.end(protocol_status=ProtocolStatus.OVERLOADED)
            # reads no more, so that the body stays in the middle
            await anyio.sleep_forever()
        await echo(request)

    async def parts() -> AsyncIterator[bytes]:
        for _ in range(60):
            yield b"f" * 10_000

    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        if replayable:
            response = await php.run(Job("/a.php", files={"f": ("n", path, "a/b")}))
            assert b"f" * 600_000 in response.content
            assert response.attempts == 2
        else:
            with pytest.raises(Overloaded):
                await php.run(Job("/a.php", content=parts(), content_length=600_000))
        assert (await php.run(Job("/b.php", content=b"next"))).content == b"next"
        await settled(php)


@on_every_loop
async def test_idempotent_iterable_is_not_sent_twice(address: str) -> None:
    """An iterable gives its parts once: a job that lost its worker in the middle cannot be tried again."""

    async def script(request: Request) -> None:
        await request.body()
        await request.fault(Reset())

    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        with pytest.raises(ConnectionLost) as caught:
            await php.run(uploaded(b"part", idempotent=True))
        assert caught.value.may_have_run
        assert len(responder.requests) == 1


@on_every_loop
async def test_replayable_body_is_sent_again(address: str, tmp_path: Path) -> None:
    """A file can be read again: an idempotent job that lost its worker is tried again with its whole body."""
    path = tmp_path / "file"
    path.write_bytes(b"f" * 300_000)

    async def script(request: Request) -> None:
        body = await request.body()
        if len(responder.requests) < 3:
            await request.fault(Reset())
        await request.write_stdout(HEAD + body)

    async with Responder(script, address) as responder, Dispatcher(endpoint(address)) as php:
        response = await php.run(Job("/a.php", files={"f": ("n", path, "a/b")}, idempotent=True))
        assert b"f" * 300_000 in response.content
        assert response.attempts == 3


@on_every_loop
async def test_iterable_of_a_job_that_never_runs(address: str) -> None:
    """An iterable that was never begun is left alone."""
    held = Held()
    began: list[bool] = []

    async def parts() -> AsyncIterator[bytes]:
        began.append(True)
        yield b"x"

    async with Responder(held, address), Dispatcher(endpoint(address)) as php:
        await php.submit(Job("/a.php"))
        await eventually(lambda: held.running)
        body = parts()
        with pytest.raises(QueueTimeout):
            await php.run(Job("/b.php", content=body, content_length=1), timeout=0.01)
        assert not began
        held.release()
        await php.join()
        # it can still be used
        assert (await php.run(Job("/c.php", content=body, content_length=1))).text == "/c.php"
        assert began


@on_every_loop
async def test_many_uploads(address: str) -> None:
    """Uploads share workers as other jobs do."""
    async with Responder(ok, address) as responder, Dispatcher(endpoint(address, 3)) as php:
        await php.run_all([uploaded(b"a" * 1000, b"b" * 1000) for _ in range(50)])
        assert responder.most_at_once <= 3
        assert (await settled(php)).completed == 50


# a backend whose tasks run their first step before spawn() has returned them


@attrs.define(eq=False)
class EagerTask:
    """What has begun already."""

    task: TaskHandle | None = None
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True

    async def join(self) -> None:
        if self.task is not None:
            await self.task.join()


@types.coroutine
def again(first: Any) -> Generator[Any, Any, Any]:
    """Wait for what a first step has waited for."""
    return (yield first)


@attrs.define(eq=False)
class EagerBackend:
    """The running loop's, as far as an upload needs one."""

    backend: Backend
    handles: list[EagerTask] = attrs.field(factory=list, init=False)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> EagerTask:
        handle = EagerTask()
        self.handles.append(handle)
        coroutine: Any = function()
        try:
            first = coroutine.send(None)
        except StopIteration:
            return handle

        async def rest() -> None:
            waited_for, told = first, False
            # until it has ended, as a task of the loop's would be driven
            with suppress(StopIteration, asyncio.CancelledError):
                while True:
                    if handle.cancelled and not told:
                        told = True
                        waited_for = coroutine.throw(asyncio.CancelledError())
                    else:
                        waited_for = coroutine.send(await again(waited_for))

        handle.task = self.backend.spawn(rest)
        return handle


@attrs.define(eq=False)
class Written:
    """What of a body was written to a connection."""

    parts: list[bytes] = attrs.field(factory=list, init=False)
    ended: bool = attrs.field(default=False, init=False)
    on_part: Callable[[int], None]

    async def send(self, data: bytes) -> bool:
        self.parts.append(data)
        self.on_part(len(self.parts))
        return True

    def end_body(self) -> None:
        self.ended = True


@attrs.define(eq=False)
class Writer:
    """A connection, and the job whose body is written to it."""

    bodies: Written = attrs.field(init=False)
    error: FastCGIError | None = attrs.field(default=None, init=False)
    refused: int = attrs.field(default=0, init=False)
    stop_at: int | None = None
    refuses: bool = False
    upload: Upload | None = None

    def __attrs_post_init__(self) -> None:
        self.bodies = Written(self.stop_where_told)

    @property
    def written(self) -> list[bytes]:
        return self.bodies.parts

    @property
    def ended(self) -> bool:
        return self.bodies.ended

    def sends(self, body: BodyStream) -> Upload:
        """Return the upload of a body."""
        self.upload = Upload(body, self.begin, self.count, self.fail)
        return self.upload

    def begin(self) -> JobSlot | None:
        return None if self.refuses else cast(JobSlot, self.bodies)

    def count(self) -> None:
        self.refused += 1

    def fail(self, error: FastCGIError) -> None:
        self.error = error
        assert self.upload is not None
        self.upload.stop()

    def stop_where_told(self, parts: int) -> None:
        if parts == self.stop_at:
            assert self.upload is not None
            self.upload.stop()


async def at_hand(*parts: bytes) -> AsyncIterator[bytes]:
    """A body that waits for nothing."""
    for part in parts:
        yield part


async def pausing(*parts: bytes) -> AsyncIterator[bytes]:
    """A body that waits before its second part, and each one after."""
    for number, part in enumerate(parts):
        if number:
            await asyncio.sleep(0)
        yield part


@pytest.mark.asyncio
@pytest.mark.parametrize("body", [at_hand, pausing])
async def test_upload_of_an_eager_task(body: Callable[..., AsyncIterator[bytes]]) -> None:
    """A body is sent whole though its first part goes before the task is known."""
    backend = current_backend()
    await backend.open()
    writer = Writer()
    upload = writer.sends(BodyStream(6, lambda: body(b"ab", b"cd", b"ef"), replayable=True))
    upload.start(cast(Backend, EagerBackend(backend)))
    await eventually(lambda: writer.ended)
    assert writer.written == [b"ab", b"cd", b"ef"]
    assert not upload.running
    await backend.aclose()


@pytest.mark.asyncio
async def test_upload_that_is_stopped_in_an_eager_first_step() -> None:
    """Nothing more is sent, and the iterator is not closed under the task that reads it."""
    backend = current_backend()
    await backend.open()
    eager = EagerBackend(backend)
    writer = Writer(stop_at=1)
    upload = writer.sends(BodyStream(6, lambda: pausing(b"ab", b"cd", b"ef"), replayable=True))
    upload.start(cast(Backend, eager))
    (handle,) = eager.handles
    assert handle.cancelled
    await handle.join()
    assert writer.written == [b"ab"]
    assert not writer.ended
    await backend.aclose()


@pytest.mark.asyncio
@pytest.mark.parametrize("fault", ["refused", "too long"])
async def test_upload_that_ends_in_an_eager_first_step(fault: str) -> None:
    """What is over before its task is known leaves no task to be stopped, and can begin again."""
    backend = current_backend()
    await backend.open()
    eager = EagerBackend(backend)
    writer = Writer(refuses=fault == "refused")
    length = 2 if fault == "refused" else 1
    upload = writer.sends(BodyStream(length, lambda: at_hand(b"ab"), replayable=True))
    upload.start(cast(Backend, eager))
    await anyio.wait_all_tasks_blocked()
    assert not any(handle.cancelled for handle in eager.handles)
    if fault == "refused":
        assert writer.refused == 1
        writer.refuses = False
        upload.start(cast(Backend, eager))
        await eventually(lambda: writer.ended)
        assert writer.written == [b"ab"]
    else:
        assert isinstance(writer.error, JobError)
    await backend.aclose()


@pytest.mark.asyncio
async def test_body_of_a_job_that_is_given_up_after_an_eager_refusal() -> None:
    """The iterator is closed, though a part of it was taken and lies at hand for an attempt that does not come."""
    backend = current_backend()
    await backend.open()
    eager, closed = EagerBackend(backend), []

    async def body() -> AsyncIterator[bytes]:
        try:
            yield b"ab"
        finally:
            closed.append(True)

    writer = Writer(refuses=True)
    upload = writer.sends(BodyStream(2, body, replayable=True))
    upload.start(cast(Backend, eager))
    assert writer.refused == 1
    assert not closed
    upload.stop()
    await eventually(lambda: closed)
    await backend.aclose()
