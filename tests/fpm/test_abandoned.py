"""What becomes of a real script that nobody waits for any more, by each bound of `on_cancel`."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, Limits, LocalFPM, ResponseTooLarge
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.fpm.marks import ended, started

pytestmark = pytest.mark.anyio

Settings = dict[str, Any]


@asynccontextmanager
async def one_worker(
    fpm: LocalFPM, scripts: Path, limits: Limits | None = None, **settings: Any
) -> AsyncIterator[Dispatcher]:
    endpoint = Endpoint(fpm.address, max_children=settings.get("processes", 1), root=str(scripts), **settings)
    async with Dispatcher(endpoint, limits=limits or Limits()) as php:
        yield php


async def abandon(php: Dispatcher, job: Job, when: Callable[[], object]) -> None:
    """Run a job and cancel the call once something has happened."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(php.run, job)
        await eventually(when)
        tasks.cancel_scope.cancel()


@pytest.mark.parametrize(
    "settings", [{"drain_timeout": 0.02}, {"on_cancel": "close"}], ids=["drain_timeout", "on_cancel"]
)
async def test_a_silent_script_outlives_its_connection(
    start_fpm: Any, scripts: Path, tmp_path: Path, settings: Settings
) -> None:
    """Closing does not end a script that prints nothing: on TCP its slot lingers, and is free after `linger`."""
    fpm = await start_fpm(listen="tcp", max_children=2)
    marks, gate = tmp_path / "marks", tmp_path / "gate"
    job = Job("wait.php", query={"marks": str(marks), "gate": str(gate)})
    async with one_worker(fpm, scripts, linger=0.05, processes=2, **settings) as php:
        await abandon(php, job, lambda: started(marks))
        await eventually(lambda: php.statistics().lingering == 1)
        assert (await php.run(Job("respond.php"))).ok
        assert not ended(marks)
        gate.touch()
        await eventually(lambda: ended(marks) == 1)


@pytest.mark.parametrize(
    "settings", [{"drain_bytes": 1_000_000}, {"on_cancel": "close"}], ids=["drain_bytes", "on_cancel"]
)
async def test_a_script_that_prints_for_ever_dies_of_the_close(
    start_fpm: Any, scripts: Path, settings: Settings
) -> None:
    """A script that writes to a connection that was closed ends, so that the only worker serves the next job."""
    fpm = await start_fpm(max_children=1)
    async with one_worker(fpm, scripts, linger=0.0, **settings) as php:
        await abandon(php, Job("flood.php"), lambda: php.statistics().busy)
        assert (await php.run(Job("respond.php", query={"body": "free"}), timeout=20)).text == "free"


async def test_a_response_over_its_limit_ends_the_script(start_fpm: Any, scripts: Path) -> None:
    """A response that grows over `Limits.response` fails the job, which may have run, and frees the only worker."""
    fpm = await start_fpm(max_children=1)
    async with one_worker(fpm, scripts, Limits(response=1_000_000), linger=0.0) as php:
        with pytest.raises(ResponseTooLarge) as caught:
            await php.run(Job("flood.php"))
        assert caught.value.may_have_run
        assert (await php.run(Job("flood.php", query={"bytes": "999999"}), timeout=20)).ok


async def test_log_over_its_limit_is_cut(fpm: LocalFPM, scripts: Path) -> None:
    """Of what a script logs at most `Limits.stderr` is kept; the job is not disturbed."""
    async with one_worker(fpm, scripts, Limits(stderr=100)) as php:
        response = await php.run(Job("respond.php", query={"log": "x" * 900, "body": "whole"}))
        assert response.text == "whole"
        assert len(response.stderr) == 100
        await settled(php)
