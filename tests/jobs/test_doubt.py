"""Scripts that outlive the worker that began them, as FPM's status page shows them."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest

from fcgi_async import Dispatcher, Endpoint, LocalFPM, StatusUnavailable
from fcgi_async.fpm.status import PoolStatus, ProcessState, ProcessStatus
from fcgi_async.jobs import Jobs, Worker
from fcgi_async.jobs.doubt import Doubt, read_ids
from fcgi_async.jobs.fate import LOST
from fcgi_async.jobs.record import Query
from fcgi_async.jobs.store import Store
from tests.eventually import eventually
from tests.jobs.conftest import OpenJobs, StartWorker, begun
from tests.jobs.polling import until
from tests.jobs.records import job
from tests.jobs.test_store_conformance import one, settle, the
from tests.jobs.test_worker import Gate
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio


def process(state: ProcessState, uri: str | None) -> ProcessStatus:
    return ProcessStatus(
        pid=1,
        state=state,
        start_time=datetime.now(UTC),
        requests=1,
        request_duration=0.0,
        request_method="POST",
        request_uri=uri,
        script="/srv/job.php",
        content_length=0,
        user=None,
        last_request_cpu=0.0,
        last_request_memory=0,
    )


def page(*processes: ProcessStatus) -> PoolStatus:
    fields: dict[str, Any] = dict.fromkeys((field.name for field in attrs.fields(PoolStatus)), 0)
    return PoolStatus(**fields | {"pool": "www", "processes": processes})


def test_what_the_page_says_of_a_job() -> None:
    """At work in any state but idle; at work wins over ended; what is not an id, or two of them, says nothing."""
    running, idle = ProcessState.RUNNING, ProcessState.IDLE
    assert read_ids(
        page(
            process(running, "/job.php?fcgi_job=a"),
            process(idle, "/_jobs/x?y=1&fcgi_job=b&z"),
            process(ProcessState.FINISHING, "/job.php?fcgi_job=c"),
            process(idle, "/job.php?fcgi_job=a"),
            process(idle, "/job.php?fcgi_job=d"),
            process(running, "/job.php?fcgi_job=d"),
            process(running, "/job.php?xfcgi_job=e"),
            process(running, "/job.php?fcgi_job=f&fcgi_job=g"),
            process(running, "/job.php?fcgi_job=%00"),
            process(running, None),
            process(ProcessState.OTHER, "/job.php?fcgi_job=h"),
        )
    ) == {"a": "running", "b": "ended", "c": "running", "d": "running"}


async def test_only_a_job_in_doubt_can_have_a_note(store: Store) -> None:
    new = job()
    await store.put([new])
    assert not await store.note(new.id, "why")
    claimed = await one(store)
    await settle(store, claimed, "in_doubt")
    assert await store.note(new.id, "why")
    assert (await the(store, new.id)).error == "why"
    assert await store.change("retry", Query(ids=(new.id,))) == 1
    assert not await store.note(new.id, "late")


@pytest.fixture
def endpoint(fpm: LocalFPM) -> Endpoint:
    """Two workers, and a status page."""
    return Endpoint(fpm.address, max_children=2, status=fpm.status_address)


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    """Run a worker beside the block."""
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        yield
        worker.stop()


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """Scripts wait for it; it is open at the test's end."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


async def killed(jobs: Jobs, start: StartWorker, gate: Gate, marks: Path, *, idempotent: bool) -> str:
    """Have a worker killed while PHP is at work, and return the job's id."""
    task = make_task(idempotent=idempotent)
    handle = await jobs.enqueue(task, {"marks": str(marks), "gate": str(gate)})
    victim: subprocess.Popen[bytes] = start(share=1, idempotent=idempotent)
    await eventually(lambda: len(begun(marks)) == 1)
    victim.kill()
    victim.wait()
    return handle.id


async def test_a_job_is_not_started_again_while_its_orphan_is_at_work(
    endpoint: Endpoint, open_jobs: OpenJobs, start_worker: StartWorker, tmp_path: Path, gate: Gate, monkeypatch: Any
) -> None:
    """And is when that has ended; the time is not counted as an attempt that failed."""
    monkeypatch.setattr("fcgi_async.jobs.doubt._HOLD", 0.05)
    jobs, marks = await open_jobs(), tmp_path / "marks"
    id = await killed(jobs, start_worker, gate, marks, idempotent=True)
    async with Dispatcher(endpoint) as php, running(Worker(php, jobs, [make_task(idempotent=True)])):

        async def is_held() -> bool:
            record = await jobs.get(id)
            return record.attempt > 4 and "still running" in str(record.error)

        await until(is_held)
        assert begun(marks)[id] == 1
        gate.open()
        record = await jobs.handle(id).wait(30)
    assert (record.state, record.failed, begun(marks)[id]) == ("done", 1, 2)


async def test_a_job_in_doubt_says_what_became_of_it(
    endpoint: Endpoint, open_jobs: OpenJobs, start_worker: StartWorker, tmp_path: Path, gate: Gate
) -> None:
    """First that PHP is at work on it, then that it ran to its end."""
    jobs, marks = await open_jobs(), tmp_path / "marks"
    id = await killed(jobs, start_worker, gate, marks, idempotent=False)
    async with Dispatcher(endpoint) as php, running(Worker(php, jobs, [make_task(idempotent=False)])):
        await until(lambda: _says(jobs, id, "still running it"))
        gate.open()
        await until(lambda: _says(jobs, id, "ran it to its end"))
    assert ((await jobs.get(id)).state, begun(marks)[id]) == ("in_doubt", 1)


async def test_a_page_that_is_missing_for_a_moment(
    endpoint: Endpoint,
    open_jobs: OpenJobs,
    start_worker: StartWorker,
    tmp_path: Path,
    gate: Gate,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is asked for again soon, because it was read before, and tells what it would have told."""
    jobs, marks = await open_jobs(), tmp_path / "marks"
    id = await killed(jobs, start_worker, gate, marks, idempotent=False)
    async with Dispatcher(endpoint) as php, running(Worker(php, jobs, [make_task(idempotent=False)])):
        await until(lambda: _says(jobs, id, "still running it"))
        missed = anyio.Event()

        async def status(*_: object, **__: object) -> PoolStatus:
            monkeypatch.undo()
            missed.set()
            raise StatusUnavailable("no page")

        monkeypatch.setattr(php, "status", status)
        with anyio.fail_after(30):
            await missed.wait()
        gate.open()
        await until(lambda: _says(jobs, id, "ran it to its end"), within=30)


async def test_a_page_that_is_missing_as_a_job_is_lost(
    endpoint: Endpoint, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The job is watched until the page is back, because it was read before."""
    new, pages = job(), 0
    await store.put([new])

    async def status(*_: object, **__: object) -> PoolStatus:
        nonlocal pages
        pages += 1
        if pages == 2:
            raise StatusUnavailable("no page")
        return page(process(ProcessState.RUNNING, f"/job.php?fcgi_job={new.id if pages > 2 else 'other'}"))

    async with Dispatcher(endpoint) as php:
        monkeypatch.setattr(php, "status", status)
        monkeypatch.setattr("fcgi_async.jobs.doubt._FRESH", 0.0)
        monkeypatch.setattr("fcgi_async.jobs.doubt._AGAIN", 0.0)
        doubt = Doubt(php, store)
        await settle(store, await one(store), "in_doubt", error=LOST)
        await doubt.explain()
        doubt.watch()
        await doubt.explain()
        assert (await the(store, new.id)).error == LOST
        await doubt.explain()
        assert "still running it" in str((await the(store, new.id)).error)


async def test_without_a_page_it_is_started_again(
    fpm: LocalFPM, open_jobs: OpenJobs, start_worker: StartWorker, tmp_path: Path, gate: Gate
) -> None:
    """Nothing is known then, and an idempotent job may run twice at once."""
    jobs, marks = await open_jobs(), tmp_path / "marks"
    id = await killed(jobs, start_worker, gate, marks, idempotent=True)
    page = Endpoint(fpm.address, max_children=2, status="unix:///none.sock")
    async with Dispatcher(page) as php, running(Worker(php, jobs, [make_task(idempotent=True)])):
        await eventually(lambda: begun(marks)[id] == 2)
        gate.open()
        assert (await jobs.handle(id).wait(30)).state == "done"


async def test_the_status_page_is_not_read_for_jobs_that_have_not_failed(
    endpoint: Endpoint, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs, task = await open_jobs(), make_task(idempotent=True)
    looks: list[int] = []

    async def look(*_: object, **__: object) -> PoolStatus:
        looks.append(1)
        return page()

    async with Dispatcher(endpoint) as php:
        monkeypatch.setattr(php, "status", look)
        async with running(Worker(php, jobs, [task])):
            assert (await (await jobs.enqueue(task)).wait(30)).state == "done"
            assert looks == []
            record = await (await jobs.enqueue(task, {"status": 404})).wait(30)
            assert record.state == "dead"
            assert looks == []


async def _says(jobs: Jobs, id: str, what: str) -> bool:
    return what in str((await jobs.get(id)).error)
