"""CancelOnDisconnect: a handler is cancelled when its client goes, and loses nothing of its request before."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from pathlib import Path

import anyio
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware, RequestResponseEndpoint
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import Route

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.asgi import CancelOnDisconnect
from fcgi_async.asgi.protocol import Application, Message, Receive, Scope, Send
from tests.asgi.client import Client
from tests.eventually import eventually
from tests.fpm.marks import ended, started

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

START: Message = {"type": "http.response.start", "status": 200, "headers": []}


async def answer(send: Send, body: bytes = b"") -> None:
    """Send a complete response."""
    await send(START)
    await send({"type": "http.response.body", "body": body})


def runs(php: Dispatcher, job: Callable[[], Job]) -> Application:
    """An application that runs one job for each request."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await answer(send, (await php.run(job())).content)

    return CancelOnDisconnect(app)


async def test_a_queued_job_never_runs(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Of two clients that go, the job of the one that waited for a worker never runs; the other's runs to its end."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    query = {"marks": str(marks), "gate": str(gate)}
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
        app = runs(php, lambda: Job("wait.php", query=query))
        running, queued = Client(), Client()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(running.request, app)
            await eventually(lambda: started(marks) == 1)
            tasks.start_soon(queued.request, app)
            await eventually(lambda: php.statistics().queued == 1)
            queued.disconnect()
            await eventually(lambda: php.statistics().queued == 0)
            running.disconnect()
        assert php.statistics().draining == 1
        gate.touch()
        await eventually(lambda: php.statistics().draining == 0)
    assert (started(marks), ended(marks)) == (1, 1)
    assert (queued.sent, running.sent) == ([], [])


async def test_a_client_that_stays_is_answered(php: Dispatcher) -> None:
    """The response is that of the application."""
    client = Client()
    await client.request(runs(php, lambda: Job("respond.php", query={"body": "done"})))
    assert client.sent == [START, {"type": "http.response.body", "body": b"done"}]


async def test_the_handler_gets_the_whole_body(anyio_backend: object) -> None:
    """What was received ahead of the handler is handed to it, in order; the disconnect comes last, and again."""
    parts = [{"type": "http.request", "body": part, "more_body": part != b"c"} for part in (b"a", b"b", b"c")]
    client, got = Client([*parts]), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await eventually(lambda: client.asked == 4)
        for _ in parts:
            got.append(await receive())
        await send(START)
        await send({"type": "http.response.body", "body": b""})
        client.disconnect()
        got.append(await receive())
        got.append(await receive())

    await client.request(CancelOnDisconnect(app))
    assert got == [*parts, {"type": "http.disconnect"}, {"type": "http.disconnect"}]


async def test_a_body_that_nobody_reads_is_not_read_far_ahead(anyio_backend: object) -> None:
    """A large body is taken at the handler's pace: no more than 64 KiB and one part are kept for it."""
    part = {"type": "http.request", "body": b"x" * 30_000, "more_body": True}
    client, seen = Client([dict(part) for _ in range(10)]), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(3):
            await anyio.wait_all_tasks_blocked()
            seen.append(client.asked)
            await receive()
        await answer(send)

    await client.request(CancelOnDisconnect(app))
    assert seen == [3, 4, 5]


async def test_a_client_that_goes_in_the_middle_of_a_response(anyio_backend: object) -> None:
    """A handler that is streaming is cancelled where it stands."""
    client, left = Client(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send({"type": "http.response.body", "body": b"first", "more_body": True})
        client.disconnect()
        try:
            await anyio.sleep_forever()
        finally:
            left.append(True)

    await client.request(CancelOnDisconnect(app))
    assert left == [True]


@pytest.mark.parametrize("spec_version", ["2.3", "2.4"])
@pytest.mark.parametrize("wrapped", [False, True])
async def test_a_streaming_response_of_starlette(anyio_backend: object, spec_version: str, wrapped: bool) -> None:
    """Starlette listens for the disconnect as well, up to a version of ASGI: neither is in the other's way."""
    client, left = Client(), []

    async def parts() -> AsyncIterator[str]:
        try:
            yield "first"
            client.disconnect()
            await anyio.sleep_forever()
        finally:
            left.append(True)

    async def stream(request: Request) -> StreamingResponse:
        return StreamingResponse(parts())

    async def pass_on(request: Request, call_next: RequestResponseEndpoint) -> Response:
        return await call_next(request)

    layers = [Middleware(CancelOnDisconnect)] + [Middleware(BaseHTTPMiddleware, dispatch=pass_on)] * wrapped
    app = Starlette(routes=[Route("/", stream)], middleware=layers)
    await client.request(app, asgi={"spec_version": spec_version})
    assert left == [True]
    assert [message.get("body") for message in client.sent] == [None, b"first"]


@pytest.mark.parametrize(
    "last", [{"type": "http.response.body", "body": b""}, {"type": "http.response.pathsend", "path": "/a/file"}]
)
async def test_what_follows_a_complete_response_goes_on(anyio_backend: object, last: Message) -> None:
    """A background task behind the response is not cancelled when the client goes, as it then does."""
    client, done = Client(), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await send(START)
        await send(last)
        client.disconnect()
        await anyio.wait_all_tasks_blocked()
        await anyio.lowlevel.checkpoint()
        done.append(True)

    await client.request(CancelOnDisconnect(app))
    assert done == [True]


async def test_an_error_passes_as_it_is(anyio_backend: object) -> None:
    """The handler's exception is raised plain, not in a group."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        raise LookupError("nothing")

    with pytest.raises(LookupError, match="nothing"):
        await Client().request(CancelOnDisconnect(app))


async def test_an_error_of_the_server_reaches_the_handler(anyio_backend: object) -> None:
    """What the server's receive raises is raised where the handler asks."""

    async def broken() -> Message:
        raise OSError("gone")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()

    async def nothing(message: Message) -> None:
        raise AssertionError("nothing is sent")

    with pytest.raises(OSError, match="gone"):
        await CancelOnDisconnect(app)({"type": "http"}, broken, nothing)


async def test_asking_without_waiting(anyio_backend: object) -> None:
    """A handler may look for a disconnect inside a cancelled scope, as Starlette does, and loses no message by it."""
    client, got = Client([{"type": "http.request", "body": b"a", "more_body": False}]), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.wait_all_tasks_blocked()
        for _ in range(2):
            with anyio.CancelScope() as look:
                look.cancel()
                got.append((await receive())["type"])
        await answer(send)

    await client.request(CancelOnDisconnect(app))
    assert got == ["http.request"]


async def test_asking_from_several_tasks(anyio_backend: object) -> None:
    """Tasks of a handler that ask at the same time get each message once, and all of them the disconnect."""
    parts = [{"type": "http.request", "body": bytes([n]), "more_body": n < 5} for n in range(6)]
    client, got = Client([]), []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def ask() -> None:
            while (message := await receive())["type"] == "http.request":
                got.append(message)

        async with anyio.create_task_group() as tasks:
            for _ in range(3):
                tasks.start_soon(ask)
            for part in parts:
                await anyio.wait_all_tasks_blocked()
                client.say(part)
            await anyio.wait_all_tasks_blocked()
            await answer(send)
            client.disconnect()

    await client.request(CancelOnDisconnect(app))
    assert got == parts


async def test_a_handler_that_does_not_wait(anyio_backend: object) -> None:
    """The server is not asked for a client that cannot go: nothing could be cancelled."""
    client = Client()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        pass

    await client.request(CancelOnDisconnect(app))
    await anyio.wait_all_tasks_blocked()
    assert client.asked == 0


async def test_nobody_asks_after_the_request(anyio_backend: object) -> None:
    """When the handler has ended, the server's receive is cancelled."""
    left = []

    async def receive() -> Message:
        try:
            await anyio.sleep_forever()
        finally:
            left.append(True)
        return {}

    async def send(message: Message) -> None:
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.wait_all_tasks_blocked()

    await CancelOnDisconnect(app)({"type": "http"}, receive, send)
    await eventually(lambda: left)


async def test_the_context_of_the_request(anyio_backend: object) -> None:
    """The server's receive, which may be that of another middleware, finds the context of the request."""
    variable: ContextVar[str] = ContextVar("variable", default="nothing")
    seen = []

    async def receive() -> Message:
        seen.append(variable.get())
        return {"type": "http.disconnect"}

    async def send(message: Message) -> None:
        pass

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await anyio.sleep_forever()

    variable.set("the request's")
    await CancelOnDisconnect(app)({"type": "http"}, receive, send)
    assert seen == ["the request's"]


@pytest.mark.parametrize(
    "anyio_backend",
    [
        pytest.param(("asyncio", {"use_uvloop": False}), id="asyncio"),
        pytest.param(("asyncio", {"use_uvloop": True}), id="uvloop"),
    ],
)
async def test_a_cancelled_handler_leaves_its_task_whole(anyio_backend: object) -> None:
    """The task that a server runs requests in is not cancelling after one whose client has gone, and may time out."""
    client, task = Client(), asyncio.current_task()
    assert task is not None

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        client.disconnect()
        await asyncio.sleep(60)

    await client.request(CancelOnDisconnect(app))
    assert task.cancelling() == 0
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await asyncio.sleep(60)


async def test_cancelled_from_outside(anyio_backend: object) -> None:
    """A server that cancels the request cancels the handler, and nothing is left behind."""
    left = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            left.append(True)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(Client().request, CancelOnDisconnect(app))
        await anyio.wait_all_tasks_blocked()
        tasks.cancel_scope.cancel()
    assert left == [True]


async def test_websockets_are_left_alone(anyio_backend: object) -> None:
    """Anything but a request gets the server's own receive and send."""
    got = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        got.append((receive, send))

    async def receive() -> Message:
        return {}

    async def send(message: Message) -> None:
        pass

    await CancelOnDisconnect(app)({"type": "websocket"}, receive, send)
    assert got == [(receive, send)]
