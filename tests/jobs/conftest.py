"""The stores that all tests of durable jobs run on: another database is another parameter here."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import quote

import pytest

from fcgi_async.fpm import LocalFPM
from fcgi_async.jobs import Jobs
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.store import Store
from tests.jobs.servers import Galera, MariaDB, Postgres, Server, perform

# seconds in which a worker on a server is considered lost: shorter than anyone would have it
LEASE = 3.0

ROOT = Path(__file__).parent.parent.parent
# of a worker that is a process
SHARE = 2
AHEAD = 1

# makes another connection to the same database, not open yet
MakeStore = Callable[[], Store]


# its statements are MariaDB's: what only a cluster does is in test_galera.py
GALERA = pytest.param("galera", marks=pytest.mark.long)
ON_EACH = pytest.mark.parametrize("jobs_url", ["sqlite", "postgres", "mariadb", GALERA], indirect=True)
ON_SQLITE = pytest.mark.parametrize("jobs_url", ["sqlite"], indirect=True)
ON_SERVERS = pytest.mark.parametrize("jobs_url", ["postgres", "mariadb", GALERA], indirect=True)
ON_POSTGRES = pytest.mark.parametrize("jobs_url", ["postgres"], indirect=True)
ON_MARIADB = pytest.mark.parametrize("jobs_url", ["mariadb", GALERA], indirect=True)


# starts a worker's process: idempotent or not, on which event loop, with how many PHP workers of which FPM
StartWorker = Callable[..., "subprocess.Popen[bytes]"]


# performs a statement in the test's database, and commits
Execute = Callable[[str], object]


@pytest.fixture
def execute(jobs_url: str) -> Execute:
    """Performs statements in the database of a test."""
    return partial(perform, jobs_url)


class OpenJobs(Protocol):
    """Opens `Jobs` on the test's database until the test ends; several have connections of their own."""

    async def __call__(self, **settings: Any) -> Jobs: ...


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out event loops on servers, whose tests take long: what differs there is SQL, on a thread of its own."""
    left_out = {item for item in items if any(loop in item.name for loop in _left_out_loops(item.nodeid))}
    config.hook.pytest_deselected(items=[*left_out])
    items[:] = [item for item in items if item not in left_out]


def _left_out_loops(nodeid: str) -> tuple[str, ...]:
    if "galera" in nodeid or "mariadb" in nodeid:
        return "uvloop", "trio"
    on_server = "postgres" in nodeid or ("conformance" in nodeid and "sqlite" not in nodeid)
    return ("uvloop",) if on_server or "test_failover" in nodeid else ()


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """A PostgreSQL that all tests share: make schemas, and do not stop it."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDB]:
    """A MariaDB that all tests share: make databases, and do not stop it."""
    with MariaDB() as server:
        yield server


@pytest.fixture(scope="session")
def galera() -> Iterator[Galera]:
    """A cluster of one node that all tests share, likewise."""
    with Galera() as server:
        yield server


@pytest.fixture
def encoded_url(request: pytest.FixtureRequest, postgres: Postgres) -> Iterator[str]:
    """A PostgreSQL database in an encoding."""
    name = f"encoded_{secrets.token_hex(8)}"
    how = f"OWNER jobs ENCODING '{request.param}' TEMPLATE template0 LC_COLLATE 'C' LC_CTYPE 'C'"
    postgres.execute(f"CREATE DATABASE {name} {how}")
    yield f"postgresql://jobs@{quote(str(postgres.directory), safe='')}/{name}"
    postgres.execute(f"DROP DATABASE {name} (FORCE)")


@pytest.fixture(params=["sqlite", "postgres", "mariadb"])
def jobs_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """An empty database of the test's own, of each kind; `@ON_SQLITE` and the like for tests of one kind.

    `@ON_EACH` is for what a store promises, on a cluster's node too.
    """
    if request.param == "sqlite":
        yield f"sqlite://{tmp_path / 'jobs.db'}"
        return
    server: Server = request.getfixturevalue(request.param)
    name = f"test_{secrets.token_hex(8)}"
    yield server.empty(name)
    server.drop(name)


@pytest.fixture
def make_store(jobs_url: str) -> MakeStore:
    """Makes stores in the test's database."""
    return lambda: find_store(jobs_url)


@pytest.fixture
async def open_jobs(anyio_backend: tuple[str, dict[str, Any]], jobs_url: str) -> AsyncIterator[OpenJobs]:
    """Opens `Jobs` on the test's database."""
    async with AsyncExitStack() as stack:

        async def open_jobs(**settings: Any) -> Jobs:
            return await stack.enter_async_context(Jobs(jobs_url, **{"lease": LEASE, **settings}))

        yield open_jobs


@pytest.fixture
async def store(anyio_backend: tuple[str, dict[str, Any]], make_store: MakeStore) -> AsyncIterator[Store]:
    """An open store in an empty database."""
    async with AsyncExitStack() as stack:
        store = make_store()
        await store.open()
        stack.push_async_callback(store.aclose)
        yield store


@pytest.fixture
def start_worker(request: pytest.FixtureRequest, fpm: LocalFPM) -> Iterator[StartWorker]:
    """Starts workers as processes, on the test's database unless told otherwise; they are killed at its end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(
        *,
        idempotent: bool = True,
        backend: str = "asyncio",
        share: int = SHARE,
        address: str = fpm.address,
        url: str | None = None,
    ) -> subprocess.Popen[bytes]:
        said = "yes" if idempotent else "no"
        arguments = [
            url or request.getfixturevalue("jobs_url"),
            str(LEASE),
            address,
            str(share),
            str(AHEAD),
            said,
            backend,
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.worker_process", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def begun(marks: Path) -> Counter[str]:
    """How often each job has begun."""
    lines = marks.read_text().splitlines() if marks.exists() else []
    return Counter(line.split()[0] for line in lines if line.endswith("+"))
