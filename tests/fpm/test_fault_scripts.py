"""Scripts that go wrong: limits of PHP, fatal errors, endless ones that nobody waits for any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from fcgi_async import ConnectionLost, Job, Response
from tests.eventually import eventually
from tests.fpm.fault import Fault, fault

pytestmark = pytest.mark.anyio


async def test_request_terminate_timeout(start_fpm: Any, marks: Path) -> None:
    """A script that FPM kills may have run; the worker's successor serves the next job."""
    fpm = await start_fpm(max_children=2, pool={"request_terminate_timeout": "1s"})
    async with fault(fpm, marks) as it:
        end = await it.run("sleep until told", gate="/nowhere")
        assert isinstance(end, ConnectionLost)
        assert end.may_have_run
        await it.load(10)
        assert it.failed == {"ConnectionLost": 1}


@pytest.mark.parametrize("do", ["exhaust memory", "use up time", "throw"])
@pytest.mark.parametrize("display", ["off", "on"], ids=lambda display: f"display_errors={display}")
async def test_fatal_error(start_fpm: Any, marks: Path, do: str, display: str) -> None:
    """A fatal error is a response: 500 with the message in stderr, or what display_errors prints; nothing is lost."""
    fpm = await start_fpm(max_children=2, ini={"display_errors": display, "html_errors": "off"})
    async with fault(fpm, marks) as it:
        end = await it.run(do)
        assert isinstance(end, Response)
        assert end.status == (500 if display == "off" else 200)
        assert "Fatal error" in end.stderr.decode() + end.text
        await it.load(10)
        assert not it.failed


async def test_exit(start_fpm: Any, marks: Path) -> None:
    """exit(1) looks like success on FPM, whose appStatus is always 0."""
    async with fault(await start_fpm(max_children=2), marks) as it:
        end = await it.run("exit")
        assert isinstance(end, Response)
        assert (end.status, end.app_status, end.content) == (200, 0, b"")


async def cancelled(it: Fault, when: Callable[[], object], *arguments: Any, **settings: Any) -> None:
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: it.run(*arguments, **settings))
        await eventually(when)
        tasks.cancel_scope.cancel()


async def test_script_that_prints_for_ever_is_cancelled(start_fpm: Any, marks: Path) -> None:
    """It is drained up to drain_bytes, and dies of the close: its worker serves the next job."""
    async with fault(await start_fpm(max_children=1), marks, drain_bytes=1_000_000) as it:
        await cancelled(it, lambda: it.executed(), "print for ever")
        await it.load(10)
        assert not it.failed


async def test_script_that_sleeps_is_cancelled(start_fpm: Any, marks: Path) -> None:
    """It keeps its slot until it ends, within drain_timeout; others run on what is left."""
    gate = marks.parent / "gate"
    async with fault(await start_fpm(max_children=2), marks) as it:
        await cancelled(it, lambda: it.executed(), "sleep until told", gate=gate)
        await it.load(10)
        assert it.php.statistics().draining == 1
        gate.touch()
        assert not it.failed


async def test_upload_is_cancelled_half_written(start_fpm: Any, marks: Path) -> None:
    """A body that is cut off runs at most once, with what had come; the next job runs."""
    halfway, go_on = anyio.Event(), anyio.Event()

    async def body() -> AsyncIterator[bytes]:
        yield bytes(50_000)
        halfway.set()
        await go_on.wait()
        yield bytes(50_000)

    async with fault(await start_fpm(max_children=2), marks) as it:
        await cancelled(it, halfway.is_set, job={"content": body(), "content_length": 100_000})
        await it.load(10)
        assert not it.failed


async def test_script_finishes_early_with_late_output(start_fpm: Any, marks: Path) -> None:
    """What is printed after fastcgi_finish_request() reaches nobody, and no more scripts run than the share."""
    async with fault(await start_fpm(max_children=2), marks) as it:
        await it.load(40, do="finish early", seconds=0)
        assert not it.failed
        last = await it.php.run(Job("respond.php", query={"body": "clean"}))
        assert last.text == "clean"


async def test_status_page_is_away(start_fpm: Any, marks: Path) -> None:
    """Without the status page that was promised abandoned slots are given back by time, and jobs go on."""
    gate = marks.parent / "gate"
    fpm = await start_fpm(max_children=2)
    page = f"unix://{marks.parent}/none.sock"
    async with fault(fpm, marks, status=page, on_cancel="close") as it:
        it.abandons = True
        await cancelled(it, lambda: it.executed(), "sleep until told", gate=gate)
        await eventually(lambda: it.php.statistics().lingering == 0)
        gate.touch()
        await it.load(10)
        assert not it.failed
