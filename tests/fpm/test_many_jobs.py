"""Many jobs on few workers: run_all, map, groups and streams against a real PHP-FPM."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, JobError, LocalFPM, QueueTimeout
from tests.eventually import eventually
from tests.fpm.marks import most_at_once, started

pytestmark = pytest.mark.anyio


async def test_a_thousand_jobs_in_submission_order(php: Dispatcher) -> None:
    """run_all returns 1000 responses of 4 workers in the order of the jobs."""
    responses = await php.run_all(Job("respond.php", query={"body": str(n)}) for n in range(1000))
    assert [response.text for response in responses] == [str(n) for n in range(1000)]
    statistics = php.statistics()
    assert (statistics.completed, statistics.failed, statistics.connections_opened) == (
        1000,
        0,
        statistics.connections_opened,
    )
    assert statistics.connections_opened <= 4


async def test_never_more_scripts_than_the_share(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Of 60 jobs no more than the share of 2 execute at any time, by the scripts' own account."""
    marks = tmp_path / "marks"
    endpoint = Endpoint(fpm.address, max_children=4, reserve=2, root=str(scripts))
    async with Dispatcher(endpoint) as php:
        await php.run_all(Job("work.php", query={"marks": str(marks), "seconds": "0.005"}) for _ in range(60))
    assert (started(marks), most_at_once(marks)) == (60, 2)


@pytest.mark.parametrize("ordered", [True, False])
async def test_map_over_an_async_iterable(php: Dispatcher, ordered: bool) -> None:
    """map reads its jobs as they are wanted and yields an outcome for each, failed ones included."""

    async def jobs() -> AsyncIterator[Job]:
        for n in range(100):
            yield Job("respond.php", query={"body": str(n)}, tag=n)

    async with php.map(jobs(), ordered=ordered) as outcomes:
        tags = [outcome.job.tag async for outcome in outcomes if outcome.result().text == str(outcome.job.tag)]
    assert sorted(tags, key=str) == sorted(range(100), key=str)
    if ordered:
        assert tags == list(range(100))


async def test_a_group_fans_out_and_in(php: Dispatcher) -> None:
    """A group's jobs are done when its block is left, and come as they end."""
    async with php.group() as group:
        for n in range(50):
            await group.submit(Job("respond.php", query={"body": str(n)}))
        bodies = [handle.result().text async for handle in group.as_completed()]
    assert sorted(bodies, key=int) == [str(n) for n in range(50)]


async def test_fire_and_forget(php: Dispatcher, tmp_path: Path) -> None:
    """A submitted job runs although nobody awaits it; join() waits for it."""
    marks = tmp_path / "marks"
    await php.submit(Job("work.php", query={"marks": str(marks)}))
    await php.join(timeout=30)
    assert started(marks) == 1


async def test_a_stream_is_seen_as_it_happens(php: Dispatcher, tmp_path: Path) -> None:
    """Each line is read before PHP writes the next: the script waits for its reader's sign."""
    async with php.stream(Job("steps.php", query={"directory": str(tmp_path)})) as response:
        steps = []
        async for line in response.aiter_lines():
            steps.append(line)
            (tmp_path / str(len(steps) - 1)).touch()
    assert steps == [f'{{"step":{n}}}' for n in range(4)]
    assert response.status == 200


async def test_a_slow_reader_pauses_the_script(php: Dispatcher) -> None:
    """A response of 30 MB read slowly arrives whole, and never waits in memory by more than a few reads."""
    async with php.stream(Job("flood.php", query={"bytes": "30000000"})) as response:
        await response.__anext__()
        waiting = response._sink._waiting
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
            waiting = max(waiting, response._sink._waiting)
        size = len(await response.aread())
    assert waiting < 2_000_000
    assert 29_000_000 < size <= 30_000_000


async def test_a_slow_reader_holds_up_nobody_else(start_fpm: Any, scripts: Path) -> None:
    """Once a streamed response has come to its end, the worker's next job does not wait for the stream's reader."""
    fpm = await start_fpm(max_children=1)
    async with (
        Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php,
        php.stream(Job("flood.php", query={"bytes": "400000"})) as response,
    ):
        first = await response.__anext__()
        while not response._sink.ended:
            # read until the end is in our buffer, and leave the rest of it there
            first += await response.__anext__() if response._sink._paused else b""
            await anyio.lowlevel.checkpoint()
        assert (await php.run(Job("respond.php", query={"body": "next"}, timeout=30))).text == "next"
        assert len(first + await response.aread()) == 400_000


async def test_an_idempotent_job_that_may_have_run_says_so_to_its_end(start_fpm: Any, scripts: Path) -> None:
    """A job killed with its worker, queued again and out of time there, may have run."""
    fpm = await start_fpm(max_children=1)
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
        job = Job("gate.php", query={"gate": "/nowhere"}, idempotent=True, timeout=1.0)
        handle = await php.submit(job)
        await eventually(lambda: php.statistics().busy == 1)
        php.pause()
        (worker,) = fpm.worker_pids()
        os.kill(worker, signal.SIGKILL)
        await eventually(handle.done)
        error = handle.exception()
        assert isinstance(error, QueueTimeout)
        assert error.may_have_run
        php.resume()
        assert (await php.run(Job("respond.php"))).ok


async def test_leaving_a_stream_early_frees_the_worker(start_fpm: Any, scripts: Path) -> None:
    """A script that prints for ever dies of its reader's leaving, and the next job runs."""
    fpm = await start_fpm(max_children=1)
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts), linger=0.05)) as php:
        async with php.stream(Job("flood.php")) as response:
            await response.__anext__()
        assert (await php.run(Job("respond.php", query={"body": "next"}))).text == "next"


async def test_a_cancelled_job_keeps_its_slot_until_its_worker_is_free(php: Dispatcher, tmp_path: Path) -> None:
    """The caller returns at once; the slot is draining until the script has ended."""
    gate = tmp_path / "gate"
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(php.run, Job("gate.php", query={"gate": str(gate)}))
        await eventually(lambda: php.statistics().busy == 1)
        tasks.cancel_scope.cancel()
    assert (php.statistics().draining, php.statistics().cancelled) == (1, 1)
    gate.touch()
    await eventually(lambda: php.statistics().draining == 0)
    assert php.statistics().lingering == 0


async def test_a_job_that_found_no_worker_in_time_never_ran(php: Dispatcher, tmp_path: Path) -> None:
    """With every worker taken a deadline is a QueueTimeout, and PHP has not seen the job."""
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    async with anyio.create_task_group() as tasks:
        for _ in range(4):
            tasks.start_soon(php.run, Job("gate.php", query={"gate": str(gate)}))
        await eventually(lambda: php.statistics().busy == 4)
        with pytest.raises(QueueTimeout) as failure:
            await php.run(Job("work.php", query={"marks": str(marks)}, timeout=0.05))
        assert not failure.value.may_have_run
        gate.touch()
    await php.run_all([Job("respond.php")] * 8)
    assert started(marks) == 0


async def test_an_iterable_that_ends_early_is_told(php: Dispatcher) -> None:
    """A body shorter than its length is an error that says so, and the next job runs."""

    async def short() -> AsyncIterator[bytes]:
        yield b"x" * 70_000
        yield b"x" * 70_000

    with pytest.raises(JobError, match="only 140000") as failure:
        await php.run(Job("echo.php", content=short(), content_length=200_000))
    assert failure.value.body_truncated
    assert failure.value.may_have_run
    assert (await php.run(Job("respond.php"))).ok


async def test_an_iterable_that_gives_nothing_runs_nothing(php: Dispatcher, tmp_path: Path) -> None:
    """A body that fails before its first part has certainly not run the script."""
    marks = tmp_path / "marks"

    async def broken() -> AsyncIterator[bytes]:
        raise ValueError("no data")
        yield b""

    with pytest.raises(JobError, match="no data") as failure:
        await php.run(Job("work.php", query={"marks": str(marks)}, content=broken(), content_length=10))
    assert not failure.value.may_have_run
    assert (await php.run(Job("respond.php"))).ok
    assert started(marks) == 0
