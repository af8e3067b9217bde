"""Pools that come and go: workers that are replaced, reloads, restarts, cold starts, full queues, other clients."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import pytest

from fcgi_async import ConnectError, Dispatcher, Endpoint, LocalFPM
from tests.eventually import eventually
from tests.fpm.fault import Fault, fault
from tests.fpm.raw_client import raw_connect

pytestmark = pytest.mark.anyio


async def under_load(it: Fault, disturb: Any, *, jobs_at_once: int = 8, seconds: float = 0.005) -> None:
    """Keep every worker busy for as long as `disturb()` takes."""
    over = False

    async def sender() -> None:
        while not over:
            await it.run(seconds=seconds)

    async with anyio.create_task_group() as tasks:
        for _ in range(jobs_at_once):
            tasks.start_soon(sender)
        await eventually(lambda: it.succeeded > jobs_at_once)
        try:
            await disturb()
        finally:
            over = True


async def test_max_requests(start_fpm: Any, marks: Path) -> None:
    """Workers that leave after three requests cost no job."""
    async with fault(await start_fpm(max_children=2, pool={"pm.max_requests": "3"}), marks) as it:
        await it.load(60)
        assert not it.failed


async def test_graceful_reload(start_fpm: Any, marks: Path) -> None:
    """20 reloads under full load, with five seconds for running jobs: no job fails, and none is idempotent."""
    fpm = await start_fpm(max_children=4, global_settings={"process_control_timeout": "5s"})

    async def reload() -> None:
        for _ in range(20):
            await fpm.reload()

    async with fault(fpm, marks) as it:
        await under_load(it, reload)
        assert not it.failed


async def test_reload_that_does_not_wait(start_fpm: Any, marks: Path) -> None:
    """A reload with process_control_timeout = 0 kills the jobs that execute: no more fail, and all may have run."""
    fpm = await start_fpm(max_children=4, global_settings={"process_control_timeout": "0"})
    reloads = 5

    async def reload() -> None:
        for _ in range(reloads):
            await fpm.reload()
            await eventually(lambda: it.php.statistics().busy)

    async with fault(fpm, marks) as it:
        await under_load(it, reload)
        assert it.failed.keys() <= {"ConnectionLost"}
        assert it.failed.total() <= reloads * it.share
        assert all(it.may_have_run.values())


async def test_graceful_stop_and_start(start_fpm: Any, marks: Path) -> None:
    """SIGQUIT lets running jobs end; those that come meanwhile wait until FPM is there again."""
    fpm = await start_fpm(max_children=2, global_settings={"process_control_timeout": "5s"})

    async def restart() -> None:
        fpm.signal(signal.SIGQUIT)
        await fpm.wait()
        await fpm.start()

    async with fault(fpm, marks) as it:
        await under_load(it, restart)
        # jobs that stood in the listen queue of the socket that was closed had not been written
        assert not it.failed


async def test_stopped_and_started(start_fpm: Any, marks: Path) -> None:
    """SIGTERM kills what executes, which may have run; the rest waits until FPM is there again."""
    fpm = await start_fpm(max_children=2)

    async def restart() -> None:
        await fpm.stop()
        await fpm.start()

    async with fault(fpm, marks) as it:
        await under_load(it, restart)
        assert it.failed.keys() <= {"ConnectionLost"}
        assert it.failed.total() <= it.share
        assert all(it.may_have_run.values())


OVERCOMMITTED = """
import sys, anyio
from fcgi_async import Dispatcher, Endpoint, Job
address, root, marks, number = sys.argv[1:]
async def main():
    async with Dispatcher(Endpoint(address, max_children=2, root=root)) as php:
        queries = [{"marks": marks, "name": f"{number}-{n}", "seconds": "0.002"} for n in range(25)]
        jobs = [Job("fault.php", query=query) for query in queries]
        print(sum(response.ok for response in await php.run_all(jobs)))
anyio.run(main)
"""


async def test_four_overcommitted_processes_on_a_short_queue(start_fpm: Any, marks: Path) -> None:
    """Four processes that each take all workers to be theirs, before a listen queue of two: no job fails."""
    fpm = await start_fpm(max_children=2, backlog=2)
    async with fault(fpm, marks) as it:

        async def process(number: int) -> None:
            arguments = [
                sys.executable,
                "-c",
                OVERCOMMITTED,
                fpm.address,
                str(scripts_folder()),
                str(marks),
                f"p{number}",
            ]
            result = await anyio.run_process(arguments, check=False, stderr=subprocess.STDOUT)
            assert result.stdout.strip() == b"25", result.stdout.decode()

        async with anyio.create_task_group() as tasks:
            for number in range(4):
                tasks.start_soon(process, number)
            await it.load(25)
        assert not it.failed
        assert len(it.executed()) == 125


def scripts_folder() -> Path:
    return Path(__file__).parent / "scripts"


@pytest.mark.parametrize("pm", ["ondemand", "dynamic"])
async def test_cold_pool(start_fpm: Any, marks: Path, pm: str) -> None:
    """A pool that has hardly a worker yet serves a burst of jobs without a failure."""
    async with fault(await start_fpm(max_children=8, pm=pm), marks) as it:
        await it.load(100, at_once=30)
        assert not it.failed


async def test_another_client_holds_all_workers(start_fpm: Any, marks: Path) -> None:
    """Jobs wait while idle connections of somebody else pin every worker, and run when it lets go."""
    fpm = await start_fpm(max_children=2)
    others = [raw_connect(fpm.address) for _ in range(2)]
    try:
        async with fault(fpm, marks) as it, anyio.create_task_group() as tasks:
            tasks.start_soon(it.load, 10)
            await eventually(lambda: it.php.statistics().connecting)
            end = await it.run(job={"timeout": 0.1})
            assert type(end).__name__ == "QueueTimeout"
            while others:
                others.pop().close()
            await eventually(lambda: it.succeeded == 10)
    finally:
        for other in others:
            other.close()


WITHOUT_PERMISSION = """
import os, sys, anyio
from fcgi_async import ConnectError, Dispatcher, Job
async def main():
    async with Dispatcher(sys.argv[1], max_children=1) as php:
        os.setgroups([]); os.setgid(65534); os.setuid(65534)
        try:
            await php.run(Job("/x.php"))
        except ConnectError as error:
            print(error.may_have_run, error)
anyio.run(main)
"""


async def test_socket_without_permission(start_fpm: Any, marks: Path) -> None:
    """A socket that this user may not open fails the job at once, and the error names listen.mode."""
    fpm: LocalFPM = await start_fpm(max_children=1, pool={"listen.mode": "0600"})
    os.chmod(fpm.directory, 0o711)
    if os.geteuid():
        # whoever is not root is shut out by the mode alone
        path = fpm.address.removeprefix("unix://")
        os.chmod(path, 0)
        async with Dispatcher(Endpoint(fpm.address, max_children=1)) as php:
            with pytest.raises(ConnectError, match=r"listen\.mode"):
                await php.ping()
        os.chmod(path, 0o600)
    else:
        result = await anyio.run_process([sys.executable, "-c", WITHOUT_PERMISSION, fpm.address], check=False)
        assert b"False" in result.stdout, result.stderr
        assert b"listen.mode" in result.stdout
    async with fault(fpm, marks) as it:
        await it.load(4)
        assert not it.failed
