"""A worker whose database is away for a while, damaged, or not its own any more."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, DispatcherClosed, Endpoint, LocalFPM
from fcgi_async.jobs import PayloadTooLarge, StoreCorrupt, StoreFull, StoreRefused, StoreUnavailable, Task, Worker
from tests.eventually import eventually
from tests.jobs.conftest import OpenJobs
from tests.jobs.polling import until
from tests.jobs.test_worker import SCRIPT, marks, working

TASK = Task("job", SCRIPT, idempotent=True)


def failing(
    call: Callable[..., Awaitable[object]], errors: list[Exception], performed: bool
) -> Callable[..., Awaitable[object]]:
    """Raise each of these errors once in the place of a call, or after it was performed."""

    async def wrapped(*arguments: Any, **named: Any) -> object:
        if not errors:
            return await call(*arguments, **named)
        if performed:
            await call(*arguments, **named)
        await anyio.lowlevel.checkpoint()
        raise errors.pop()

    return wrapped


@pytest.mark.anyio
@pytest.mark.parametrize("performed", [False, True], ids=["not performed", "answer lost"])
@pytest.mark.parametrize("method", ["claim", "settle"])
async def test_the_worker_waits_for_an_unreachable_database(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: str, performed: bool
) -> None:
    """Each job runs once, whether the call came through or not."""
    jobs = await open_jobs()
    await jobs.enqueue_many((TASK, {"marks": str(tmp_path / "marks")}) for _ in range(30))
    errors: list[Exception] = [StoreUnavailable("away", may_be_stored=performed), StoreFull("full")]
    monkeypatch.setattr(jobs.store, method, failing(getattr(jobs.store, method), errors, performed))
    async with working(fpm, jobs, TASK):

        async def done() -> bool:
            return (await jobs.counts()).states["done"] == 30

        await until(done)
        assert errors == []
    assert Counter(marks(tmp_path / "marks").values()) == {1: 30}
    assert (await jobs.counts()).states["running"] == 0


@pytest.mark.anyio
@pytest.mark.parametrize("method", ["claim", "settle", "recover", "wait"])
async def test_a_damaged_database_ends_the_worker(
    fpm: LocalFPM, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """With the plain error, and no group."""
    jobs = await open_jobs()
    await jobs.enqueue(TASK)
    errors: list[Exception] = [StoreCorrupt("damaged")]
    monkeypatch.setattr(jobs.store, method, failing(getattr(jobs.store, method), errors, False))
    async with Dispatcher(Endpoint(fpm.address, max_children=1)) as php:
        with pytest.raises(StoreCorrupt, match="damaged"):
            with anyio.fail_after(30):
                await Worker(php, jobs, [TASK]).run()
    assert (await jobs.counts()).workers == ()


@pytest.mark.anyio
@pytest.mark.parametrize("error", [StoreRefused("no such character"), PayloadTooLarge("too long")])
async def test_a_result_that_the_database_rejects_makes_the_job_dead(
    fpm: LocalFPM, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    """With the reason; the worker goes on."""
    jobs = await open_jobs()
    errors = [error]
    monkeypatch.setattr(jobs.store, "settle", failing(jobs.store.settle, errors, False))
    async with working(fpm, jobs, TASK):
        record = await (await jobs.enqueue(TASK)).wait(30)
        assert (record.state, record.error) == ("dead", f"how the job ended (done) cannot be stored: {error}")
        assert (await (await jobs.enqueue(TASK)).wait(30)).state == "done"


@pytest.mark.anyio
async def test_a_closed_dispatcher_ends_the_worker(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    jobs = await open_jobs()
    caught: list[Exception] = []

    async def work(php: Dispatcher) -> None:
        try:
            await Worker(php, jobs, [TASK]).run()
        except DispatcherClosed as error:
            caught.append(error)

    async with anyio.create_task_group() as group:
        async with Dispatcher(Endpoint(fpm.address, max_children=1)) as php:
            group.start_soon(work, php)
            assert (await (await jobs.enqueue(TASK)).wait(30)).state == "done"
        await jobs.enqueue(TASK)
    assert len(caught) == 1
    counts = await jobs.counts()
    assert (counts.states["ready"], counts.workers) == (1, ())


@pytest.mark.anyio
async def test_a_settlement_that_comes_too_late_is_counted(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Another one has the job by then: its state is left as it is."""
    jobs, gate = await open_jobs(), tmp_path / "gate"
    handle = await jobs.enqueue(TASK, {"marks": str(tmp_path / "marks"), "gate": str(gate)})
    async with working(fpm, jobs, TASK, share=1, ahead=0) as worker:
        try:
            await eventually(lambda: marks(tmp_path / "marks"))
            await jobs.store.reconcile(worker.id, [])
            await jobs.cancel(handle.id)
        finally:
            gate.touch()
        await eventually(lambda: worker.in_hand == 0)
        assert (await handle.record()).state == "cancelled"
    assert "no longer belonged to this worker" in caplog.text


@pytest.mark.anyio
async def test_a_settlement_during_the_end_of_the_worker_is_not_lost(
    fpm: LocalFPM, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is written, and the worker leaves before it hears so: it writes it again."""
    jobs = await open_jobs()
    settle, written = jobs.store.settle, anyio.Event()

    async def unheard(*arguments: Any) -> list[bool | None]:
        settled = await settle(*arguments)
        if not written.is_set():
            written.set()
            await anyio.sleep_forever()
        return settled

    monkeypatch.setattr(jobs.store, "settle", unheard)
    handle = await jobs.enqueue(TASK)
    async with working(fpm, jobs, TASK) as worker:
        await written.wait()
    assert (await handle.record()).state == "done"
    assert (worker.statistics().lost, worker.in_hand) == (0, 0)
    assert "no longer" not in caplog.text


def test_importing_the_package_does_not_import_jobs() -> None:
    source = "import sys, fcgi_async; print('fcgi_async.jobs' in sys.modules, 'sqlite3' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]
