"""Many workers: each looks less often, and jobs are found all the same."""

from __future__ import annotations

from typing import cast

import pytest

from fcgi_async import LocalFPM
from fcgi_async.jobs import Task
from fcgi_async.jobs.crowd import stretch, wakes
from fcgi_async.jobs.sql.postgres_store import PostgresStore
from tests.eventually import eventually
from tests.jobs.conftest import ON_POSTGRES, ON_SERVERS, Execute, OpenJobs
from tests.jobs.test_worker import SCRIPT, working


@pytest.mark.parametrize(("workers", "times"), [(1, 1.0), (16, 1.0), (160, 10.0), (320, 20.0), (5000, 20.0)])
def test_each_of_many_workers_looks_less_often(workers: int, times: float) -> None:
    """All together look as often, and a lost worker is still found soon."""
    assert stretch(workers) == times


def test_about_16_workers_are_woken() -> None:
    """All of a few, and some of many."""
    assert all(wakes(16) for _ in range(1000))
    assert 300 < sum(wakes(160) for _ in range(5000)) < 700


@ON_POSTGRES
@pytest.mark.anyio
@pytest.mark.every_loop
async def test_some_of_many_workers_do_not_listen(store: PostgresStore, execute: Execute) -> None:
    """Their connections are closed, so that the server need not notify them; they listen again later."""
    store._lot = 0.5
    heard = await store.wait("work", -1, 0)
    # those of tests before are about to end
    await eventually(lambda: _listening(execute) == 1)
    store._crowd = 128
    assert await store.wait("work", heard, 0.01) == heard
    await eventually(lambda: _listening(execute) == 0)
    store._crowd = 127
    assert await store.wait("work", heard, 30) != heard
    assert _listening(execute) == 1


def _listening(execute: Execute) -> int:
    rows = execute("SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'LISTEN %' AND usename = 'jobs'")
    [(count,)] = cast("list[tuple[int]]", rows)
    return count


@ON_SERVERS
@pytest.mark.anyio
@pytest.mark.every_loop
async def test_a_job_is_found_by_one_of_5000_workers(fpm: LocalFPM, open_jobs: OpenJobs, execute: Execute) -> None:
    """Only one of the 5,000 registered workers runs, and it is rarely woken."""
    jobs, task = await open_jobs(), Task("job", str(SCRIPT))
    async with working(fpm, jobs, task):
        numbers = " UNION ALL SELECT ".join(map(str, range(10)))
        digits = f"(SELECT {numbers})"
        execute(
            "INSERT INTO fcgi_workers (id, host, pid, started, seen, lease) SELECT "
            "concat('w', a.n, b.n, c.n, d.n), 'h', 1, 1, 1, 9000000000000 FROM "
            + ", ".join(f"{digits.replace('SELECT 0', 'SELECT 0 AS n')} AS {name}" for name in "abcd")
            + " WHERE a.n < 5"
        )
        assert await jobs.store.recover() == 0
        assert jobs.store.crowd >= 5000
        for _ in range(3):
            assert (await (await jobs.enqueue(task)).wait(30)).state == "done"
