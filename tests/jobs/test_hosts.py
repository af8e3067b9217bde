"""Several hosts: processes with a PHP-FPM each, on one database, into which PHP puts jobs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import anyio
import pytest

from tests.conftest import StartFPM
from tests.jobs.conftest import ON_SERVERS, OpenJobs, StartWorker, begun
from tests.jobs.pdo import pdo_place
from tests.jobs.polling import until
from tests.jobs.test_php_side import LIBRARY
from tests.jobs.worker_process import make_task

PUT = Path(__file__).parent / "scripts" / "put.php"
HOSTS = 2

pytestmark = [pytest.mark.anyio, ON_SERVERS]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("anyio_backend", "count"),
    [("asyncio", 600), ("trio", 600), pytest.param("asyncio", 10_000, marks=pytest.mark.long)],
)
async def test_exactly_what_php_commits_runs(
    open_jobs: OpenJobs,
    jobs_url: str,
    start_worker: StartWorker,
    start_fpm: StartFPM,
    tmp_path: Path,
    anyio_backend_name: str,
    count: int,
) -> None:
    """A third of the transactions is rolled back, while workers take from the others; each of these runs once."""
    jobs, marks, place = await open_jobs(), tmp_path / "marks", pdo_place(jobs_url)
    for _ in range(HOSTS):
        start_worker(address=(await start_fpm(max_children=2)).address, backend=anyio_backend_name)
    workers: set[str] = set()

    async def all_work() -> bool:
        workers.update(str(record.worker) for record in await jobs.find(states=["running"]))
        return len(workers) == HOSTS

    async def nothing_is_left() -> bool:
        states = (await jobs.counts()).states
        return states["ready"] == states["running"] == 0

    # more than one host takes, and none of these ends before both have come
    gate = tmp_path / "gate"
    await jobs.enqueue_many((make_task(idempotent=True), {"gate": str(gate), "body": "-1"}) for _ in range(20))
    await until(all_work)
    gate.touch()
    put = ["php", str(PUT), str(LIBRARY), place["dsn"], str(place["user"]), str(count), str(marks)]
    await anyio.run_process(put, stderr=None)
    await until(nothing_is_left, within=240)
    records = await jobs.find(limit=2 * count)
    assert {record.state for record in records} == {"done"}
    bodies = {record.id: int(json.loads(record.data)["body"]) for record in records}
    expected = [n for n in range(count) if n % 3 != 1]
    assert sorted(body for body in bodies.values() if body >= 0) == expected
    runs = begun(marks)
    assert sorted(bodies[id] for id in runs) == expected
    assert Counter(runs.values()) == {1: len(expected)}
