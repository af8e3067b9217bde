"""Jobs that somebody else may be at work on already, and rows that others have changed."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, LocalFPM
from fcgi_async.jobs import StoreUnavailable, Task, Worker
from tests.eventually import eventually
from tests.jobs.conftest import ON_SERVERS, ON_SQLITE, Execute, OpenJobs, begun
from tests.jobs.polling import until
from tests.jobs.test_worker import SCRIPT, Gate, working
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that is open at the end of the test at the latest."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@ON_SERVERS
async def test_who_is_out_of_lease_begins_nothing(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What lay ahead may be at work elsewhere, before the worker has learnt that it was taken for dead."""
    jobs, marks, task = await open_jobs(), tmp_path / "marks", make_task(idempotent=False)
    data = {"marks": str(marks), "gate": str(gate.path)}
    handles = await jobs.enqueue_many((task, data) for _ in range(2))

    async def run() -> bool:
        return (await jobs.counts()).states["running"] == 2

    async def are_in_doubt() -> bool:
        return (await jobs.counts()).states["in_doubt"] == 2

    async def away(worker: str) -> bool:
        await anyio.lowlevel.checkpoint()
        raise StoreUnavailable("away")

    async with working(fpm, jobs, task, share=1) as worker:
        await until(run)
        await eventually(lambda: len(begun(marks)) == 1)
        monkeypatch.setattr(jobs.store, "renew", away)
        # by its own hand: it looks for those that are lost, too
        await until(are_in_doubt)
        gate.open()
        await eventually(lambda: worker.statistics().lost == 2)
    assert sorted(begun(marks)[handle.id] for handle in handles) == [0, 1]


@ON_SQLITE
async def test_a_job_in_doubt_that_is_retried_waits_for_its_orphan(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate
) -> None:
    """Its failures are forgotten then; what PHP is at work on is not started again all the same."""
    jobs, marks = await open_jobs(), tmp_path / "marks"
    task = Task("job", SCRIPT, run_timeout=2)
    endpoint = Endpoint(fpm.address, max_children=2, status=fpm.status_address)
    handle = await jobs.enqueue(task, {"marks": str(marks), "gate": str(gate.path)})
    async with Dispatcher(endpoint) as php, anyio.create_task_group() as group:
        worker = Worker(php, jobs, [task])
        group.start_soon(worker.run)
        assert (await handle.wait(30)).state == "in_doubt"
        assert await jobs.retry(handle.id) == 1

        async def is_held() -> bool:
            return "still running an earlier attempt" in str((await handle.record()).error)

        await until(is_held)
        assert begun(marks)[handle.id] == 1
        gate.open()
        assert (await handle.wait(30)).state == "done"
        worker.stop()
    assert begun(marks)[handle.id] == 2


async def test_what_others_have_made_ready_again_is_not_swept(open_jobs: OpenJobs, execute: Execute) -> None:
    """By an UPDATE that leaves the time until which it was to be kept."""
    jobs, task = await open_jobs(), make_task(idempotent=True)
    handles = [await jobs.enqueue(task) for _ in range(2)]
    assert await jobs.cancel(*(handle.id for handle in handles)) == 2
    execute("UPDATE fcgi_jobs SET keep_until = 1")
    execute(f"UPDATE fcgi_jobs SET state = 'ready' WHERE id = '{handles[0].id}'")
    assert await jobs.store.sweep() == 1
    assert [record.id for record in await jobs.find()] == [handles[0].id]
