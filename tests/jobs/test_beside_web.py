"""A worker beside an application that uses the PHP workers of the same dispatcher."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.jobs import Jobs, Worker
from fcgi_async.jobs.record import Lane
from fcgi_async.jobs.store import Claim
from tests.eventually import eventually
from tests.fpm.marks import ended, started
from tests.jobs.conftest import OpenJobs, begun
from tests.jobs.polling import until
from tests.jobs.worker_process import make_task

SHARE = 2
AHEAD = 1
TASK = make_task(idempotent=True)

pytestmark = pytest.mark.anyio


class Web:
    """An application whose jobs wait for gates."""

    def __init__(self, scripts: Path, folder: Path) -> None:
        self._script, self._folder = str(scripts / "wait.php"), folder
        self._marks = folder / "web"

    @property
    def started(self) -> int:
        """How many of its jobs have begun."""
        return started(self._marks)

    @property
    def running(self) -> int:
        """How many of them have not come to their end."""
        return started(self._marks) - ended(self._marks)

    async def fan_out(self, php: Dispatcher, gate: str) -> None:
        """Submit as many jobs as there are PHP workers."""
        for _ in range(SHARE):
            await php.submit(Job(self._script, query={"marks": str(self._marks), "gate": str(self._folder / gate)}))

    def open(self, gate: str) -> None:
        """Let jobs end."""
        (self._folder / gate).touch()


@pytest.fixture
def web(scripts: Path, tmp_path: Path) -> Iterator[Web]:
    """An application whose jobs end at the end of the test at the latest."""
    web = Web(scripts, tmp_path)
    yield web
    for gate in ("first", "second", "jobs"):
        web.open(gate)


@asynccontextmanager
async def dispatching(fpm: LocalFPM, web: Web, kept: Mapping[int, int] | None = None) -> AsyncIterator[Dispatcher]:
    """The dispatcher that both use; jobs that wait for a gate do not outlive the block."""
    async with Dispatcher(Endpoint(fpm.address, max_children=SHARE, kept=kept or {})) as php:
        try:
            yield php
        finally:
            for gate in ("first", "second", "jobs"):
                web.open(gate)


async def put(jobs: Jobs, folder: Path, count: int) -> None:
    """Put jobs that wait for a gate."""
    data = {"marks": str(folder / "marks"), "gate": str(folder / "jobs")}
    await jobs.enqueue_many((TASK, data) for _ in range(count))


async def states(jobs: Jobs) -> tuple[int, int, int]:
    """How many jobs are ready, running and done."""
    found = (await jobs.counts()).states
    return found["ready"], found["running"], found["done"]


async def test_nothing_is_claimed_while_the_web_has_all_php_workers(
    fpm: LocalFPM, open_jobs: OpenJobs, web: Web, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Other hosts may take the jobs meanwhile; later never more are claimed than there are PHP workers, and `ahead`."""
    jobs = await open_jobs()
    claim, free = jobs.store.claim, list[int]()

    async def seen(worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        if count:
            free.append(SHARE - web.running + AHEAD - count)
        return await claim(worker, lanes, count, durable=durable)

    monkeypatch.setattr(jobs.store, "claim", seen)
    async with dispatching(fpm, web) as php, anyio.create_task_group() as group:
        await web.fan_out(php, "first")
        await eventually(lambda: web.started == SHARE)
        await web.fan_out(php, "second")
        await put(jobs, tmp_path, 5)
        worker = Worker(php, jobs, [TASK], ahead=AHEAD)
        group.start_soon(worker.run)
        # the web's, and a runner of the worker
        await eventually(lambda: php.statistics().queued == SHARE + 1)
        assert (await states(jobs), worker.in_hand) == ((5, 0, 0), 0)
        web.open("first")
        await eventually(lambda: web.started == 2 * SHARE)
        assert (await states(jobs), worker.in_hand, free) == ((5, 0, 0), 0, [])
        web.open("second")
        await eventually(lambda: len(begun(tmp_path / "marks")) == SHARE)
        assert free
        web.open("jobs")
        await until(lambda: _are(jobs, (0, 0, 5)))
        worker.stop()
    assert min(free) >= 0


async def test_a_job_that_was_claimed_ahead_goes_back_while_the_web_has_all(
    fpm: LocalFPM, open_jobs: OpenJobs, web: Web, tmp_path: Path
) -> None:
    """It would wait for as long as the web is busy, and another host may have a free PHP worker."""
    jobs = await open_jobs()
    await put(jobs, tmp_path, SHARE + AHEAD)
    async with dispatching(fpm, web) as php, anyio.create_task_group() as group:
        worker = Worker(php, jobs, [TASK], ahead=AHEAD)
        group.start_soon(worker.run)
        await until(lambda: _are(jobs, (0, SHARE + AHEAD, 0)))
        await eventually(lambda: len(begun(tmp_path / "marks")) == SHARE)
        await web.fan_out(php, "first")
        web.open("jobs")
        await eventually(lambda: web.started == SHARE)
        await until(lambda: _are(jobs, (AHEAD, 0, SHARE)))
        await eventually(lambda: worker.in_hand == 0)
        web.open("first")
        await until(lambda: _are(jobs, (0, 0, SHARE + AHEAD)))
        worker.stop()
    assert {record.failed for record in await jobs.find()} == {0}


async def test_slots_that_are_kept_for_the_web_take_no_jobs(
    fpm: LocalFPM, open_jobs: OpenJobs, scripts: Path, web: Web, tmp_path: Path
) -> None:
    jobs = await open_jobs()
    await put(jobs, tmp_path, 4)
    async with dispatching(fpm, web, kept={10: 1}) as php, anyio.create_task_group() as group:
        worker = Worker(php, jobs, [TASK], ahead=AHEAD)
        group.start_soon(worker.run)
        await eventually(lambda: len(begun(tmp_path / "marks")) == 1)
        # the other one waits for a PHP worker
        await eventually(lambda: php.statistics().queued == 1)
        important = Job(str(scripts / "respond.php"), query={"body": "important"}, priority=10)
        assert (await php.run(important)).text == "important"
        assert len(begun(tmp_path / "marks")) == 1
        assert worker.in_hand <= 1 + AHEAD
        web.open("jobs")
        await until(lambda: _are(jobs, (0, 0, 4)))
        worker.stop()


async def _are(jobs: Jobs, expected: tuple[int, int, int]) -> bool:
    return await states(jobs) == expected
