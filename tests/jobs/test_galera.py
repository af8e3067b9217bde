"""What a MariaDB cluster needs, tested on one node: several addresses, and rows that others may change first."""

from __future__ import annotations

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import anyio
import anyio.to_thread
import pytest

from fcgi_async import ConfigurationError, Dispatcher, LocalFPM
from fcgi_async.jobs import Jobs, StoreUnavailable, Worker
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Lane, Limits, Query
from fcgi_async.jobs.sql.claiming import _pass_over
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.sql.store import SQLStore
from fcgi_async.jobs.store import Store
from tests.eventually import eventually
from tests.jobs.conftest import Execute, begun
from tests.jobs.polling import until
from tests.jobs.records import MAIL, claim, finish, job
from tests.jobs.servers import Galera, perform
from tests.jobs.tcp_proxy import TcpProxy
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio

JOBS = 200
ON_GALERA = pytest.mark.parametrize("jobs_url", ["galera"], indirect=True)
# what the server does is the same on every loop
ON_ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.fixture
def own_galera() -> Iterator[Galera]:
    """A node of the test's own."""
    with Galera(durable=True) as server:
        yield server


@pytest.fixture
def addresses(galera: Galera) -> Iterator[list[TcpProxy]]:
    """Two addresses of the shared node."""
    with ExitStack() as stack:
        yield [stack.enter_context(TcpProxy(galera.socket)) for _ in range(2)]


def url(addresses: list[TcpProxy], database: str) -> str:
    """The URL of a database with several addresses."""
    hosts = ",".join(f"127.0.0.1:{address.port}" for address in addresses)
    return f"mysql://jobs@{hosts}/{database}"


def test_an_address_is_split_into_hosts_and_ports() -> None:
    """What is shown has no password."""
    address = Address("mysql://jobs:secret@a:1,b,[::1]:2/jobs")
    assert address.hosts == (("a", 1), ("b", 0), ("::1", 2))
    assert str(address) == "the MySQL database 'jobs' on a, b, ::1"
    with pytest.raises(ConfigurationError, match="cannot be read"):
        Address("mysql://jobs:secret@a:1,b:c/jobs")


@ON_ONE_LOOP
@ON_GALERA
async def test_an_address_without_a_server_is_skipped(jobs_url: str, addresses: list[TcpProxy]) -> None:
    addresses[0].end()
    store = find_store(url(addresses, Address(jobs_url).settings["database"]))
    await store.open()
    assert await store.put([job()]) == [None]
    await store.aclose()


@ON_ONE_LOOP
@ON_GALERA
async def test_a_node_that_is_not_ready_is_skipped(
    jobs_url: str, addresses: list[TcpProxy], own_galera: Galera
) -> None:
    """For example one that has lost the others; a store that is connected to it goes on with another node."""
    database = Address(jobs_url).settings["database"]
    own_galera.empty(database)
    with TcpProxy(own_galera.socket) as unready:
        store = find_store(url([unready, addresses[0]], database))
        await store.open()
        await store.put([job()])
        own_galera.execute("SET GLOBAL wsrep_reject_queries = ALL")
        with pytest.raises(StoreUnavailable, match="name the other nodes"):
            await store.put([job()])
        assert await store.put([job()]) == [None]
        await store.aclose()
    assert perform(jobs_url, "SELECT COUNT(*) FROM fcgi_jobs") == [(1,)]


@ON_GALERA
@pytest.mark.parametrize("fault", [TcpProxy.end, TcpProxy.silence])
async def test_a_worker_goes_on_with_another_address(
    jobs_url: str,
    addresses: list[TcpProxy],
    fpm: LocalFPM,
    tmp_path: Path,
    fault: Callable[[TcpProxy], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Although the first one does not answer any more; each job runs once."""
    monkeypatch.setattr("fcgi_async.jobs.sql.mysql_address._ANSWER_ONE", 2)
    marks, task = tmp_path / "marks", make_task(idempotent=False)
    async with (
        Jobs(url(addresses, Address(jobs_url).settings["database"])) as jobs,
        Jobs(jobs_url) as others,
        Dispatcher(fpm.address, max_children=2) as php,
    ):
        await others.enqueue_many((task, {"marks": str(marks), "milliseconds": 5}) for _ in range(JOBS))
        worker = Worker(php, jobs, [task])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await eventually(lambda: sum(begun(marks).values()) > JOBS // 3)
            fault(addresses[0])
            await until(lambda: _done(others, JOBS))
            worker.stop()
        assert {record.failed for record in await others.find(limit=JOBS)} == {0}
    assert Counter(begun(marks).values()) == {1: JOBS}


@ON_ONE_LOOP
@pytest.mark.parametrize("fault", ["stopped", "left"])
async def test_a_worker_goes_on_when_its_node_is_back(
    own_galera: Galera, fpm: LocalFPM, tmp_path: Path, fault: str
) -> None:
    """The node is stopped for a while, or shut down and started again."""
    marks, task = tmp_path / "marks", make_task(idempotent=False)
    async with Jobs(own_galera.empty("here")) as jobs, Dispatcher(fpm.address, max_children=2) as php:
        await jobs.enqueue_many((task, {"marks": str(marks), "milliseconds": 5}) for _ in range(JOBS))
        worker = Worker(php, jobs, [task])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await eventually(lambda: sum(begun(marks).values()) > JOBS // 3)
            if fault == "stopped":
                os.kill(own_galera.pid, signal.SIGSTOP)
                # after a whole second Galera commits slowly for half a minute
                await anyio.sleep(0.3)
                os.kill(own_galera.pid, signal.SIGCONT)
            else:
                await anyio.to_thread.run_sync(own_galera.leave)
                await anyio.to_thread.run_sync(own_galera.start)
            await eventually(lambda: len(begun(marks)) == JOBS, within=60)
            await until(lambda: _none_left(jobs), within=60)
            worker.stop()
    assert Counter(begun(marks).values()) == {1: JOBS}


async def _done(jobs: Jobs, count: int) -> bool:
    return (await jobs.counts()).states["done"] == count


async def _none_left(jobs: Jobs) -> bool:
    states = (await jobs.counts()).states
    return states["ready"] == states["running"] == 0


@ON_ONE_LOOP
@ON_GALERA
async def test_a_transaction_that_was_rolled_back_is_repeated(store: Store, jobs_url: str) -> None:
    """For example by an ALTER TABLE, which rolls back open transactions on every node; no call fails."""
    over = threading.Event()

    def alter() -> None:
        while not over.is_set():
            perform(jobs_url, "ALTER TABLE fcgi_jobs COMMENT = 'one'")
            perform(jobs_url, "ALTER TABLE fcgi_jobs COMMENT = 'other'")

    await store.register("w", MAIL)
    thread = threading.Thread(target=alter)
    thread.start()
    try:
        for _ in range(50):
            await store.put([job() for _ in range(5)])
            claimed = await claim(store, 5)
            assert len(claimed) == 5
            for each in claimed:
                assert await finish(store, each)
    finally:
        over.set()
        await anyio.to_thread.run_sync(thread.join)
    assert {record.state for record in await store.find(Query(limit=1000))} == {"done"}


@ON_ONE_LOOP
@ON_GALERA
async def test_a_transaction_is_rolled_back_as_a_whole(store: Store, jobs_url: str) -> None:
    """If several statements were in one message, a node would perform the rest as transactions of their own."""
    assert isinstance(store, SQLStore)
    perform(jobs_url, "CREATE TABLE counted (number int PRIMARY KEY, count int)")
    perform(jobs_url, "INSERT INTO counted VALUES (1, 0), (2, 0)")
    begun = threading.Event()

    def count(dialect: Dialect) -> None:
        # until it is forced back; the second time it goes through
        seconds = 0 if begun.is_set() else 60
        begun.set()
        changes = [f"UPDATE counted SET count = count + 1 WHERE number = {number}" for number in (1, 2)]
        dialect.ask([(changes[0], {}), (f"DO SLEEP({seconds})", {}), (changes[1], {})])

    async with anyio.create_task_group() as group:
        group.start_soon(store._committer.call, count)
        await anyio.to_thread.run_sync(begun.wait, 30)
        sleeping = "SELECT 1 FROM information_schema.processlist WHERE info = 'DO SLEEP(60)'"
        await eventually(lambda: perform(jobs_url, sleeping))
        await anyio.to_thread.run_sync(perform, jobs_url, "ALTER TABLE counted COMMENT = 'other'")
    assert perform(jobs_url, "SELECT count FROM counted") == [(1,), (1,)]


@ON_ONE_LOOP
@ON_GALERA
async def test_a_claim_changes_the_row_of_its_worker(store: Store, execute: Execute) -> None:
    """So another node cannot consider it dead at the same time; the row of a limit likewise."""
    limited = [Lane(queue="default", weight=1, tasks=(Limits(task="mail", on_loss="again", attempts=5, running=9),))]
    await store.register("w", limited)
    await store.put([job(), job()])
    seen: set[object] = set()
    for _ in range(2):
        assert len((await store.claim("w", limited, 1, durable=False)).jobs) == 1
        seen.add(str(execute("SELECT seen, lease FROM fcgi_workers")))
        seen.add(str(execute("SELECT arrival FROM fcgi_rates")))
    assert len(seen) == 4


@ON_ONE_LOOP
@ON_GALERA
async def test_a_comparison_after_a_reconnect_changes_the_row_of_its_worker(store: Store, execute: Execute) -> None:
    """A claim that is still on its way through another node then comes too late."""
    await store.register("w", MAIL)
    before = execute("SELECT seen, lease FROM fcgi_workers")
    store._dialect.disconnect()  # type: ignore[attr-defined]
    await store.reconcile("w", [])
    assert execute("SELECT seen, lease FROM fcgi_workers") != before


@ON_ONE_LOOP
@ON_GALERA
async def test_partly_created_tables_are_completed(jobs_url: str) -> None:
    """For example after a process was killed, or while one on another node creates them."""
    store = find_store(jobs_url)
    await store.open()
    await store.aclose()
    perform(jobs_url, "DELETE FROM fcgi_schema")
    perform(jobs_url, "DROP TABLE fcgi_rates")
    perform(jobs_url, "DROP INDEX fcgi_jobs_kept ON fcgi_jobs")
    await store.open()
    assert await store.check() == []
    await store.aclose()
    assert perform(jobs_url, "SHOW TABLES LIKE 'fcgi_rates'")
    assert perform(jobs_url, "SHOW INDEX FROM fcgi_jobs WHERE Key_name = 'fcgi_jobs_kept'")


def test_a_claim_skips_jobs_of_equal_priority_only() -> None:
    """None of a higher priority is skipped, and enough jobs are left."""
    rows = [(number, 1 if number < 10 else 0, 0) for number in range(20)]
    found = {tuple(row[0] for row in _pass_over(rows, 3, 100)) for _ in range(1000)}
    assert found == {(first, first + 1, first + 2) for first in range(8)}
    assert _pass_over(rows[9:], 3, 100) == rows[9:12]
    assert _pass_over(rows, 3, 0) == rows[:3]
    assert _pass_over([], 3, 5) == []
