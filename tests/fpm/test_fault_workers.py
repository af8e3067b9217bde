"""Workers that die: by a signal, over a job, before, between and after jobs, or frozen."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import ConnectionLost, JobTimeout, Response
from tests.dispatch.settled import slots
from tests.eventually import eventually
from tests.fpm.fault import fault

pytestmark = pytest.mark.anyio

SIGNALS = [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_worker_dies_over_a_job(start_fpm: Any, marks: Path, number: signal.Signals) -> None:
    """The job whose worker dies may have run, and says so; its neighbours succeed."""
    async with fault(await start_fpm(max_children=2), marks) as it:
        ends: list[object] = []

        async def victims() -> None:
            for _ in range(4):
                ends.append(await it.run_and_kill(number))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(victims)
            await it.load(30, at_once=4)
        assert it.failed == {"ConnectionLost": 4}
        assert all(isinstance(end, ConnectionLost) and end.may_have_run for end in ends)


async def test_idempotent_job_is_tried_again(start_fpm: Any, marks: Path) -> None:
    """An idempotent job whose worker always dies is tried three times, and its error says that it may have run."""
    async with fault(await start_fpm(max_children=2), marks) as it:
        end = await it.run_and_kill(signal.SIGKILL, times=3, job={"idempotent": True})
        assert isinstance(end, ConnectionLost)
        assert end.may_have_run
        assert it.executed()["0"] == 3


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_worker_dies_before_jobs(start_fpm: Any, marks: Path, number: signal.Signals) -> None:
    """Workers killed before there is a job cost none."""
    fpm = await start_fpm(max_children=2)
    async with fault(fpm, marks) as it:
        for pid in fpm.worker_pids():
            os.kill(pid, number)
        await it.load(10)
        assert not it.failed


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_worker_dies_between_jobs(start_fpm: Any, marks: Path, number: signal.Signals) -> None:
    """A worker killed while its connection is kept without a job costs none."""
    fpm = await start_fpm(max_children=2)
    async with fault(fpm, marks) as it:
        for _ in range(5):
            await it.load(4, at_once=2)
            await eventually(lambda: it.php.statistics().idle)
            before = fpm.worker_pids()
            for pid in before:
                os.kill(pid, number)
            # as if the next job came later: the kernel has told of the end
            await eventually(lambda: not set(before) & set(fpm.worker_pids()))  # noqa: B023 - called at once
            await eventually(lambda: it.php.statistics().idle == 0)
        assert not it.failed


@pytest.mark.parametrize("number", SIGNALS, ids=lambda number: number.name)
async def test_worker_dies_after_its_response(start_fpm: Any, marks: Path, number: signal.Signals) -> None:
    """A worker killed over what it does after fastcgi_finish_request() has answered: nothing fails."""
    fpm = await start_fpm(max_children=1)
    async with fault(fpm, marks) as it:
        for _ in range(3):
            end = await it.run("finish early", stay=30)
            assert isinstance(end, Response)
            for pid in fpm.worker_pids():
                os.kill(pid, number)
            # a signal takes its time, and until then a job could come to the worker that dies of it
            await eventually(lambda: not slots(it.php.statistics()))
        assert not it.failed


async def test_frozen_worker(start_fpm: Any, marks: Path) -> None:
    """A worker that is stopped holds up its own job until its deadline, and nobody else; it goes on when it is let."""
    fpm = await start_fpm(max_children=2)
    async with fault(fpm, marks, drain_timeout=0.1) as it, anyio.create_task_group() as tasks:
        gate = marks.parent / "gate"
        tasks.start_soon(lambda: it.run("sleep until told", gate=gate, job={"timeout": 1.0}))
        await eventually(lambda: len(it.executed()) == 1)
        frozen = int(it.lines()[0][1])
        os.kill(frozen, signal.SIGSTOP)
        try:
            await it.load(10)
            await eventually(lambda: it.failed[JobTimeout.__name__] == 1)
        finally:
            os.kill(frozen, signal.SIGCONT)
        gate.touch()
        await eventually(lambda: it.ended() == 11)
