"""Who comes first, and how many: rates and limits over all hosts, weights, priorities, and jobs that do harm."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fcgi_async import LocalFPM
from fcgi_async.jobs import Backoff, Jobs, Rate, Task
from fcgi_async.jobs.record import Claimed, Lane, Query, Settlement
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_EACH, MakeStore, OpenJobs
from tests.jobs.polling import until
from tests.jobs.records import job
from tests.jobs.test_store_conformance import lane
from tests.jobs.test_worker import marks, task, working

pytestmark = [pytest.mark.anyio, ON_EACH]

POISON = Path(__file__).parent / "scripts" / "poison.php"


async def claim(store: Store, lanes: list[Lane], count: int = 100, worker: str = "worker-1") -> list[Claimed]:
    return list((await store.claim(worker, lanes, count, durable=False)).jobs)


@pytest.fixture
async def store(store: Store) -> Store:
    """An open store on which our workers are known."""
    for worker in ("worker-1", "worker-2"):
        await store.register(worker, [lane("mail"), lane("report")])
    return store


# across hosts, on every store


async def test_a_rate_applies_to_all_workers_together(store: Store, make_store: MakeStore) -> None:
    await store.put([job() for _ in range(50)])
    other, lanes = make_store(), [lane("mail", rate=(10, 36000.0))]
    await other.open()
    taken: list[str] = []

    async def take(source: Store, worker: str) -> None:
        for _ in range(10):
            taken.extend(claimed.id for claimed in await claim(source, lanes, 3, worker))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, store, "worker-1")
        tasks.start_soon(take, other, "worker-2")
    assert len(taken) == len(set(taken)) == 10
    await other.aclose()


async def test_a_limit_of_running_jobs_applies_to_all_workers_together(store: Store, make_store: MakeStore) -> None:
    await store.put([job() for _ in range(50)])
    other, lanes = make_store(), [lane("mail", running=3)]
    await other.open()
    most: list[int] = []

    async def take(source: Store, worker: str) -> None:
        for _ in range(10):
            claimed = await claim(source, lanes, 2, worker)
            most.append((await source.counts()).states["running"])
            ends = [Settlement(number=each.number, id=each.id, attempt=each.attempt, state="done") for each in claimed]
            assert all(await source.settle(worker, ends))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, store, "worker-1")
        tasks.start_soon(take, other, "worker-2")
    assert 1 < max(most) <= 3
    await other.aclose()


async def test_a_used_up_rate_tells_when_it_allows_more(store: Store) -> None:
    """The worker need not look until then, and not later."""
    await store.put([job() for _ in range(5)])
    found = await store.claim("worker-1", [lane("mail", rate=(2, 3600.0))], 9, durable=False)
    assert len(found.jobs) == 2
    assert found.wait is not None
    assert 900 < found.wait <= 1800


async def test_a_limited_task_does_not_block_its_queue(store: Store) -> None:
    await store.put([job(priority=9) for _ in range(5)] + [job("report")])
    limited, free = lane("mail", running=1).tasks[0], lane("report").tasks[0]
    lanes = [Lane(queue="default", weight=1, tasks=(limited, free))]
    assert [claimed.task for claimed in await claim(store, lanes)] == ["mail", "report"]


async def test_an_empty_queue_gives_its_turns_away(store: Store) -> None:
    await store.put([job("b") for _ in range(10)])
    lanes = [lane("a", queue="a", weight=3), lane("b", queue="b", weight=1)]
    assert len(await claim(store, lanes, 8)) == 8
    # and saves none up
    await store.put([job("a") for _ in range(8)] + [job("b") for _ in range(8)])
    tasks = [claimed.task for claimed in await claim(store, lanes, 8)]
    assert (tasks.count("a"), tasks.count("b")) == (6, 2)


async def test_many_due_jobs_keep_their_priorities(store: Store) -> None:
    """10,000 delayed ones are due: an urgent one still comes first, and none of them is lost."""
    await store.put([job(delay=0.001) for _ in range(10_000)])
    urgent = job(priority=1)
    await store.put([urgent])
    assert [claimed.id for claimed in await claim(store, [lane("mail")], 1)] == [urgent.id]

    async def are_ready() -> bool:
        await claim(store, [lane("mail")], 0)
        return (await store.counts()).states["delayed"] == 0

    await until(are_ready)
    assert (await store.counts()).states["ready"] == 10_000


async def test_a_claim_does_not_read_ten_thousand_delayed_jobs(store: Store) -> None:
    """A new one is claimed at once, however many are due before long."""
    await store.put([job(delay=3600) for _ in range(10_000)])
    new = job()
    await store.put([new])
    assert [claimed.id for claimed in await claim(store, [lane("mail")])] == [new.id]


# with workers


async def test_a_job_starts_as_soon_as_the_limit_allows(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The end of a job wakes the workers of others; nobody looks by himself here."""
    monkeypatch.setattr("fcgi_async.jobs.supply._LOOK", 600.0)
    jobs, single = await open_jobs(), task(running=1)
    data = {"marks": str(tmp_path / "marks"), "milliseconds": 5}
    async with working(fpm, jobs, single), working(fpm, await open_jobs(), single):
        await jobs.enqueue_many((single, data) for _ in range(12))
        await until(lambda: _are_done(jobs, 12))
    lines = [line.split()[-1] for line in (tmp_path / "marks").read_text().splitlines()]
    assert lines == ["+", "-"] * 12


async def test_a_rate_is_used_to_the_full(fpm: LocalFPM, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker comes back when the rate allows more, and not when it would look anyway."""
    monkeypatch.setattr("fcgi_async.jobs.supply._LOOK", 600.0)
    jobs, limited = await open_jobs(), task(rate=Rate(2, per=0.1))
    async with working(fpm, jobs, limited):
        handles = await jobs.enqueue_many((limited, None) for _ in range(10))
        await until(lambda: _are_done(jobs, 10))
    begun = sorted([float((await handle.record()).started or 0) for handle in handles])
    # a burst of two, then one each 50 ms
    assert begun[-1] - begun[0] > 0.39


async def test_a_poison_job_is_dead_in_the_end(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    """It kills each PHP worker that takes it; the others run meanwhile, and once each."""
    jobs, plain = await open_jobs(), task()
    poison = Task("poison", POISON, idempotent=True, attempts=3, backoff=Backoff(first=0))
    data = {"marks": str(tmp_path / "marks")}
    async with working(fpm, jobs, plain, poison):
        bad = await jobs.enqueue(poison, data, priority=9)
        handles = await jobs.enqueue_many((plain, data) for _ in range(50))
        record = await bad.wait(30)
        assert (record.state, record.failed) == ("dead", 3)
        await until(lambda: _are_done(jobs, 50))
    found = marks(tmp_path / "marks")
    assert found.pop(bad.id) == 3
    assert found == dict.fromkeys((handle.id for handle in handles), 1)


async def _are_done(jobs: Jobs, count: int) -> bool:
    return len(await jobs.store.find(Query(states=("done",), limit=1000))) == count


async def test_a_delayed_job_is_not_late(fpm: LocalFPM, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch) -> None:
    """An idle worker comes back when it is due, though it would look much later."""
    monkeypatch.setattr("fcgi_async.jobs.supply._LOOK", 600.0)
    jobs, plain = await open_jobs(), task()
    async with working(fpm, jobs, plain):
        assert (await (await jobs.enqueue(plain)).wait(30)).state == "done"
        later, sooner = await jobs.enqueue(plain, delay=0.4), await jobs.enqueue(plain, delay=0.2)
        for handle in (later, sooner):
            record = await handle.wait(30)
            assert record.started is not None
            assert record.started >= record.due
