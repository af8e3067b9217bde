"""Readiness and liveness, beside a real PHP-FPM that is busy, away, and back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.asgi import DispatcherLifespan, HealthRoutes, readiness
from fcgi_async.asgi.protocol import Receive, Scope, Send
from tests.asgi.client import Client
from tests.eventually import eventually

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]


async def page(scope: Scope, receive: Receive, send: Send) -> None:
    """An application that answers 204."""
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body"})


async def asked(php: Dispatcher | None, path: str, *, method: str = "GET") -> tuple[int, str]:
    """The status and the text of a path."""
    client = Client()
    app = HealthRoutes(page, timeout=0.2)
    state = {} if php is None else {"php": php}
    await client.request(app, method=method, path=path, state=state)
    return client.status, client.sent[1].get("body", b"").decode()


def one_worker(fpm: LocalFPM, scripts: Path) -> Dispatcher:
    """A dispatcher of the whole pool."""
    return Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts)))


async def test_a_busy_pool_is_ready(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """Whether it is busy with our jobs or with those of others, and however many wait."""
    fpm = await start_fpm(max_children=1)
    gate = Job("wait.php", query={"gate": str(tmp_path / "gate"), "marks": str(tmp_path / "marks")})
    async with one_worker(fpm, scripts) as php, one_worker(fpm, scripts) as other:
        assert await asked(php, "/readyz") == (200, "ready: a worker answered\n")
        # it keeps no connection, so that the other one gets the worker
        running = await other.submit(gate)
        await eventually(lambda: (tmp_path / "marks").exists())
        assert await asked(php, "/readyz") == (200, "ready: every worker is busy\n")
        waiting = await other.submit(gate)
        assert await asked(other, "/readyz") == (200, "ready: 1 jobs run on 1 workers, 1 wait\n")
        (tmp_path / "gate").touch()
        await running
        await waiting


async def test_a_pool_that_is_away_is_not_ready_until_it_is_back(start_fpm: Any, scripts: Path) -> None:
    """It is found out without a job, in both directions."""
    fpm = await start_fpm(max_children=1)
    async with one_worker(fpm, scripts) as php:
        assert (await php.run(Job("respond.php"))).ok
        await fpm.stop()
        await eventually(lambda: not php.statistics().idle)
        status, text = await asked(php, "/readyz")
        assert (status, text) == (503, "not ready: PHP-FPM cannot be reached\n")
        assert await asked(php, "/livez") == (200, "alive\n")
        await fpm.start()
        for _ in range(50):
            if (await asked(php, "/readyz"))[0] == 200:
                break
        assert (await readiness(php)).ready


async def test_a_pool_that_was_never_there() -> None:
    """Nobody listens."""
    async with Dispatcher("unix:///nonexistent/fpm.sock", max_children=1) as php:
        assert await asked(php, "/readyz") == (503, "not ready: PHP-FPM cannot be reached: ConnectError\n")


async def test_a_dispatcher_that_is_not_open(fpm: LocalFPM, scripts: Path) -> None:
    """Before it is entered, after it is left, and if there is none."""
    php = one_worker(fpm, scripts)
    assert (await asked(php, "/readyz"))[0] == 503
    async with php:
        assert (await asked(php, "/readyz"))[0] == 200
    status, text = await asked(php, "/readyz")
    assert (status, text.startswith("not ready: the dispatcher is closed")) == (503, True)
    assert (await asked(None, "/readyz"))[0] == 503
    assert (await asked(None, "/livez"))[0] == 200


async def test_everything_else_is_passed_on(fpm: LocalFPM, scripts: Path) -> None:
    """Other paths, other methods; HEAD gets no body."""
    assert (await asked(None, "/"))[0] == 204
    assert (await asked(None, "/livez", method="POST"))[0] == 204
    assert await asked(None, "/livez", method="HEAD") == (200, "")


async def test_within_a_lifespan(fpm: LocalFPM, scripts: Path) -> None:
    """The dispatcher that `DispatcherLifespan` opens is found."""
    app = DispatcherLifespan(HealthRoutes(page), lambda: one_worker(fpm, scripts))
    seen: list[int] = []
    startup = iter([{"type": "lifespan.startup"}, {"type": "lifespan.shutdown"}])

    async def receive() -> dict[str, Any]:
        message = next(startup)
        if message["type"] == "lifespan.shutdown":
            client = Client()
            await client.request(app, path="/readyz")
            seen.append(client.status)
        return message

    async def send(message: Any) -> None:
        seen.append(message["type"])

    await app({"type": "lifespan"}, receive, send)
    assert seen == ["lifespan.startup.complete", 200, "lifespan.shutdown.complete"]
