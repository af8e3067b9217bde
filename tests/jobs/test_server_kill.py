"""Killed database servers, workers that are frozen for longer than their lease, and lost answers."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import anyio
import pytest

from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.jobs import Jobs, StoreUnavailable, Worker
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Query
from tests.conftest import StartFPM
from tests.eventually import eventually
from tests.jobs.commit_proxy import CommitProxy
from tests.jobs.conftest import AHEAD, LEASE, ON_POSTGRES, ON_SERVERS, SHARE, Execute, OpenJobs, StartWorker, begun
from tests.jobs.polling import until
from tests.jobs.records import job
from tests.jobs.servers import Galera, MariaDB, Postgres, Server
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio

JOBS = 600
KILLS = 3
# what runs, what lies ahead, and ends that are being written
MOST_IN_HAND = SHARE + AHEAD + 2 * SHARE + AHEAD
SERVERS: dict[str, type[Server]] = {"postgres": Postgres, "mariadb": MariaDB, "galera": Galera}


@pytest.fixture(params=SERVERS)
def own_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A server of the test's own, which writes to disk what it acknowledges."""
    with SERVERS[request.param](durable=True) as server:
        yield server


@pytest.mark.timeout(300)
@pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])
@pytest.mark.parametrize(("workers", "idempotent"), [(1, True), pytest.param(2, False, marks=pytest.mark.long)])
async def test_nothing_is_lost_when_the_server_is_killed_three_times(
    own_server: Server,
    start_worker: StartWorker,
    tmp_path: Path,
    anyio_backend_name: str,
    workers: int,
    idempotent: bool,
) -> None:
    """Each job runs once, although the records of idempotent tasks were not on disk; no worker holds too many."""
    marks, task, url = tmp_path / "marks", make_task(idempotent=idempotent), own_server.empty("here")
    async with Jobs(url, lease=LEASE) as jobs:
        await jobs.enqueue_many((task, {"marks": str(marks), "milliseconds": 5}) for _ in range(JOBS))
    for _ in range(workers):
        start_worker(url=url, backend=anyio_backend_name, idempotent=idempotent)
    most = 0
    for kill in range(1, KILLS + 1):
        await eventually(lambda kill=kill: sum(begun(marks).values()) > kill * JOBS // (KILLS + 1), within=60)  # type: ignore[misc]
        await anyio.to_thread.run_sync(own_server.kill)
        await anyio.to_thread.run_sync(own_server.start)
        async with Jobs(url, lease=LEASE) as jobs:
            for _ in range(20):
                most = max(most, (await jobs.counts()).states["running"])
                await anyio.sleep(0.01)
    async with Jobs(url, lease=LEASE) as jobs:

        async def done() -> bool:
            return (await jobs.counts()).states["done"] == JOBS

        await until(done, within=120)
        assert {record.failed for record in await jobs.find(limit=JOBS)} == {0}
    assert Counter(begun(marks).values()) == {1: JOBS}
    assert 0 < most <= workers * MOST_IN_HAND


@ON_SERVERS
async def test_a_worker_notices_that_its_lease_is_over(
    open_jobs: OpenJobs, start_worker: StartWorker, fpm: LocalFPM, tmp_path: Path, execute: Execute
) -> None:
    """Its jobs went to others: the job that it ran is not settled again, and the jobs claimed ahead do not begin."""
    jobs, marks, gate = await open_jobs(), tmp_path / "marks", tmp_path / "gate"
    task = make_task(idempotent=True)
    handles = await jobs.enqueue_many((task, {"marks": str(marks), "gate": str(gate)}) for _ in range(2))
    frozen = start_worker(share=1)
    try:
        await eventually(lambda: len(begun(marks)) == 1)

        async def has_both() -> bool:
            return (await jobs.counts()).states["running"] == 2

        await until(has_both)
        frozen.send_signal(signal.SIGSTOP)
        [(lease,)] = cast("list[tuple[int]]", execute("SELECT lease FROM fcgi_workers"))
        async with Dispatcher(fpm.address, max_children=2) as php:
            worker = Worker(php, jobs, [task])
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run)

                async def has_taken_them() -> bool:
                    found = await jobs.find(states=["running"])
                    return [record.worker for record in found] == [worker.id] * 2

                await until(has_taken_them)
                assert all(1000 * (record.started or 0) >= lease for record in await jobs.find(states=["running"]))
                frozen.send_signal(signal.SIGCONT)
                await until(lambda: _workers(jobs, 2))
                gate.touch()
                for handle in handles:
                    assert (await handle.wait(30)).state == "done"
                worker.stop()
        records = [await handle.record() for handle in handles]
        assert [record.attempt for record in records] == [2, 2]
        assert sorted(begun(marks).values()) == [1, 2]
        # and works on
        assert (await (await jobs.enqueue(task, {})).wait(30)).state == "done"
    finally:
        gate.touch()
        frozen.send_signal(signal.SIGCONT)


@pytest.fixture
def proxy(postgres: Postgres) -> Iterator[CommitProxy]:
    """A proxy before the shared server."""
    with CommitProxy(postgres.directory) as proxy:
        yield proxy


@pytest.fixture
def proxied(jobs_url: str, postgres: Postgres, proxy: CommitProxy) -> str:
    """The test's database through the proxy."""
    name = jobs_url.rpartition("%3D")[2]
    return postgres.url(name, str(proxy.directory))


@ON_POSTGRES
@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_put_whose_commit_was_cut_off_may_be_stored(proxied: str, proxy: CommitProxy, where: str) -> None:
    """The error says so, and the same put again stores it once."""
    store, new = find_store(proxied), job(unique="7")
    await store.open()
    proxy.cut(where)  # type: ignore[arg-type]
    with pytest.raises(StoreUnavailable, match="do the same again") as caught:
        await store.put([new])
    assert caught.value.may_be_stored
    assert len(await store.find(Query())) == (1 if where == "after" else 0)
    assert await store.put([new]) == [None]
    assert len(await store.find(Query())) == 1
    await store.aclose()


@ON_POSTGRES
@pytest.mark.parametrize("where", ["before", "after"])
async def test_a_worker_whose_commits_are_cut_off_runs_each_job_once(
    proxied: str, open_jobs: OpenJobs, proxy: CommitProxy, fpm: LocalFPM, tmp_path: Path, where: str
) -> None:
    """An unknown claim is given back, and a settlement that was stored does not count as lost."""
    jobs, marks, task = await open_jobs(), tmp_path / "marks", make_task(idempotent=False)
    async with Jobs(proxied) as cut, Dispatcher(fpm.address, max_children=2) as php:
        await jobs.enqueue_many((task, {"marks": str(marks)}) for _ in range(100))
        worker = Worker(php, cut, [task])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            for at in range(10, 100, 15):
                await eventually(lambda at=at: len(begun(marks)) >= at)  # type: ignore[misc]
                proxy.cut(where)  # type: ignore[arg-type]
            await until(lambda: _done(jobs, 100))
            worker.stop()
    assert proxy.cuts >= 5
    assert Counter(begun(marks).values()) == {1: 100}
    assert worker.statistics().lost == 0


@ON_SERVERS
async def test_several_hosts_share_the_jobs(
    open_jobs: OpenJobs, start_worker: StartWorker, start_fpm: StartFPM, tmp_path: Path
) -> None:
    """Each worker is a process with a PHP-FPM of its own; every job runs once, and each worker runs some."""
    jobs, task, hosts = await open_jobs(), make_task(idempotent=True), 3
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    handles = await jobs.enqueue_many((task, {"marks": str(marks), "gate": str(gate)}) for _ in range(300))
    for _ in range(hosts):
        start_worker(address=(await start_fpm(max_children=2)).address)
    workers: set[str] = set()

    async def all_work() -> bool:
        workers.update(str(record.worker) for record in await jobs.find(states=["running"]))
        return len(workers) == hosts

    await until(all_work)
    gate.touch()
    await until(lambda: _done(jobs, len(handles)))
    assert Counter(begun(marks).values()) == {1: len(handles)}


async def _done(jobs: Jobs, count: int) -> bool:
    return (await jobs.counts()).states["done"] == count


async def _workers(jobs: Jobs, count: int) -> bool:
    return len((await jobs.counts()).workers) == count
