"""Workers that are killed by SIGKILL in the middle of their jobs, and frozen ones."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
from collections import Counter
from contextlib import closing
from pathlib import Path

import anyio
import pytest

from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.jobs import Jobs, Worker
from tests.eventually import eventually
from tests.jobs.conftest import AHEAD, ON_SQLITE, SHARE, OpenJobs, StartWorker, begun
from tests.jobs.polling import until
from tests.jobs.worker_process import make_task

pytestmark = pytest.mark.anyio

JOBS = 2000
KILLS = 5


@pytest.mark.soak
@pytest.mark.timeout(900)
@pytest.mark.parametrize("workers", [1, 2])
async def test_five_kills_lose_no_job(
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
    in_hand, dead = 0, list[str]()

    async def are_recovered() -> bool:
        return all(record.worker not in dead for record in await jobs.find(states=["running"]))

    for kill in range(1, KILLS + 1):
        await eventually(lambda kill=kill: sum(begun(marks).values()) > kill * JOBS // (KILLS + 1), within=300)  # type: ignore[misc]
        victim = processes.pop(0)
        # a process takes its time to start
        await until(lambda victim=victim: _is_announced(jobs, victim.pid), within=300)  # type: ignore[misc]
        # frozen first: nobody takes its jobs while they are counted
        victim.send_signal(signal.SIGSTOP)
        dead += [worker.id for worker in (await jobs.counts()).workers if worker.pid == victim.pid]
        in_hand += len([record for record in await jobs.find(states=["running"]) if record.worker == dead[-1]])
        victim.kill()
        victim.wait()
        processes.append(start_worker(backend=anyio_backend_name))
    await until(are_recovered, within=300)

    async def done() -> bool:
        return (await jobs.counts()).states["done"] == JOBS

    await until(done, within=300)
    runs = begun(marks)
    assert len(runs) == JOBS
    again = sum(count - 1 for count in runs.values())
    # what runs, what lies ahead, and ends that are being written
    assert again <= in_hand <= KILLS * (SHARE + AHEAD + 2 * SHARE + AHEAD)

    async def only_the_living_are_announced() -> bool:
        living = [process.pid for process in processes]
        return all(worker.pid in living for worker in (await jobs.counts()).workers)

    await until(only_the_living_are_announced)


async def _is_announced(jobs: Jobs, pid: int) -> bool:
    return any(worker.pid == pid for worker in (await jobs.counts()).workers)


@ON_SQLITE
async def test_only_started_jobs_of_a_killed_worker_are_in_doubt(
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


async def freeze(process: subprocess.Popen[bytes], file: str) -> None:
    """Stop a process between two of its transactions: in the midst of one it would keep all others out of the file."""

    def is_between() -> bool:
        process.send_signal(signal.SIGSTOP)
        try:
            with closing(sqlite3.connect(file, timeout=0.5)) as connection:
                connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            process.send_signal(signal.SIGCONT)
            return False
        return True

    await eventually(is_between)


@ON_SQLITE
async def test_a_frozen_worker_keeps_its_jobs(
    open_jobs: OpenJobs, start_worker: StartWorker, fpm: LocalFPM, tmp_path: Path, jobs_url: str
) -> None:
    """It holds its lock: others leave its jobs alone, and it settles them once it goes on."""
    jobs, marks, gate = await open_jobs(), tmp_path / "marks", tmp_path / "gate"
    task = make_task(idempotent=True)
    handle = await jobs.enqueue(task, {"marks": str(marks), "gate": str(gate)})
    frozen = start_worker(share=1)
    try:
        await eventually(lambda: len(begun(marks)) == 1)
        await freeze(frozen, jobs_url.removeprefix("sqlite://"))
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
