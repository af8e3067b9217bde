"""Jobs that may be running elsewhere already, and rows that others have changed."""

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
    """A gate that is opened at the end of the test, if not before."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


@ON_SERVERS
async def test_a_worker_without_a_lease_begins_no_job(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The jobs that it claimed ahead may run elsewhere before it notices that it is considered dead."""
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
async def test_a_retried_job_in_doubt_waits_until_php_has_ended_it(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate
) -> None:
    """Its failures are forgotten then, but a job that PHP is still running is not started again."""
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


async def test_a_done_job_that_was_made_ready_again_is_not_swept(open_jobs: OpenJobs, execute: Execute) -> None:
    """By an UPDATE that does not change `keep_until`."""
    jobs, task = await open_jobs(), make_task(idempotent=True)
    handles = [await jobs.enqueue(task) for _ in range(2)]
    assert await jobs.cancel(*(handle.id for handle in handles)) == 2
    execute("UPDATE fcgi_jobs SET keep_until = 1")
    execute(f"UPDATE fcgi_jobs SET state = 'ready' WHERE id = '{handles[0].id}'")
    assert await jobs.store.sweep() == 1
    assert [record.id for record in await jobs.find()] == [handles[0].id]
