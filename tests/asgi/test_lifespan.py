"""The dispatcher opens with the application and closes with it, within a bound, saying what was not done."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, ClassVar

import anyio
import pytest

from fcgi_async import ConfigurationError, Dispatcher, DispatcherClosed, Endpoint, Job, LocalFPM
from fcgi_async.asgi import DispatcherLifespan, lifespan
from fcgi_async.asgi.protocol import Receive, Scope, Send
from tests.asgi.client import Client
from tests.eventually import eventually
from tests.fpm.marks import started

pytestmark = pytest.mark.anyio

STARTUP, SHUTDOWN = {"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that runs a job."""
    response = await scope["state"]["php"].run(Job("respond.php", query={"body": "hello"}))
    await send({"type": "http.response.start", "status": response.status, "headers": []})
    await send({"type": "http.response.body", "body": response.content})


@pytest.fixture
def endpoint(fpm: LocalFPM, scripts: Path) -> Endpoint:
    """Two of the shared workers."""
    return Endpoint(fpm.address, max_children=4, reserve=2, root=str(scripts))


async def test_one_dispatcher_while_the_application_lives(endpoint: Endpoint) -> None:
    """It is made at startup, found in the state of every request, beside what the server has there, and then closed."""
    made: list[Dispatcher] = []

    def make() -> Dispatcher:
        made.append(Dispatcher(endpoint))
        return made[-1]

    app, server, client = DispatcherLifespan(hello, make), Client([STARTUP]), Client()
    state = {"mine": 1}
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.request(app, type="lifespan"))
        await eventually(lambda: server.sent)
        await client.request(app, state=state)
        server.say(SHUTDOWN)
    assert client.sent[1]["body"] == b"hello"
    assert state == {"mine": 1, "php": made[0]}
    assert [message["type"] for message in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]
    with pytest.raises(DispatcherClosed):
        await made[0].run(Job("respond.php"))
    assert len(made) == 1


async def test_no_lifespan(endpoint: Endpoint) -> None:
    """Where the server has not run the lifespan, a request says so."""
    with pytest.raises(ConfigurationError, match="lifespan"):
        await Client().request(DispatcherLifespan(hello, lambda: Dispatcher(endpoint)))


async def test_startup_fails(anyio_backend: object) -> None:
    """A dispatcher that cannot be opened fails the startup with its own message."""
    server = Client([STARTUP])
    await server.request(DispatcherLifespan(hello, lambda: Dispatcher("unix:///nowhere.sock")), type="lifespan")
    assert [message["type"] for message in server.sent] == ["lifespan.startup.failed"]
    assert "max_children is not known" in server.sent[0]["message"]


async def test_a_mistake_in_make(anyio_backend: object) -> None:
    """Whatever goes wrong there fails the startup too: raised, it would be taken for "no lifespan here"."""

    def make() -> Dispatcher:
        raise LookupError("no FPM in the environment")

    server = Client([STARTUP])
    await server.request(DispatcherLifespan(hello, make), type="lifespan")
    assert [message["type"] for message in server.sent] == ["lifespan.startup.failed"]
    assert "LookupError: no FPM in the environment" in server.sent[0]["message"]


async def test_closing_fails(endpoint: Endpoint) -> None:
    """An error behind the startup fails the shutdown, and says which."""

    class Broken(Dispatcher):
        async def aclose(self, **how: Any) -> None:
            await super().aclose(**how)
            raise LookupError("not closed")

    server = Client([STARTUP, SHUTDOWN])
    await server.request(DispatcherLifespan(hello, lambda: Broken(endpoint)), type="lifespan")
    assert [message["type"] for message in server.sent] == ["lifespan.startup.complete", "lifespan.shutdown.failed"]
    assert "LookupError: not closed" in server.sent[1]["message"]


async def test_a_lifespan_for_frameworks(endpoint: Endpoint) -> None:
    """It yields the state that Starlette hands to requests, under the name asked for, each time it is entered."""
    opened = lifespan(lambda: Dispatcher(endpoint), name="jobs")
    for _ in range(2):
        async with opened(object()) as state:
            assert (await state["jobs"].run(Job("respond.php", query={"body": "hello"}))).text == "hello"


async def test_a_framework_that_shares_the_state_of_the_application(endpoint: Endpoint) -> None:
    """Where the application has a state of its own, as Litestar's has, the dispatcher is there while it is open."""

    class Application:
        state: ClassVar[dict[str, object]] = {"mine": 1}

    async with lifespan(lambda: Dispatcher(endpoint), name="jobs")(Application()) as state:
        assert Application.state == {"mine": 1, "jobs": state["jobs"]}
    assert Application.state == {"mine": 1}


async def test_closing_finishes_what_it_has(endpoint: Endpoint, tmp_path: Path) -> None:
    """A submitted job that ends within the bound ends well."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    async with anyio.create_task_group() as tasks:
        async with lifespan(lambda: Dispatcher(endpoint))(object()) as state:
            handle = await state["php"].submit(Job("wait.php", query={"marks": str(marks), "gate": str(gate)}))
            await eventually(lambda: started(marks) == 1)

            async def open_gate() -> None:
                await anyio.wait_all_tasks_blocked()
                gate.touch()

            tasks.start_soon(open_gate)
    assert handle.result().ok


async def test_closing_has_a_bound(endpoint: Endpoint, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """What is not done within the bound is ended, and named in the log."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    with caplog.at_level(logging.WARNING, "fcgi_async"):
        async with lifespan(lambda: Dispatcher(endpoint), close_within=0.05)(object()) as state:
            query = {"marks": str(marks), "gate": str(gate)}
            handles = [await state["php"].submit(Job("wait.php", query=query)) for _ in range(3)]
            await eventually(lambda: started(marks) == 2)
    gate.touch()
    assert [type(handle.exception()) for handle in handles] == [DispatcherClosed] * 3
    assert [handle.exception().may_have_run for handle in handles] == [True, True, False]  # type: ignore[union-attr]
    assert "closing with 2 job(s) running" in caplog.text
    assert "wait.php" in caplog.text


async def test_an_error_in_the_application_ends_its_jobs_now(endpoint: Endpoint, tmp_path: Path) -> None:
    """An application that fails while it lives does not wait for jobs."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    with pytest.raises(LookupError):
        async with lifespan(lambda: Dispatcher(endpoint), close_within=None)(object()) as state:
            handle = await state["php"].submit(Job("wait.php", query={"marks": str(marks), "gate": str(gate)}))
            await eventually(lambda: started(marks) == 1)
            raise LookupError
    gate.touch()
    assert isinstance(handle.exception(), DispatcherClosed)
