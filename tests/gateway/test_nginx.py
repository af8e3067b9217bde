"""nginx as a client: what visitors get, of PHP and of the gateway itself."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fcgi_async.gateway import Gateway
from tests.nginx import fetch, nginx

pytestmark = pytest.mark.anyio

SETTINGS = "fastcgi_param SCRIPT_FILENAME {script}; fastcgi_param FCGI_ASYNC_PRIORITY 10; {keep}"


@pytest.fixture(params=["fastcgi_keep_conn on;", ""], ids=["kept", "not kept"])
async def site(request: pytest.FixtureRequest, gateway: Gateway, scripts: Path, tmp_path: Path) -> AsyncIterator[Path]:
    """The socket of an nginx before a script, which keeps its connections to the gateway or not."""
    script = scripts / ("inspect.php" if "inspect" in request.node.name else "fault.php")
    async with nginx(tmp_path, gateway.address, SETTINGS.format(script=script, keep=request.param)) as path:
        yield path


async def test_inspect(site: Path, gateway: Gateway) -> None:
    """Bodies of any size come to PHP, and answers to the visitor; the priority does not come to PHP."""
    for size in (0, 1, 70_000, 1_000_000):
        status, content = await fetch(site, "POST", "", b"b" * size)
        assert status.split()[1] == b"200"
        assert f'"length":{size},'.encode() in content
        assert b"FCGI_ASYNC_PRIORITY" not in content
    assert gateway.statistics().passed == 4


async def test_a_worker_that_dies(site: Path, gateway: Gateway, tmp_path: Path) -> None:
    """A visitor gets 502, and the next one an answer."""
    query = f"marks={tmp_path}/marks&name=it&do="
    assert await status_of(site, query + "kill+itself") == b"502"
    assert await status_of(site, query) == b"200"
    assert (gateway.statistics().failed, gateway.statistics().passed) == (1, 1)


async def status_of(site: Path, query: str) -> bytes:
    """Return the status of an answer."""
    status, _ = await fetch(site, "GET", query, b"")
    return status.split()[1]
