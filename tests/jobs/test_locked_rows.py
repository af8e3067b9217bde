"""Workers go on while other transactions keep jobs locked: the application may write to the tables, too."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anyio
import psycopg
import pytest

from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.jobs import Jobs, Worker
from fcgi_async.jobs.record import NewBatch, Query, Settlement
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import LEASE, ON_SERVERS, Execute, OpenJobs
from tests.jobs.polling import until
from tests.jobs.records import MAIL, claim, finish, job
from tests.jobs.test_store_conformance import the
from tests.jobs.test_worker import Gate
from tests.jobs.worker_process import make_task

pytestmark = [pytest.mark.anyio, ON_SERVERS, pytest.mark.usefixtures("quick")]
# what the server does is the same on every loop
ON_ONE_LOOP = pytest.mark.parametrize("anyio_backend", ["asyncio"])


class Stranger:
    """A transaction of another program."""

    def __init__(self, url: str) -> None:
        self._connection = Address(url).connect() if url.startswith("mysql:") else psycopg.connect(url)
        if url.startswith("mysql:"):
            self._connection.begin()  # type: ignore[union-attr]

    def change(self, statement: str) -> None:
        """Change rows, and keep them locked."""
        self._connection.cursor().execute(statement)

    def commit(self) -> None:
        """End it."""
        self._connection.commit()

    def close(self) -> None:
        """Take it back, if it has not ended; the server has done so when this returns."""
        self._connection.rollback()
        self._connection.close()


@contextmanager
def stranger(url: str, *statements: str) -> Iterator[Stranger]:
    """An open transaction that has performed statements."""
    stranger = Stranger(url)
    try:
        for statement in statements:
            stranger.change(statement)
        yield stranger
    finally:
        stranger.close()


def lock(number: int) -> str:
    """A statement that locks a job."""
    return f"UPDATE fcgi_jobs SET trace = 'mine' WHERE number = {number}"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server refuses to wait for locks, as far as it can: no statement of a worker may wait."""
    monkeypatch.setattr("fcgi_async.jobs.sql.server_store._LONGEST_WAIT", 0.2)


@pytest.fixture
async def announced(store: Store) -> Store:
    """A store with a worker."""
    await store.register("w", MAIL)
    return store


@ON_ONE_LOOP
async def test_claims_skip_locked_jobs(announced: Store, jobs_url: str) -> None:
    """Both ready ones, and delayed ones that are due."""
    store = announced
    jobs = [job(), job(), job(delay=0.01), job(delay=0.01)]
    await store.put(jobs)
    locked = [(await the(store, each.id)).number for each in (jobs[0], jobs[2])]
    with stranger(jobs_url, *map(lock, locked)):
        found: list[str] = []

        async def all_others() -> bool:
            found.extend(claimed.id for claimed in await claim(store, 9))
            return len(found) >= 2

        await until(all_others)
        assert found == [jobs[1].id, jobs[3].id]
    assert {claimed.id for claimed in await claim(store, 9)} == {jobs[0].id, jobs[2].id}


@ON_ONE_LOOP
async def test_ends_of_locked_jobs_are_written_when_they_are_free(announced: Store, jobs_url: str) -> None:
    """The ends of other jobs are written at once; the other transaction's changes count."""
    store = announced
    await store.put([job(), job()])
    first, second = await claim(store, 2)
    done = [
        Settlement(
            number=each.number, id=each.id, attempt=each.attempt, state="delayed", delay=60.0, counts=True, error="busy"
        )
        for each in (first, second)
    ]
    completes = f"UPDATE fcgi_jobs SET state = 'done', finished = 1 WHERE number = {first.number}"
    with stranger(jobs_url, completes) as script:
        assert await store.settle("w", done) == [None, True]
        assert (await the(store, first.id)).worker == "w"
        script.commit()
    assert await store.settle("w", done[:1]) == [True]
    assert ((await the(store, first.id)).state, (await the(store, second.id)).state) == ("done", "delayed")


@ON_ONE_LOOP
@pytest.mark.parametrize(("commits", "state"), [(True, "done"), (False, "ready")])
async def test_locked_jobs_of_a_dead_worker_are_decided_when_they_are_free(
    announced: Store, jobs_url: str, execute: Execute, commits: bool, state: str
) -> None:
    """As when a script that completes its job outlives the worker. The worker's other jobs are decided at once."""
    store = announced
    await store.put([job(), job()])
    first, second = await claim(store, 2)
    execute("UPDATE fcgi_workers SET lease = seen - 1")
    completes = f"UPDATE fcgi_jobs SET state = 'done', finished = 1 WHERE number = {first.number}"
    with stranger(jobs_url, completes) as script:
        assert await store.recover() == 1
        assert (await the(store, second.id)).state == "ready"
        assert (await the(store, first.id)).worker == "w"
        assert await store.recover() == 0
        if commits:
            script.commit()

    async def is_decided() -> bool:
        return await store.recover() == 1

    await until(is_decided)
    record = await the(store, first.id)
    assert (record.state, record.worker) == (state, None)


@ON_ONE_LOOP
async def test_locked_jobs_are_given_back_later(announced: Store, jobs_url: str) -> None:
    """A comparison says that some are left. A leaving worker gives back free ones; others decide about ended ones."""
    store = announced
    await store.put([job(), job(), job()])
    first, second, third = await claim(store, 3)
    with stranger(jobs_url, lock(first.number)):
        compared = await store.reconcile("w", [second, third])
        assert (compared.given_back, compared.complete, compared.lost) == (0, False, frozenset())
        await store.leave("w", [second.key])
    states = {record.id: (record.state, record.worker) for record in await store.find(Query())}
    assert states == {first.id: ("running", "w"), second.id: ("running", "w"), third.id: ("ready", None)}
    assert await store.recover() == 2


@ON_ONE_LOOP
async def test_sweep_and_purge_skip_locked_jobs(announced: Store, jobs_url: str) -> None:
    store = announced
    await store.put([job(), job(), job(), job()])
    for claimed, keep in zip(await claim(store, 4), (0.0, 0.0, 60.0, 60.0), strict=True):
        settlement = Settlement(number=claimed.number, id=claimed.id, attempt=1, state="done", keep=keep)
        assert await store.settle("w", [settlement]) == [True]
    first, second, third, fourth = await store.find(Query())
    with stranger(jobs_url, lock(first.number), lock(third.number)):
        swept: list[int] = []

        async def is_swept() -> bool:
            swept.append(await store.sweep())
            return sum(swept) == 1

        await until(is_swept)
        assert await store.change("purge", Query()) == 1
        assert [record.id for record in await store.find(Query())] == [first.id, third.id]
        assert await store.note(second.id, "gone") is False
    assert fourth.id != second.id


@ON_ONE_LOOP
async def test_sweep_and_schedules_skip_locked_rows(announced: Store, jobs_url: str, execute: Execute) -> None:
    """Batches and schedules that others keep locked are left for later."""
    store, cron = announced, Cron("often", "* * * * *", make_task(idempotent=True))
    for id in ("one", "two"):
        await store.make_batch(NewBatch(id=id), 60)
    await store.begin_crons([cron])
    execute("UPDATE fcgi_batches SET open_until = 1")
    locks = [
        "UPDATE fcgi_batches SET total = 0 WHERE id = 'one'",
        "UPDATE fcgi_crons SET tick = tick - 60000 WHERE name = 'often'",
    ]
    with stranger(jobs_url, *locks) as other:
        await store.sweep()
        batches = [await store.find_batch(id) for id in ("one", "two")]
        assert [batch and batch.open for batch in batches] == [True, False]
        assert await store.tick([cron]) == 1.0
        other.commit()
    await store.tick([cron])
    assert [record.task for record in await store.find(Query())] == ["job"]


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that is opened at the end of the test, if not before."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


async def test_a_worker_goes_on_while_jobs_are_locked(
    open_jobs: OpenJobs, jobs_url: str, fpm: LocalFPM, gate: Gate, caplog: pytest.LogCaptureFixture
) -> None:
    """It keeps its lease, runs other jobs, and writes the end of a locked job later, with a warning."""
    jobs, task = await open_jobs(lease=LEASE), make_task(idempotent=True)
    async with Dispatcher(fpm.address, max_children=1) as php:
        worker = Worker(php, jobs, [task])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(task, {"gate": str(gate)})
            await until(lambda: _runs(jobs, handle.id))
            number = (await handle.record()).number
            with stranger(jobs_url, lock(number)):
                gate.open()
                for _ in range(5):
                    assert (await (await jobs.enqueue(task)).wait(30)).state == "done"
                await until(lambda: _says(caplog, f"job {handle.id} ended as done, and a transaction that is not ours"))
                assert (await handle.record()).state == "running"
            assert (await handle.wait(30)).state == "done"
            worker.stop()
    assert (worker.statistics().lost, worker.in_hand) == (0, 0)


async def test_a_leaving_worker_waits_for_locked_jobs(
    open_jobs: OpenJobs,
    jobs_url: str,
    fpm: LocalFPM,
    gate: Gate,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It waits briefly, and writes the end if they are free by then."""
    monkeypatch.setattr("fcgi_async.jobs.supply._LAST_WORDS", 60.0)
    jobs, task = await open_jobs(), make_task(idempotent=False)
    async with Dispatcher(fpm.address, max_children=1) as php:
        worker = Worker(php, jobs, [task])
        handle = await jobs.enqueue(task, {"gate": str(gate)})
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            await until(lambda: _runs(jobs, handle.id))
            with stranger(jobs_url, lock((await handle.record()).number)):
                worker.stop()
                gate.open()
                await until(lambda: _says(caplog, "this is written once that ends"))
    assert (await handle.record()).state == "done"


async def _runs(jobs: Jobs, id: str) -> bool:
    return (await jobs.get(id)).state == "running"


async def _says(caplog: pytest.LogCaptureFixture, what: str) -> bool:
    return what in caplog.text


@ON_ONE_LOOP
async def test_waiting_for_a_unique_key_does_not_cost_a_worker_its_lease(
    open_jobs: OpenJobs, jobs_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A put in the same process that waits for an open transaction's unique key gives up long before."""
    monkeypatch.setattr("fcgi_async.jobs.sql.server_store._LONGEST_WAIT", 10.0)
    jobs = await open_jobs(lease=LEASE)
    held = "INSERT INTO fcgi_jobs (task, data, unique_key, unique_until) VALUES ('job', 'null', '7', 1)"
    with stranger(jobs_url, held):
        await jobs.store.register("w", MAIL)
        await jobs.store.put([job()])
        [claimed] = await claim(jobs.store)
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(_put_in_vain, jobs.store)
            for _ in range(5):
                await anyio.sleep(LEASE / 5)
                assert await jobs.store.renew("w")
    assert await finish(jobs.store, claimed)


async def _put_in_vain(store: Store) -> None:
    with pytest.raises(Exception, match="kept rows"):
        await store.put([job("job", unique="7")])
