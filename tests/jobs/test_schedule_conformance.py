"""What every store does by the clock, whatever its database; and what a worker makes of it."""

from __future__ import annotations

from datetime import datetime
from itertools import pairwise
from pathlib import Path

import anyio
import pytest

from fcgi_async import ConfigurationError, Dispatcher, LocalFPM
from fcgi_async.jobs import Cron, Jobs, Worker
from fcgi_async.jobs.record import Query
from fcgi_async.jobs.sql.sqlite_store import SQLiteStore
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_EACH, MakeStore, OpenJobs
from tests.jobs.polling import until
from tests.jobs.test_worker import task, working

pytestmark = pytest.mark.anyio

MAIL = task("mail")
SECONDS = Cron("seconds", "* * * * * *", MAIL, {"x": 1}, missed="all")
YEARLY = Cron("yearly", "0 0 1 1 *", MAIL)


async def ids(store: Store) -> list[str]:
    return [record.id for record in await store.find(Query(limit=1000))]


@ON_EACH
async def test_a_schedule_starts_with_its_first_worker(store: Store) -> None:
    await store.begin_crons([SECONDS, YEARLY])
    wait = await store.tick([SECONDS, YEARLY])
    assert wait is not None
    assert 0 < wait <= 1
    wait = await store.tick([YEARLY])
    assert wait is not None
    assert wait > 1
    assert await store.tick([]) is None


@ON_EACH
async def test_many_workers_put_each_time_once(store: Store, make_store: MakeStore) -> None:
    other = make_store()
    await other.open()
    for each in (store, other):
        await each.begin_crons([SECONDS])

    async def look(source: Store) -> None:
        while len(await ids(source)) < 3:
            wait = await source.tick([SECONDS])
            await anyio.sleep(min(wait or 0, 0.05))

    with anyio.fail_after(30):
        async with anyio.create_task_group() as tasks:
            for source in (store, other, store):
                tasks.start_soon(look, source)
    records = await store.find(Query())
    stamps = [record.id for record in records]
    assert len(stamps) == len(set(stamps))
    # no second was left out, and the data is what it was
    times = [datetime.strptime(stamp, "seconds:%Y%m%dT%H%M%S%z") for stamp in sorted(stamps)]
    assert {(after - before).total_seconds() for before, after in pairwise(times)} == {1}
    assert {(record.task, record.data, record.state) for record in records} == {("mail", '{"x":1}', "ready")}
    await other.aclose()


# the clock, on SQLite, which takes one from outside


@pytest.fixture
async def clock(anyio_backend: object, tmp_path: Path) -> list[float]:
    """2026-01-01 00:00 UTC."""
    return [1_767_225_600.0]


@pytest.fixture
async def clocked(clock: list[float], tmp_path: Path) -> Store:
    store = SQLiteStore(tmp_path / "clocked.db", clock=lambda: clock[0])
    await store.open()
    return store


async def test_a_stepped_clock(clocked: Store, clock: list[float]) -> None:
    """Forward, times are missed; back, those that were put are not put again, and later ones are."""
    hourly = Cron("hourly", "0 * * * *", MAIL, missed="once")
    await clocked.begin_crons([hourly])
    clock[0] += 3600
    assert await clocked.tick([hourly]) == 3600
    clock[0] += 5 * 3600 + 1800
    assert await clocked.tick([hourly]) == 1800
    assert await ids(clocked) == ["hourly:20260101T010000Z", "hourly:20260101T060000Z"]
    clock[0] -= 3 * 3600
    assert await clocked.tick([hourly]) == 4 * 3600 - 1800
    clock[0] += 3 * 3600 + 1800
    await clocked.tick([hourly])
    assert await ids(clocked) == [f"hourly:20260101T0{hour}0000Z" for hour in (1, 6, 7)]
    await clocked.aclose()


async def test_a_schedule_continues_after_a_clock_was_far_ahead(clocked: Store, clock: list[float]) -> None:
    hourly = Cron("hourly", "0 * * * *", MAIL)
    await clocked.begin_crons([hourly])
    clock[0] += 100 * 86400
    await clocked.tick([hourly])
    clock[0] -= 99 * 86400
    assert await clocked.tick([hourly]) == 3600
    clock[0] += 3600
    await clocked.tick([hourly])
    assert len(await ids(clocked)) == 2
    await clocked.aclose()


async def test_a_changed_line_restarts_the_schedule(clocked: Store, clock: list[float]) -> None:
    """What it would have meant before is not put; the same line goes on where it was."""
    await clocked.begin_crons([Cron("a", "0 * * * *", MAIL), Cron("b", "0 * * * *", MAIL)])
    clock[0] += 5400
    crons = [Cron("a", "0  * * * *", MAIL), Cron("b", "*/30 * * * *", MAIL)]
    await clocked.begin_crons(crons)
    await clocked.tick(crons)
    assert await ids(clocked) == ["a:20260101T010000Z"]
    await clocked.aclose()


# with a worker


async def test_workers_run_the_jobs_of_schedules(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    """Two of them; what is put before both look is put once."""
    jobs, data = await open_jobs(), {"marks": str(tmp_path / "marks")}
    schedule = Cron("seconds", "* * * * * *", MAIL, data)
    async with (
        working(fpm, jobs, MAIL, schedules=[schedule]),
        working(fpm, await open_jobs(), MAIL, schedules=[schedule]),
    ):
        await until(lambda: _are_done(jobs, 2))
    lines = (tmp_path / "marks").read_text().split("\n")
    begun = [line.split()[0] for line in lines if line.endswith("+")]
    assert len(begun) == len(set(begun))


async def test_wrong_schedules_of_a_worker_are_refused(open_jobs: OpenJobs) -> None:
    jobs, php = await open_jobs(), Dispatcher("unix:///none.sock", max_children=1)
    with pytest.raises(ConfigurationError, match="must be Crons"):
        Worker(php, jobs, [MAIL], schedules=["15 3 * * *"])  # type: ignore[list-item]
    with pytest.raises(ConfigurationError, match="two Crons of the same name"):
        Worker(php, jobs, [MAIL], schedules=[SECONDS, SECONDS])


async def _are_done(jobs: Jobs, count: int) -> bool:
    return len(await jobs.find(states=["done"])) >= count
