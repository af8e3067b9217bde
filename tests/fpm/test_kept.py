"""Slots kept for important jobs, on a real PHP-FPM: by the scripts' own marks."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, KeepAlive, LocalFPM
from fcgi_async.testing import Request, Responder
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.fpm.marks import ended, most_at_once, started

pytestmark = pytest.mark.anyio


async def test_an_important_job_never_waits_for_a_running_one(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Of 4 slots jobs of priority 0 use 3 at most, whatever waits; one of priority 10 starts while those run."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    slow = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    async with Dispatcher(Endpoint(fpm.address, max_children=4, root=str(scripts), kept={10: 1})) as php:
        handles = [await php.submit(slow) for _ in range(40)]
        await eventually(lambda: started(marks) == 3)
        for n in range(5):
            response = await php.run(Job("respond.php", query={"body": str(n)}, priority=10))
            assert (response.text, ended(marks)) == (str(n), 0)
        assert (php.statistics().running, php.statistics().queued) == (3, 37)
        gate.touch()
        for handle in handles:
            await handle
    assert (started(marks), most_at_once(marks)) == (40, 3)


async def test_each_important_job_finds_a_worker_beside_short_ones(
    fpm: LocalFPM, scripts: Path, tmp_path: Path
) -> None:
    """Never more than 3 of 400 short jobs run at once while jobs of priority 10 come and go between them."""
    marks = tmp_path / "marks"
    short = Job("work.php", query={"marks": str(marks), "seconds": "0.002"})
    async with Dispatcher(Endpoint(fpm.address, max_children=4, root=str(scripts), kept={10: 1})) as php:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(php.run_all, [short] * 400)
            await eventually(lambda: started(marks))
            for _ in range(100):
                await php.run(Job("respond.php", query={"body": "x"}, priority=10))
    assert (started(marks), most_at_once(marks)) == (400, 3)


async def test_abandoned_scripts_count(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A script whose caller is gone still uses one of the slots that are left to its priority."""
    marks, gate, other = tmp_path / "marks", tmp_path / "gate", tmp_path / "other"
    slow = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    async with Dispatcher(Endpoint(fpm.address, max_children=2, root=str(scripts), kept={10: 1})) as php:
        handle = await php.submit(slow)
        await eventually(lambda: started(marks) == 1)
        handle.cancel()
        later = await php.submit(Job("work.php", query={"marks": str(other)}))
        await php.run(Job("respond.php", query={"body": "x"}, priority=10))
        assert (php.statistics().draining, started(other)) == (1, 0)
        gate.touch()
        await later


async def test_a_kept_slot_is_not_held_open(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """The connection of an important job expires as any other does, though jobs wait that may not have it."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    slow = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    endpoint = Endpoint(fpm.address, max_children=2, root=str(scripts), kept={10: 1}, keepalive=KeepAlive(idle=0.05))
    async with Dispatcher(endpoint) as php:
        handles = [await php.submit(slow) for _ in range(3)]
        await eventually(lambda: started(marks) == 1)
        await php.run(Job("respond.php", query={"body": "x"}, priority=10))
        # not before it was idle: it is finishing for a moment
        await eventually(lambda: php.statistics().idle == php.statistics().finishing == 0)
        opened = php.statistics().connections_opened
        await php.run(Job("respond.php", query={"body": "x"}, priority=10))
        assert php.statistics().connections_opened == opened + 1
        gate.touch()
        for handle in handles:
            await handle


async def test_pings_and_slots(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """A ping is answered beside the jobs, a slot of priority 10 is had at once, and one of 0 waits with its equals."""
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    slow = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    async with Dispatcher(Endpoint(fpm.address, max_children=2, root=str(scripts), kept={10: 1})) as php:
        handle = await php.submit(slow)
        await eventually(lambda: started(marks) == 1)
        await php.ping()
        assert (php.room(), php.room(priority=10)) == (0, 1)
        with anyio.move_on_after(0.05) as scope:
            async with php.slot():
                raise AssertionError("it was given a kept worker")
        assert scope.cancelled_caught
        async with php.slot(priority=10) as slot:
            assert php.room(priority=10) == 0
            await slot.run(Job("respond.php", query={"body": "x"}))
        gate.touch()
        await handle
        await settled(php)


async def test_each_endpoint_keeps_its_own() -> None:
    """With two endpoints of which one keeps a slot, the others' jobs use what is left of both."""
    running: list[str] = []
    opened = anyio.Event()

    async def script(request: Request) -> str:
        running.append(request.params["QUERY_STRING"])
        if request.params["QUERY_STRING"] == "low":
            await opened.wait()
        return "ok"

    async with Responder(script) as one, Responder(script) as two:
        pools = [Endpoint(one.address, max_children=2, kept={5: 1}), Endpoint(two.address, max_children=2)]
        async with Dispatcher(pools) as php:
            handles = [await php.submit(Job("/a.php", query="low")) for _ in range(6)]
            await eventually(lambda: len(running) == 3)
            response = await php.run(Job("/a.php", query="high", priority=5))
            assert response.endpoint == one.address
            assert running == ["low"] * 3 + ["high"]
            opened.set()
            for handle in handles:
                await handle


async def test_requests_on_one_connection() -> None:
    """On a peer that multiplexes the kept slots are request ids, held ones among them."""
    running: list[str] = []
    opened = anyio.Event()

    async def script(request: Request) -> str:
        running.append(request.params["QUERY_STRING"])
        if request.params["QUERY_STRING"] == "low":
            await opened.wait()
        return "ok"

    async with Responder(script, multiplex=True) as responder:
        async with Dispatcher(Endpoint(responder.address, max_children=4, kept={5: 1})) as php:
            async with php.slot(), php.slot(priority=5):
                handles = [await php.submit(Job("/a.php", query="low")) for _ in range(4)]
                await eventually(lambda: len(running) == 2)
                assert (php.room(), php.room(priority=5)) == (0, 0)
            await eventually(lambda: len(running) == 3)
            await php.run(Job("/a.php", query="high", priority=5))
            assert running == ["low"] * 3 + ["high"]
            opened.set()
            for handle in handles:
                await handle
