"""The head probe and the tail probe, shown to matter on a real PHP-FPM."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import ConnectError, Dispatcher, Endpoint, Job, KeepAlive
from tests.eventually import eventually
from tests.fpm.marks import ended, most_at_once, started
from tests.fpm.raw_client import raw_connect

pytestmark = pytest.mark.anyio


async def test_scripts_that_finish_early_stay_within_the_share(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """Scripts that go on after fastcgi_finish_request() never occupy more than the share."""
    fpm, marks = await start_fpm(max_children=4), tmp_path / "marks"
    async with Dispatcher(Endpoint(fpm.address, max_children=4, reserve=2, root=str(scripts))) as php:
        query = {"marks": str(marks), "seconds": "0.02"}
        responses = await php.run_all(Job("early.php", query=query | {"name": str(n)}) for n in range(40))
        assert [response.text for response in responses] == [f"answer of {n}" for n in range(40)]
        await eventually(lambda: ended(marks) == 40)
    assert (started(marks), most_at_once(marks)) == (40, 2)


async def test_late_output_reaches_nobody(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """What a script prints and logs after it has answered is dropped and counted, and never in the next response."""
    fpm, marks = await start_fpm(max_children=1), tmp_path / "marks"
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
        query = {"marks": str(marks), "seconds": "0.005"}
        jobs = [Job("early.php", query=query | {"name": "a"}), Job("respond.php", query={"body": "b"})] * 10
        responses = await php.run_all(jobs)
        assert not any(b"SECRET" in response.content + response.stderr for response in responses)
        assert php.statistics().stray_records >= 10
        assert php.statistics().connections_opened == 1


async def test_the_caller_has_the_answer_before_the_script_ends(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """fastcgi_finish_request() gives the answer at once, and finishes_early=False waits for the worker instead."""
    fpm, marks = await start_fpm(max_children=1), tmp_path / "marks"
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
        query = {"marks": str(marks), "seconds": "0.3", "name": "x"}
        await php.run(Job("early.php", query=query))
        assert ended(marks) == 0
        assert php.statistics().finishing == 1
        await php.run(Job("early.php", query=query, finishes_early=False))
        assert ended(marks) == 2


async def test_a_cold_ondemand_pool_serves_by_all_its_children(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """8 jobs on a cold pm=ondemand pool of 8 are served by 8 workers, where a burst would strand most of them."""
    fpm, gate = await start_fpm(max_children=8, pm="ondemand"), tmp_path / "gate"
    async with Dispatcher(Endpoint(fpm.address, max_children=8, root=str(scripts))) as php:
        handles = [await php.submit(Job("gate.php", query={"gate": str(gate)})) for _ in range(8)]
        await eventually(lambda: php.statistics().busy == 8)
        gate.touch()
        pids = {(await handle).text.split()[0] for handle in handles}
    assert len(pids) == 8


async def test_a_full_backlog_waits(start_fpm: Any, scripts: Path) -> None:
    """With the backlog full, connecting waits instead of failing, and the job runs when there is room."""
    fpm = await start_fpm(max_children=1, backlog=1)
    blockers = [raw_connect(fpm.address)]
    try:
        fill_backlog(fpm.address, blockers)
        async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
            handle = await php.submit(Job("respond.php", query={"body": "at last"}))
            await eventually(lambda: php.statistics().connecting == 1)
            with anyio.move_on_after(0.1):
                await handle
            assert not handle.done()
            while blockers:
                blockers.pop().close()
            assert (await handle).text == "at last"
    finally:
        for blocker in blockers:
            blocker.close()


def fill_backlog(address: str, blockers: list[socket.socket]) -> None:
    """Connect until the kernel refuses."""
    while True:
        blocker = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        blockers.append(blocker)
        try:
            blocker.connect(address.removeprefix("unix://"))
        except BlockingIOError:
            return


async def test_ping_that_is_not_answered_asks_another_worker(start_fpm: Any, tmp_path: Path) -> None:
    """A kept worker that does not answer within drain_timeout is given up, and the next one is asked."""
    script, pids = tmp_path / "pid.php", set[int]()
    script.write_text("<?php usleep(20000); echo getmypid();")
    fpm = await start_fpm(max_children=2)
    endpoint = Endpoint(fpm.address, max_children=2, drain_timeout=0.3, keepalive=KeepAlive(idle=60))
    async with Dispatcher(endpoint) as php:
        while len(pids) < 2:
            pids = {int(response.text) for response in await php.run_all([Job(script)] * 4)}
        await eventually(lambda: php.statistics().idle == 2)
        # the one that was used last is asked first
        stopped = int((await php.run(Job(script))).text)
        await eventually(lambda: php.statistics().idle == 2)
        os.kill(stopped, signal.SIGSTOP)
        try:
            assert await php.ping(timeout=30) > 0
            assert php.statistics().leaving == 1
        finally:
            os.kill(stopped, signal.SIGCONT)


async def test_ping_goes_ahead_of_jobs(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """A ping is answered by the first worker that is free, before the jobs that wait."""
    fpm, gate = await start_fpm(max_children=1), tmp_path / "gate"
    order: list[str] = []
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:

        async def ping() -> None:
            assert await php.ping(timeout=30) > 0
            order.append("ping")

        async def run() -> None:
            await php.run(Job("respond.php"))
            order.append("job")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(php.run, Job("gate.php", query={"gate": str(gate)}))
            await eventually(lambda: php.statistics().busy == 1)
            tasks.start_soon(run)
            await eventually(lambda: php.statistics().queued == 1)
            tasks.start_soon(ping)
            await anyio.wait_all_tasks_blocked()
            gate.touch()
    assert order == ["ping", "job"]


async def test_an_idle_connection_is_closed(start_fpm: Any, scripts: Path) -> None:
    """A connection without a job is closed after KeepAlive.idle, since it pins a worker."""
    fpm = await start_fpm(max_children=1)
    async with Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts))) as php:
        await php.run(Job("respond.php"))
        await eventually(lambda: php.statistics().idle == 1)
        await eventually(lambda: php.statistics().idle == 0)
        with raw_connect(fpm.address):
            pass


async def test_a_graceful_reload_fails_no_job(start_fpm: Any, scripts: Path) -> None:
    """Not one job fails, or is tried again, in 20 reloads under full load; none of them is idempotent."""
    fpm = await start_fpm(max_children=4, global_settings={"process_control_timeout": "10s"})
    reloading = True
    async with Dispatcher(Endpoint(fpm.address, max_children=4, root=str(scripts))) as php:

        async def load() -> None:
            while reloading:
                assert (await php.run(Job("respond.php", query={"body": "x"}))).text == "x"

        async with anyio.create_task_group() as tasks:
            for _ in range(8):
                tasks.start_soon(load)
            for _ in range(20):
                # one after the other: FPM kills its workers where a second reload comes during the first
                await fpm.reload()
            reloading = False
        assert (php.statistics().failed, php.statistics().retried) == (0, 0)


async def test_max_requests_loses_no_job(start_fpm: Any, scripts: Path) -> None:
    """Workers that leave after three requests cost no job."""
    fpm = await start_fpm(max_children=2, pool={"pm.max_requests": "3"})
    async with Dispatcher(Endpoint(fpm.address, max_children=2, root=str(scripts))) as php:
        responses = await php.run_all(Job("respond.php", query={"body": str(n)}) for n in range(100))
    assert [response.text for response in responses] == [str(n) for n in range(100)]


async def test_a_missing_socket_is_told_at_once(tmp_path: Path) -> None:
    """An endpoint that never answered fails its jobs at once, naming the socket and what to look at."""
    async with Dispatcher(f"unix://{tmp_path}/none.sock", max_children=1) as php:
        with pytest.raises(ConnectError, match=r"none\.sock.*there is no such socket") as failure:
            await php.run(Job("/x.php"))
        assert isinstance(failure.value.__cause__, FileNotFoundError)
        assert not failure.value.may_have_run
