"""Real servers, real PHP: Starlette, FastAPI and Litestar under uvicorn, a bare application under hypercorn on trio."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import httpx
import pytest
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM
from tests.asgi.server import Service, hypercorn, serving, uvicorn
from tests.conftest import INI
from tests.eventually import soon
from tests.fpm.marks import ended, most_at_once, started

SERVICES = {
    "starlette-uvicorn": uvicorn("tests.asgi.services.starlette_service:app"),
    "fastapi-uvicorn": uvicorn("tests.asgi.services.fastapi_service:app", "--http", "h11"),
    "litestar-uvicorn": uvicorn("tests.asgi.services.litestar_service:app"),
    "bare-hypercorn-trio": hypercorn("tests.asgi.services.bare_service:app", "--worker-class", "trio"),
}

# serves with these additions to the environment
Serve = Callable[..., AbstractContextManager[Service]]


@pytest.fixture(params=SERVICES)
def serve(request: pytest.FixtureRequest, fpm: LocalFPM, scripts: Path, tmp_path: Path) -> Serve:
    """Each of the services, on one worker of the shared FPM unless told otherwise."""

    def start(**environment: str) -> AbstractContextManager[Service]:
        settings = {"FPM": fpm.address, "MAX_CHILDREN": "1", "SCRIPTS": str(scripts)}
        return serving(SERVICES[request.param], settings | environment, tmp_path)

    return start


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """The query of wait.php: where it marks its stay, and what it waits for."""
    return {"marks": str(tmp_path / "marks"), "gate": str(tmp_path / "gate")}


class Visitor(threading.Thread):
    """A client that asks, and may leave before it is answered."""

    def __init__(self, service: Service, path: str, query: dict[str, str]) -> None:
        super().__init__(daemon=True)
        self._client = service.client()
        self._path, self._query = path, query
        self.response: httpx.Response | None = None
        self.start()

    def run(self) -> None:
        try:
            self.response = self._client.get(self._path, params=self._query)
        except (httpx.HTTPError, RuntimeError, OSError):
            self.response = None

    def answer(self) -> httpx.Response:
        """Wait for the response."""
        self.join(30)
        self._client.close()
        assert self.response is not None
        return self.response


@contextmanager
def asking(service: Service, path: str, query: dict[str, str]) -> Iterator[None]:
    """A client that has sent its request, and goes when the block is left."""
    place = urlsplit(service.url)
    with socket.create_connection((place.hostname, place.port)) as connection:
        connection.sendall(f"GET {path}?{urlencode(query)} HTTP/1.1\r\nHost: test\r\n\r\n".encode())
        yield


def numbers(service: Service) -> dict[str, Any]:
    """What the service's dispatcher is doing."""
    with service.client() as client:
        return dict(client.get("/statistics").json())


def test_a_service(serve: Serve, files: dict[str, str], tmp_path: Path) -> None:
    """Fan-out in order; 503 where the queue is full; a client that goes takes its queued job with it; a clean end."""
    with serve(MAX_QUEUED="1") as service, service.client() as client:
        found = client.get("/fan-out/respond.php", params={"jobs": "20", "body": "x"})
        assert (found.status_code, found.json()) == (200, ["x"] * 20)

        running = Visitor(service, "/run/wait.php", files)
        soon(lambda: started(tmp_path / "marks") == 1)
        with asking(service, "/run/wait.php", files):
            soon(lambda: numbers(service)["queued"] == 1)
        soon(lambda: numbers(service)["cancelled"] == 1)
        assert numbers(service)["queued"] == 0

        waiting = Visitor(service, "/run/wait.php", files)
        soon(lambda: numbers(service)["queued"] == 1)
        refused = client.get("/run/wait.php", params=files)
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")

        (tmp_path / "gate").touch()
        assert (running.answer().status_code, waiting.answer().status_code) == (200, 200)
        assert (started(tmp_path / "marks"), ended(tmp_path / "marks")) == (2, 2)
        assert service.end() in (0, -15), service.log()
    assert "Traceback" not in service.log()


def test_a_deadline(serve: Serve, files: dict[str, str], tmp_path: Path) -> None:
    """A job behind its deadline is a 504, and closing within its bound says which jobs were not done."""
    with serve(RUN_TIMEOUT="0.05", CLOSE_WITHIN="0.05") as service, service.client() as client:
        assert client.get("/run/wait.php", params=files).status_code == 504
        (tmp_path / "gate").touch()
        soon(lambda: numbers(service)["draining"] == 0)
    with serve(CLOSE_WITHIN="0.05") as service, service.client() as client:
        (tmp_path / "gate").unlink()
        assert client.get("/submit/wait.php", params=files).status_code == 202
        soon(lambda: started(tmp_path / "marks") == 2)
        assert service.end() in (0, -15), service.log()
        (tmp_path / "gate").touch()
    assert "closing with 1 job(s) running" in service.log()


@pytest.fixture
def fpm_of_8(fpm_portal: BlockingPortal) -> Iterator[LocalFPM]:
    """A PHP-FPM with more workers than four processes may have."""
    with fpm_portal.wrap_async_context_manager(LocalFPM(max_children=8, system_ini=False, ini=INI)) as fpm:
        yield fpm


def test_four_workers_share_one_pool(fpm_of_8: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Four uvicorn workers with processes=4 leave to others what is reserved for them, whatever is asked of them."""
    marks = tmp_path / "marks"
    environment = {"FPM": fpm_of_8.address, "SCRIPTS": str(scripts), "MAX_CHILDREN": "8", "RESERVE": "4"}
    query = {"marks": str(marks), "seconds": "0.02", "jobs": "10"}
    processes: set[str] = set()
    command = uvicorn("tests.asgi.services.starlette_service:app", "--workers", "4")
    with serving(command, environment | {"WEB_CONCURRENCY": "4"}, tmp_path, workers=4) as service:

        def ask() -> None:
            with service.client() as client:
                processes.add(client.get("/run/work.php", params=query).headers["x-process"])
                assert client.get("/fan-out/work.php", params=query).status_code == 200

        def all_took_part() -> bool:
            visitors = [threading.Thread(target=ask) for _ in range(8)]
            for visitor in visitors:
                visitor.start()
            for visitor in visitors:
                visitor.join()
            return len(processes) == 4

        soon(all_took_part)
    assert started(marks) >= 8 * 11
    assert most_at_once(marks) <= 4
