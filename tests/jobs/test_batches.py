"""Batches and chains on a real PHP-FPM."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import anyio
import pytest

from fcgi_async import ConfigurationError, LocalFPM
from fcgi_async.jobs import Batch, BatchClosed, JobHandle, Jobs, JobUnsuccessful, Record, ResultTimeout, UnknownBatch
from fcgi_async.jobs.record import Query
from tests.jobs.conftest import OpenJobs, StartWorker
from tests.jobs.polling import until
from tests.jobs.test_worker import KEPT, marks, task, working
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio

ALARM = task("alarm", keep_result=60)
REPORT = task("report", keep_result=60)


async def test_a_batch_fans_out_and_in(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    """`then` runs once, after all of them; `on_failure` does not."""
    jobs, data = await open_jobs(), {"marks": str(tmp_path / "marks")}
    async with working(fpm, jobs, KEPT, REPORT, ALARM):
        async with jobs.batch(then=REPORT, on_failure=(ALARM, data)) as batch:
            handles = [await batch.add(KEPT, data) for _ in range(3)]
            handles += await batch.add_many((KEPT, data) for _ in range(20))
        record = await batch.wait(30)
        assert (record.open, record.total, record.pending, record.failed) == (False, 23, 0, 0)
        await until(lambda: _is_done(jobs, "report"))
        [report] = await jobs.find(task="report")
        seen = cast("dict[str, object]", (await jobs.handle(report.id).result(30)).json())
        assert seen["data"] == {"batch": batch.id, "jobs": 23}
    assert marks(tmp_path / "marks") == dict.fromkeys((handle.id for handle in handles), 1)


async def test_on_failure_runs_at_the_first_failure(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    async with working(fpm, jobs, KEPT, REPORT, ALARM):
        async with jobs.batch(then=REPORT, on_failure=(ALARM, {"body": "alarm"})) as batch:
            failed = await batch.add(KEPT, {"status": 404})
            # while the batch is open
            await until(lambda: _is_done(jobs, "alarm"))
            fine = await batch.add(KEPT)
        assert (await batch.wait(30)).failed == 1
        assert (await failed.record()).state == "dead"
        assert (await fine.record()).state == "done"
        assert [record.id for record in await batch.find(states=["dead"])] == [failed.id]
    assert await jobs.find(task="report") == []
    assert len(await jobs.find(task="alarm")) == 1


async def test_an_exception_abandons_the_batch(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    with pytest.raises(RuntimeError, match="the pages cannot be read"):
        async with jobs.batch(then=REPORT, on_failure=ALARM) as batch:
            await batch.add(KEPT)
            raise RuntimeError("the pages cannot be read")
    assert [record.task for record in await jobs.find()] == ["job", "alarm"]
    with pytest.raises(BatchClosed):
        await batch.add(KEPT)


async def test_cancelling_abandons_the_batch(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    with anyio.CancelScope() as scope:
        async with jobs.batch(on_failure=ALARM) as batch:
            scope.cancel()
            await anyio.lowlevel.checkpoint()
    assert scope.cancelled_caught
    assert (await batch.record()).failed == 1
    assert [record.task for record in await jobs.find()] == ["alarm"]


async def test_a_batch_of_a_lost_process_can_be_continued(open_jobs: OpenJobs) -> None:
    """By the id of the batch, and those of its jobs: nothing is added twice."""
    jobs = await open_jobs()
    lost = await jobs.batch(then=REPORT, id="import").__aenter__()
    await lost.add(KEPT, {"page": 1}, id="page-1")
    async with jobs.batch(then=REPORT, id="import") as batch:
        await batch.add(KEPT, {"page": 1}, id="page-1")
        await batch.add(KEPT, {"page": 2}, id="page-2")
    assert [record.id for record in await jobs.find()] == ["page-1", "page-2"]
    assert (await batch.record()).total == 2


async def test_wrong_uses_of_a_batch_are_refused(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    with pytest.raises(ConfigurationError, match="a Task, or a Task and its data"):
        jobs.batch(then="report")  # type: ignore[arg-type]
    with pytest.raises(ConfigurationError, match="abandon_after"):
        jobs.batch(abandon_after=0)
    with pytest.raises(UnknownBatch):
        await jobs.batch().record()
    async with jobs.batch() as batch:
        await batch.add(KEPT)
        with pytest.raises(ResultTimeout, match="is open after 0 s, with 1 of 1 jobs pending"):
            await batch.wait(0)
        assert await batch.cancel() == 1
    assert (await batch.wait(5)).failed == 1


async def test_a_chain_hands_answers_on(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs, first, second = await open_jobs(), task("first"), task("second")
    async with working(fpm, jobs, KEPT, first, second):
        chain = await jobs.chain((first, {"body": '{"body": "[1, 2]"}'}), second, KEPT)
        assert cast("dict[str, object]", (await chain.result(30)).json())["data"] == [1, 2]
        assert [(await handle.record()).task for handle in chain.jobs] == ["first", "second", "job"]


async def test_a_chain_ends_with_a_job_that_fails(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs, first = await open_jobs(), task("first")
    async with working(fpm, jobs, KEPT, first):
        with pytest.raises(JobUnsuccessful, match=r"'first' in a chain is dead: PHP answered with status 404"):
            await (await jobs.chain((first, {"status": 404}), (KEPT, None))).result(30)
        # an answer that is to be handed on must be JSON
        with pytest.raises(JobUnsuccessful, match="which is not JSON"):
            await (await jobs.chain((first, {"body": "{"}), KEPT)).result(30)
        assert (await (await jobs.chain((first, {"body": "{"}), (KEPT, {"body": "2"}))).result(30)).text == "2"


async def _is_done(jobs: Jobs, name: str) -> bool:
    return [record.state for record in await jobs.find(task=name)] == ["done"]


@pytest.mark.timeout(300)
async def test_killed_workers_put_successors_once(
    open_jobs: OpenJobs, start_worker: StartWorker, tmp_path: Path
) -> None:
    """SIGKILL in a batch, three times: its numbers fit, and `then` and each step of a chain are put once."""
    jobs, again = await open_jobs(), make_task(idempotent=True)
    data = {"marks": str(tmp_path / "marks"), "milliseconds": 5}
    worker = start_worker()
    chain = await jobs.chain(*[(again, data)] * 30)
    async with jobs.batch(then=(again, {"marks": str(tmp_path / "then")})) as batch:
        await batch.add_many((again, data) for _ in range(300))
    for ended in (75, 150, 225):
        await until(partial(_ended, batch, ended), within=60)
        worker.kill()
        worker.wait()
        worker = start_worker()
    record = await batch.wait(60)
    assert (record.total, record.pending, record.failed) == (300, 0, 0)
    for handle in chain.jobs:
        assert (await _wait_put(handle)).state == "done"
    await until(lambda: _are_all_done(jobs, 300 + 30 + 1))


async def _ended(batch: Batch, count: int) -> bool:
    return (await batch.record()).pending <= 300 - count


async def _wait_put(handle: JobHandle) -> Record:
    async def is_put() -> bool:
        return bool(await handle._store.find(Query(ids=(handle.id,))))

    await until(is_put, within=60)
    return await handle.wait(60)


async def _are_all_done(jobs: Jobs, count: int) -> bool:
    counts = await jobs.counts()
    return counts.states == dict.fromkeys(counts.states, 0) | {"done": count}
