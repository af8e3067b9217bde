"""PostgreSQL on several hosts, of which one at a time takes writes: which one is found, and when another takes over."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import anyio
import anyio.to_thread
import psycopg
import pytest

from fcgi_async import ConfigurationError, Dispatcher, LocalFPM
from fcgi_async.jobs import Jobs, StoreUnavailable, Worker
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Query
from fcgi_async.jobs.sql.postgres_address import Address
from tests.eventually import eventually
from tests.jobs.conftest import begun
from tests.jobs.polling import until
from tests.jobs.records import job
from tests.jobs.servers import Postgres, Standby
from tests.jobs.silent_proxy import SilentProxy
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio

JOBS = 300


@pytest.fixture(scope="module")
def shared_primary() -> Iterator[Postgres]:
    """A primary of this file's, which stays what it is."""
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def shared_standby(shared_primary: Postgres) -> Iterator[Standby]:
    """Its standby, which stays what it is."""
    with Standby(shared_primary) as server:
        yield server


@pytest.fixture
def primary() -> Iterator[Postgres]:
    """A primary of the test's own, which it may kill and freeze."""
    with Postgres() as server:
        yield server
        if server.running:
            server.thaw()
        else:
            # what was killed has left shared memory, which the next removes
            server.start()


@pytest.fixture
def standby(primary: Postgres) -> Iterator[Standby]:
    """Its standby, for which each durable commit waits."""
    with Standby(primary) as server:
        primary.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
        primary.execute("SELECT pg_reload_conf()")
        yield server


def url(*directories: Path, more: str = "") -> str:
    """The URL of a database on several hosts."""
    hosts = ",".join(quote(str(directory), safe="") for directory in directories)
    return f"postgresql://jobs@/jobs?host={hosts}{more}"


# which host it is


async def test_a_dead_host_is_skipped(shared_primary: Postgres, tmp_path: Path) -> None:
    store = find_store(url(tmp_path, shared_primary.directory))
    await store.open()
    assert await store.put([job()]) == [None]
    await store.aclose()


@pytest.mark.parametrize("more", ["", "&target_session_attrs=read-write", "&target_session_attrs=primary"])
async def test_a_standby_is_skipped(shared_standby: Standby, shared_primary: Postgres, more: str) -> None:
    """Whether or not the URL asks for that."""
    store = find_store(url(shared_standby.directory, shared_primary.directory, more=more))
    await store.open()
    assert await store.put([job()]) == [None]
    await store.aclose()


async def test_a_silent_host_is_tried_once(shared_primary: Postgres, tmp_path: Path) -> None:
    """It is waited for as long as connect_timeout says, and tried last from then on."""
    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(str(tmp_path / ".s.PGSQL.5432"))
        silent.listen()
        silent.setblocking(False)
        address = Address(url(tmp_path, shared_primary.directory))
        for _ in range(3):
            (await anyio.to_thread.run_sync(address.connect)).close()
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):
            silent.accept()


async def test_the_error_names_each_hosts_reason(shared_standby: Standby, tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="no host accepts a connection") as caught:
        await find_store(url(tmp_path, shared_standby.directory)).open()
    assert f"{tmp_path}: " in str(caught.value)
    assert f"{shared_standby.directory}: " in str(caught.value)
    assert "read-only" in str(caught.value)


def test_an_address_is_split_into_hosts_and_ports() -> None:
    """As many ports as hosts, or one for all; what is shown has no password."""
    url = "postgresql://jobs:secret@a:1,b:2,c/jobs?target_session_attrs=read-write"
    assert str(Address(url)) == "PostgreSQL's database 'jobs' on a,b,c"
    assert _places(url) == [("a", "1"), ("b", "2"), ("c", "")]
    assert _places("postgresql://jobs@/jobs?host=a,b&port=1") == [("a", "1"), ("b", "1")]
    with pytest.raises(ConfigurationError, match="cannot read the URL"):
        Address("postgresql://jobs:secret@/jobs?host=a,b,c&port=1,2")


def _places(url: str) -> list[tuple[str | None, str | None]]:
    return [(place.get("host"), place.get("port")) for place in Address(url)._places]


# who takes over


async def test_a_long_statement_is_waited_for(
    shared_standby: Standby, shared_primary: Postgres, tmp_path: Path
) -> None:
    """The server is no other for having two names, nor is it a standby."""
    (tmp_path / "same").symlink_to(shared_primary.directory)
    address = Address(url(shared_standby.directory, tmp_path / "same", shared_primary.directory))
    with address.connect() as connection:
        await anyio.to_thread.run_sync(connection.execute, "SELECT pg_sleep(5)")


def _kill(primary: Postgres, proxy: SilentProxy) -> None:
    primary.kill()


def _freeze(primary: Postgres, proxy: SilentProxy) -> None:
    primary.freeze()


def _cut_off(primary: Postgres, proxy: SilentProxy) -> None:
    proxy.silence()


def _stop(primary: Postgres, proxy: SilentProxy) -> None:
    primary.stop()


def _part(primary: Postgres, proxy: SilentProxy) -> None:
    """Nothing happens to the primary: it goes on without the standby, and answers."""


Fault = Callable[[Postgres, SilentProxy], None]


@pytest.mark.parametrize(
    ("fault", "idempotent"),
    [(_kill, True), (_freeze, False), (_cut_off, True), (_stop, False), (_stop, True), (_part, False)],
)
async def test_a_worker_continues_after_the_standby_has_taken_over(
    primary: Postgres, standby: Standby, fpm: LocalFPM, tmp_path: Path, fault: Fault, idempotent: bool
) -> None:
    """With synchronous replication every job runs once, whatever happened to the primary."""
    marks, task = tmp_path / "marks", make_task(idempotent=idempotent)
    with SilentProxy(primary.directory) as proxy:
        async with (
            Jobs(url(proxy.directory, standby.directory)) as jobs,
            Dispatcher(fpm.address, max_children=2) as php,
        ):
            await jobs.enqueue_many((task, {"marks": str(marks), "milliseconds": 5}) for _ in range(JOBS))
            worker = Worker(php, jobs, [task])
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run)
                await eventually(lambda: sum(begun(marks).values()) > JOBS // 3)
                await anyio.to_thread.run_sync(fault, primary, proxy)
                await anyio.to_thread.run_sync(standby.promote)
                await until(lambda: _done(jobs, JOBS))
                worker.stop()
            assert {record.failed for record in await jobs.find(limit=JOBS)} == {0}
    assert Counter(begun(marks).values()) == {1: JOBS}


async def test_a_listener_follows_to_the_new_server(primary: Postgres, standby: Standby) -> None:
    """A server that is frozen does not end the connection on which it would tell of jobs."""
    store, other = find_store(url(primary.directory, standby.directory)), find_store(url(standby.directory))
    await store.open()
    await store.wait("work", -1, 0)
    primary.freeze()
    standby.promote()
    with pytest.raises(StoreUnavailable, match="another one has replaced it"):
        await store.find(Query())
    assert await store.find(Query()) == []
    # whoever waits looks from time to time; a cut may have hidden something
    heard = await store.wait("work", -1, 0)
    with suppress(TimeoutError), anyio.fail_after(2):
        heard = await store.wait("work", heard, 60)
    await other.open()
    with anyio.fail_after(20):
        await other.put([job()])
        assert await store.wait("work", heard, 60) != heard
    await other.aclose()
    await store.aclose()


async def test_a_worker_survives_a_read_only_server(primary: Postgres, fpm: LocalFPM, tmp_path: Path) -> None:
    """As one does that is about to become a standby: no job fails of it, and it goes on with the first that does."""
    marks, task = tmp_path / "marks", make_task(idempotent=False)
    async with (
        Jobs(url(tmp_path, primary.directory)) as jobs,
        Dispatcher(fpm.address, max_children=2) as php,
    ):
        await jobs.enqueue_many((task, {"marks": str(marks), "milliseconds": 5}) for _ in range(JOBS))
        worker = Worker(php, jobs, [task])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await eventually(lambda: sum(begun(marks).values()) > JOBS // 3)
            _read_only(primary, "on")
            with pytest.raises(StoreUnavailable):
                while True:
                    await jobs.enqueue(task, {})
            _read_only(primary, "off")
            await until(lambda: _none_left(jobs))
            worker.stop()
        assert {record.state for record in await jobs.find(limit=2 * JOBS)} == {"done"}
    assert Counter(begun(marks).values()) == {1: JOBS}


def _read_only(server: Postgres, value: str) -> None:
    with psycopg.connect(host=str(server.directory), user="admin", dbname="jobs", autocommit=True) as connection:
        connection.execute("SET default_transaction_read_only = off")
        connection.execute(f"ALTER SYSTEM SET default_transaction_read_only = {value}".encode())
        connection.execute("SELECT pg_reload_conf()")


async def _done(jobs: Jobs, count: int) -> bool:
    with suppress(StoreUnavailable):
        return (await jobs.counts()).states["done"] == count
    return False


async def _none_left(jobs: Jobs) -> bool:
    with suppress(StoreUnavailable):
        states = (await jobs.counts()).states
        return states["ready"] == states["running"] == 0
    return False
