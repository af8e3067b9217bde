"""Workers that are killed by SIGKILL in the middle of their jobs, and frozen ones."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import anyio
import pytest

from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.jobs import Worker
from tests.eventually import eventually
from tests.jobs.conftest import OpenJobs
from tests.jobs.polling import until
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent
JOBS = 2000
KILLS = 5
SHARE = 2
AHEAD = 1

# starts a worker's process: idempotent or not, on which event loop
StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(fpm: LocalFPM, jobs_url: str) -> Iterator[StartWorker]:
    """Starts workers as processes on the test's database; they are killed at its end."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*, idempotent: bool = True, backend: str = "asyncio", share: int = SHARE) -> subprocess.Popen[bytes]:
        said = "yes" if idempotent else "no"
        arguments = [jobs_url, fpm.address, str(share), str(AHEAD), said, backend]
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.jobs.worker_process", *arguments],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
        )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait()


def begun(marks: Path) -> Counter[str]:
    """How often each job has begun."""
    lines = marks.read_text().splitlines() if marks.exists() else []
    return Counter(line.split()[0] for line in lines if line.endswith("+"))


@pytest.mark.soak
@pytest.mark.timeout(300)
@pytest.mark.parametrize("workers", [1, 2])
async def test_killed_five_times_no_job_is_lost(
    workers: int,
    open_jobs: OpenJobs,
    start_worker: StartWorker,
    tmp_path: Path,
    anyio_backend_name: str,
) -> None:
    """Each job runs; twice only those that a killed worker had in hand; nothing stays with a dead worker."""
    jobs, marks, task = await open_jobs(), tmp_path / "marks", make_task(idempotent=True)
    await jobs.enqueue_many((task, {"marks": str(marks), "milliseconds": 5}) for _ in range(JOBS))
    processes = [start_worker(backend=anyio_backend_name) for _ in range(workers)]
    in_hand, recoveries = 0, []
    for kill in range(1, KILLS + 1):
        await eventually(lambda kill=kill: sum(begun(marks).values()) > kill * JOBS // (KILLS + 1))  # type: ignore[misc]
        victim = processes.pop(0)
        # frozen first: nobody takes its jobs while they are counted
        victim.send_signal(signal.SIGSTOP)
        [dead] = [worker.id for worker in (await jobs.counts()).workers if worker.pid == victim.pid]
        in_hand += len([record for record in await jobs.find(states=["running"]) if record.worker == dead])
        victim.kill()
        victim.wait()
        killed = time.monotonic()
        processes.append(start_worker(backend=anyio_backend_name))

        async def recovered(dead: str = dead) -> bool:
            running = await jobs.find(states=["running"])
            return all(record.worker != dead for record in running)

        await until(recovered)
        recoveries.append(time.monotonic() - killed)

    async def done() -> bool:
        return (await jobs.counts()).states["done"] == JOBS

    await until(done, within=120)
    runs = begun(marks)
    assert len(runs) == JOBS
    again = sum(count - 1 for count in runs.values())
    # what runs, what lies ahead, and ends that are being written
    assert again <= in_hand <= KILLS * (SHARE + AHEAD + 2 * SHARE + AHEAD)
    # with two workers the other one finds out by itself; with one it takes the start of a process
    assert min(recoveries) < 5
    for worker in (await jobs.counts()).workers:
        assert worker.pid in [process.pid for process in processes]


async def test_a_killed_worker_leaves_in_doubt_only_what_it_had_begun(
    open_jobs: OpenJobs, start_worker: StartWorker, fpm: LocalFPM, tmp_path: Path
) -> None:
    """What was claimed ahead certainly has not run: it is ready again, and not counted."""
    jobs, marks, gate = await open_jobs(), tmp_path / "marks", tmp_path / "gate"
    task = make_task(idempotent=False)
    try:
        handles = await jobs.enqueue_many((task, {"marks": str(marks), "gate": str(gate)}) for _ in range(4))
        victim = start_worker(idempotent=False)
        await eventually(lambda: len(begun(marks)) == SHARE)

        async def claimed_ahead() -> bool:
            return (await jobs.counts()).states["running"] == SHARE + AHEAD

        await until(claimed_ahead)
        victim.kill()
        victim.wait()
        assert await jobs.store.recover() == SHARE + AHEAD
        records = [await handle.record() for handle in handles]
        states = Counter((record.state, record.failed, record.id in begun(marks)) for record in records)
        assert states == {("in_doubt", 1, True): SHARE, ("ready", 0, False): 2}
        assert (await jobs.counts()).workers == ()
    finally:
        gate.touch()


async def test_a_frozen_worker_keeps_its_jobs(
    open_jobs: OpenJobs, start_worker: StartWorker, fpm: LocalFPM, tmp_path: Path
) -> None:
    """It holds its lock: others leave its jobs alone, and it settles them once it goes on."""
    jobs, marks, gate = await open_jobs(), tmp_path / "marks", tmp_path / "gate"
    task = make_task(idempotent=True)
    handle = await jobs.enqueue(task, {"marks": str(marks), "gate": str(gate)})
    frozen = start_worker(share=1)
    try:
        await eventually(lambda: len(begun(marks)) == 1)
        frozen.send_signal(signal.SIGSTOP)
        other = await open_jobs()
        async with Dispatcher(fpm.address, max_children=1) as php:
            worker = Worker(php, other, [task])
            async with anyio.create_task_group() as group:
                group.start_soon(worker.run)
                # it is at work, and has looked for lost workers
                later = await jobs.enqueue(task, {})
                assert (await later.wait(30)).state == "done"
                for _ in range(3):
                    assert await other.store.recover() == 0
                assert (await handle.record()).state == "running"
                worker.stop()
        gate.touch()
    finally:
        gate.touch()
        frozen.send_signal(signal.SIGCONT)
    assert (await handle.wait(30)).state == "done"
    assert begun(marks)[handle.id] == 1


async def test_a_kill_between_phps_end_and_the_settlement(
    open_jobs: OpenJobs, start_worker: StartWorker, tmp_path: Path
) -> None:
    """PHP has done it, and nobody has written that: it may have run, and is tried again if that does no harm."""
    jobs, marks, gate = await open_jobs(), tmp_path / "marks", tmp_path / "gate"
    task = make_task(idempotent=True)
    handle = await jobs.enqueue(task, {"marks": str(marks), "gate": str(gate)})
    victim = start_worker(share=1)
    await eventually(lambda: len(begun(marks)) == 1)
    victim.send_signal(signal.SIGSTOP)
    gate.touch()
    await eventually(lambda: "-" in marks.read_text())
    victim.kill()
    victim.wait()
    assert (await handle.record()).state == "running"
    start_worker(share=1)
    record = await handle.wait(30)
    assert (record.state, record.failed, record.attempt) == ("done", 1, 2)
    assert begun(marks)[handle.id] == 2
