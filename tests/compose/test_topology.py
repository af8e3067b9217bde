"""nginx, uvicorn and PHP-FPM over TCP, with the files and the environment that compose.yaml gives them."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from urllib.parse import urlsplit

import anyio
import pytest

from fcgi_async import PoolStatus, StatusPage
from fcgi_async.fpm.status import fetch_status
from tests.asgi.server import ROOT
from tests.compose.topology import Topology, get, running, services
from tests.eventually import soon


@pytest.fixture(scope="module")
def topology(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Topology]:
    """All three, healthy."""
    with running(tmp_path_factory.mktemp("topology")) as topology:
        yield topology


def pool(topology: Topology) -> PoolStatus:
    """What FPM says of its workers."""

    async def fetch() -> PoolStatus:
        return await fetch_status(StatusPage(topology.status))

    return anyio.run(fetch)


def test_health_checks(topology: Topology) -> None:
    """The container's own commands find every service healthy, and notice one that is not."""
    assert all(topology.healthy(service) for service in ("php", "service", "nginx"))
    nowhere = Topology(topology.directory)
    assert not any(nowhere.healthy(service) for service in ("php", "service", "nginx"))


def test_the_service_behind_nginx(topology: Topology) -> None:
    """The page, and the events of jobs on that FPM to their end."""
    assert "Twenty PHP jobs" in get(topology, "/").text
    events = [json.loads(line[6:]) for line in get(topology, "/events?jobs=6&pace=0").text.splitlines() if line]
    assert [event for event in events if "error" in event] == []
    assert (events[0]["jobs"], sum("result" in event for event in events), events[-1]) == (6, 6, {"end": True})


def test_the_site_on_the_same_pool(topology: Topology) -> None:
    """nginx speaks to that FPM for itself too."""
    assert get(topology, "/api/orders/7?with=lines").json() == {"order": 7, "with": "lines"}
    assert get(topology, "/api/nothing").status_code == 404


def test_a_client_that_goes(topology: Topology) -> None:
    """Through nginx too, a client that goes takes its jobs along, and the workers are free again."""
    share = int(services()["service"]["environment"]["MAX_CHILDREN"]) - 2
    place = urlsplit(topology.url)
    with socket.create_connection((place.hostname, place.port)) as client:
        client.sendall(b"GET /events?pace=300 HTTP/1.1\r\nHost: test\r\n\r\n")
        while b"progress" not in client.recv(65536):
            pass
        assert 1 <= pool(topology).active <= share
    soon(lambda: pool(topology).active == 0)


@pytest.mark.long
def test_the_suite_on_that_fpm(topology: Topology) -> None:
    """`docker compose run --rm tests` does this with all tests: they share an FPM that is there, over TCP."""
    environment = {"FCGI_ASYNC_TEST_FPM": topology.fpm, "FCGI_ASYNC_TEST_FPM_STATUS": topology.status}
    before = pool(topology).accepted_connections
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "asyncio"]
    done = subprocess.run(
        [*command, "tests/fpm/test_requests.py"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert pool(topology).accepted_connections > before + 20
