"""PHP-FPM behind a relay, which hides how a connection ended."""

from __future__ import annotations

import logging
from contextlib import suppress
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import ConnectionLost, Dispatcher, Endpoint, Job, JobCancelled, KeepAlive
from tests.conftest import SCRIPTS, StartFPM
from tests.dispatch.settled import settled, slots
from tests.eventually import eventually
from tests.fpm.fault import fault
from tests.fpm.marks import ended, started
from tests.interop.relay import relay

pytestmark = pytest.mark.anyio

# what ends a job that is run again and again
PATIENCE = 5.0


@pytest.mark.parametrize("before", [0, 3], ids=["the first job", "a kept connection"])
async def test_worker_dies_over_a_job(relayed: str, marks: Path, caplog: pytest.LogCaptureFixture, before: int) -> None:
    """A job whose worker dies runs once, and its error says that it may have run; nobody is told to upgrade PHP."""
    caplog.set_level(logging.WARNING, "fcgi_async")
    async with fault(relayed, marks) as it:
        await it.load(before, at_once=1)
        name = it.new_name()
        end = await it.run_as(name, "kill itself", job={"timeout": PATIENCE})
        assert it.executed()[name] == 1
        assert isinstance(end, ConnectionLost)
        assert end.may_have_run
    assert "upgrade PHP" not in caplog.text


async def test_workers_that_die_again_and_again(relayed: str, marks: Path, caplog: pytest.LogCaptureFixture) -> None:
    """However many workers die over their jobs, each job runs once, and nobody is told to upgrade PHP."""
    caplog.set_level(logging.WARNING, "fcgi_async")
    async with fault(relayed, marks) as it:
        for _ in range(5):
            await it.run("kill itself", job={"timeout": PATIENCE})
        assert it.failed == {"ConnectionLost": 5}
    assert "upgrade PHP" not in caplog.text


async def test_idempotent_job_is_tried_again(relayed: str, marks: Path) -> None:
    """An idempotent job whose worker always dies is tried three times, and its error says that it may have run."""
    async with fault(relayed, marks) as it:
        end = await it.run("kill itself", job={"timeout": PATIENCE, "idempotent": True})
        assert it.executed()["0"] == 3
        assert isinstance(end, ConnectionLost)
        assert end.may_have_run


@pytest.mark.parametrize("keepalive", [KeepAlive(), KeepAlive(max_requests=1)], ids=["kept", "one job each"])
async def test_many_jobs(relayed: str, marks: Path, keepalive: KeepAlive) -> None:
    """Jobs succeed behind a relay, on kept connections and on one for each."""
    async with fault(relayed, marks, keepalive=keepalive) as it:
        await it.load(200)
        assert it.failed == {}
        statistics = it.php.statistics()
    if keepalive.max_requests is None:
        assert statistics.connections_opened <= 2
    else:
        assert statistics.connections_opened >= 200


async def test_large_body(relayed: str) -> None:
    """A body of 300 KB goes there and back."""
    body = bytes(n * 7 % 251 for n in range(300_000))
    async with Dispatcher(Endpoint(relayed, max_children=2, root=str(SCRIPTS))) as php:
        responses = await php.run_all(Job("echo.php", content=body) for _ in range(4))
    assert [response.content == body for response in responses] == [True] * 4


async def test_cancelled_job_that_ends(relayed: str, marks: Path) -> None:
    """The slot of a cancelled job stays taken until its script has ended, and is free then."""
    gate = marks.parent / "gate"
    async with fault(relayed, marks, drain_timeout=60.0, linger=60.0) as it:
        await cancel_over_a_job(it.php, marks, gate)
        await it.load(10)
        assert slots(it.php.statistics()) >= 1
        assert it.php.statistics().draining == 1
        gate.touch()
        await eventually(lambda: it.php.statistics().draining == 0)
        await it.load(10)
        assert it.failed == {}


async def test_cancelled_job_that_goes_on(relayed: str, marks: Path) -> None:
    """The slot of a cancelled job whose script does not end is free after drain_timeout and linger."""
    gate = marks.parent / "gate"
    async with fault(relayed, marks, share=1, drain_timeout=0.1, linger=0.2, keepalive=KeepAlive(idle=0)) as it:
        it.abandons = True
        await cancel_over_a_job(it.php, marks, gate)
        await eventually(lambda: slots(it.php.statistics()) == 0)
        # the other of the two workers takes it
        await it.load(5)
        assert it.failed == {}
        gate.touch()


async def test_cancelled_jobs_among_others(relayed: str, marks: Path) -> None:
    """Jobs that are cancelled at any moment leave their neighbours whole, and all slots come back."""
    async with fault(relayed, marks) as it:
        query = {"marks": str(marks), "do": "", "seconds": "0.004"}

        async def cancelled() -> None:
            for number in range(40):
                handle = await it.php.submit(Job("fault.php", query={**query, "name": f"cancelled-{number}"}))
                await anyio.sleep(number * 0.0002)
                handle.cancel()
                it.cancelled.add(f"cancelled-{number}")
                it.sent += 1
                with suppress(JobCancelled):
                    await handle

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(cancelled)
            await it.load(100, at_once=2)
        assert it.failed == {}
        await settled(it.php)


async def cancel_over_a_job(php: Dispatcher, marks: Path, gate: Path) -> None:
    """Cancel a job whose script runs until the gate is there."""
    query: dict[str, Any] = {"marks": str(marks), "name": "cancelled", "do": "sleep until told", "gate": str(gate)}
    handle = await php.submit(Job("fault.php", query=query))
    await eventually(lambda: marks.exists() and "cancelled +" in marks.read_text())
    handle.cancel()
    with pytest.raises(JobCancelled):
        await handle


async def test_relay_that_dies_under_a_script(
    start_fpm: StartFPM, socket_directory: Path, scripts: Path, tmp_path: Path
) -> None:
    """A script runs on when its relay dies: its slot lingers, and counts against the share."""
    fpm, marks, gate = await start_fpm(max_children=2), tmp_path / "marks", tmp_path / "gate"
    settings: dict[str, Any] = {"max_children": 2, "reserve": 1, "root": str(scripts), "linger": 600.0}
    async with relay("socat", fpm.address, socket_directory) as address:
        php = Dispatcher(Endpoint(address, **settings), shutdown_timeout=0.0)
        await php.__aenter__()
        assert (await php.run(Job("respond.php"))).ok
        handle = await php.submit(Job("wait.php", query={"marks": str(marks), "gate": str(gate)}))
        await eventually(lambda: started(marks))
    try:
        with pytest.raises(ConnectionLost) as caught:
            await handle
        assert caught.value.may_have_run
        assert (php.statistics().lingering, ended(marks)) == (1, 0)
    finally:
        gate.touch()
        await php.aclose()
