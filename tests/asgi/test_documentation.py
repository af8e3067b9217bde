"""The code in docs/asgi.md works as it stands, but for the addresses in it."""

from __future__ import annotations

import re
from pathlib import Path

import anyio
import httpx
import pytest

from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.asgi.protocol import Application
from tests.asgi.client import Client
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

PAGE = Path(__file__).parents[2] / "docs" / "asgi.md"


def documented(fpm: LocalFPM, scripts: Path, blocks: int) -> Application:
    """Return the application that the first blocks of the page make."""
    source = "\n".join(re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)[:blocks])
    source = source.replace("unix:///run/php/php8.2-fpm.sock", fpm.address)
    source = re.sub(r"/srv/app/\w+\.php", str(scripts / "inspect.php"), source)
    # Litestar would set up the logging of the whole process
    source = source.replace("app = Litestar(\n", "app = Litestar(\n    logging_config=None,\n    route_handlers=")
    # Litestar looks for the module of a handler
    names: dict[str, object] = {"__name__": __name__}
    exec(compile(source, PAGE.name, "exec", dont_inherit=True), names)
    app: Application = names["app"]  # type: ignore[assignment]
    return app


async def test_the_bare_application(fpm: LocalFPM, scripts: Path) -> None:
    """It answers with what PHP answered."""
    app = documented(fpm, scripts, 4)
    server, client = Client([{"type": "lifespan.startup"}]), Client()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.request(app, type="lifespan"))
        await eventually(lambda: server.sent)
        await client.request(app)
        server.say({"type": "lifespan.shutdown"})
    assert client.status == 200
    assert b"SCRIPT_FILENAME" in client.sent[1]["body"]


async def test_the_fastapi_application(fpm: LocalFPM, scripts: Path) -> None:
    """It fans out to twenty jobs."""
    app = documented(fpm, scripts, 2)
    server = Client([{"type": "lifespan.startup"}])
    state: dict[str, object] = {}

    async def with_state(scope, receive, send):  # type: ignore[no-untyped-def]
        # as servers do with the lifespan's state
        await app({**scope, "state": state}, receive, send)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.request(with_state, type="lifespan"))
        await eventually(lambda: server.sent)
        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            found = await client.get("/thumbs/7")
            health = await client.get("/readyz")
        server.say({"type": "lifespan.shutdown"})
    assert len(found.json()) == 20
    assert health.status_code == 200


async def test_the_litestar_application(fpm: LocalFPM, scripts: Path) -> None:
    """It fans out to twenty jobs, and an error of a job is answered by ErrorResponses."""
    app = documented(fpm, scripts, 3)
    server = Client([{"type": "lifespan.startup"}])
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: server.request(app, type="lifespan", state={}))
        await eventually(lambda: server.sent)
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            found = await client.get("/thumbs/7")
            # one that was never opened
            app.state.php = Dispatcher(fpm.address, max_children=1)  # type: ignore[attr-defined]
            refused = await client.get("/thumbs/7")
        server.say({"type": "lifespan.shutdown"})
    assert len(found.json()) == 20
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert "php" not in app.state  # type: ignore[attr-defined]
