"""PHP-FPM never gets two requests on one connection, where others, with the same settings, get a thousand."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcgi_async import Dispatcher, Endpoint, Job
from tests.interop.recording_proxy import recording
from tests.interop.seen import saw
from tests.interop.server import MULTIPLEXING, PHP_CGI, PHP_FPM, SCRIPT, SERVERS, WORKERS, Server

pytestmark = pytest.mark.anyio
WHAT = "most requests in flight on one connection (of 1000, seen by a proxy)"


async def most_in_flight(server: Server, path: Path, at_once: int, **query: str) -> int:
    """Send 1000 jobs through a proxy, cancel a tenth of them, and return the most that one connection had."""
    async with recording(server.path, path) as proxy:
        endpoint = Endpoint(f"unix://{path}", max_children=at_once, root=str(SERVERS))
        async with Dispatcher(endpoint) as php:
            handles = [await php.submit(Job(SCRIPT, query={"name": str(n), **query})) for n in range(1000)]
            for handle in handles[:100]:
                handle.cancel()
            for number, handle in enumerate(handles[100:], 100):
                assert (await handle).headers["X-Name"] == str(number)
    most = max(passed.most_in_flight for passed in proxy.connections)
    saw(server.kind.name, WHAT, most)
    return most


@pytest.mark.parametrize("server", [PHP_FPM, PHP_CGI], indirect=True, ids=lambda kind: kind.name)
async def test_never_two(server: Server, tmp_path: Path) -> None:
    """However many jobs wait, and whoever is cancelled: one request at a time on each connection."""
    assert await most_in_flight(server, tmp_path / "proxy.sock", WORKERS) == 1


@pytest.mark.parametrize("server", MULTIPLEXING, indirect=True, ids=lambda kind: kind.name)
async def test_many_where_the_peer_says_so(server: Server, tmp_path: Path) -> None:
    """The same settings bring a multiplexing peer all of them on one connection, which the proxy sees."""
    assert await most_in_flight(server, tmp_path / "proxy.sock", 1000, together="900") >= 900
