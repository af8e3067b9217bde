"""Bodies that come in parts, where they meet cancellation and mistakes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import anyio
import pytest

from fcgi_async import ConnectionLost, Dispatcher, DispatcherClosed, Endpoint, Job, JobCancelled, JobError
from tests.eventually import eventually
from tests.fpm.marks import started

pytestmark = pytest.mark.anyio


async def test_a_job_cancelled_as_its_body_begins_never_runs(php: Dispatcher, tmp_path: Path) -> None:
    """Cancelled in the turn in which its first part comes, a job says that it did not run, and did not."""
    marks, ready = tmp_path / "marks", anyio.Event()

    async def body() -> AsyncIterator[bytes]:
        await ready.wait()
        yield b"x" * 10

    handle = await php.submit(
        Job("work.php", query={"marks": str(marks)}, content=body(), content_length=10),
    )
    await eventually(lambda: php.statistics().busy == 1)
    ready.set()
    handle.cancel()
    with pytest.raises(JobCancelled) as failure:
        await handle
    assert not failure.value.may_have_run
    await php.run_all([Job("respond.php")] * 20)
    assert started(marks) == 0


async def test_a_part_that_is_no_bytes_is_told(php: Dispatcher) -> None:
    """An int is not silently made into that many zero bytes."""

    async def numbers() -> AsyncIterator[bytes]:
        yield cast(bytes, 10)

    with pytest.raises(JobError, match="gave int, but must give bytes") as failure:
        await php.run(Job("echo.php", content=numbers(), content_length=10))
    assert not failure.value.may_have_run


async def test_an_iterator_is_sent_once(php: Dispatcher) -> None:
    """A second run of a job whose body is an iterator is an error that says why."""

    async def body() -> AsyncIterator[bytes]:
        yield b"once"

    job = Job("echo.php", content=body(), content_length=4)
    assert (await php.run(job)).content == b"once"
    with pytest.raises(JobError, match="sent before"):
        await php.run(job)


async def test_waiting_for_the_worker_tells_when_it_was_not_seen_to_end(
    start_fpm: Any, scripts: Path, tmp_path: Path
) -> None:
    """finishes_early=False is no success where the script outlives drain_timeout."""
    fpm, marks = await start_fpm(max_children=1), tmp_path / "marks"
    endpoint = Endpoint(fpm.address, max_children=1, root=str(scripts), drain_timeout=0.05)
    async with Dispatcher(endpoint) as php:
        query = {"marks": str(marks), "name": "x", "seconds": "1"}
        with pytest.raises(ConnectionLost, match="did not report in time") as failure:
            await php.run(Job("early.php", query=query, finishes_early=False))
        assert failure.value.may_have_run


async def test_closing_twice(start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """A second aclose() with less patience ends what the first one waits for."""
    fpm, gate = await start_fpm(max_children=1), tmp_path / "gate"
    php = Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts)))

    async def hasten() -> None:
        await eventually(lambda: "closing" in repr(php))
        await php.aclose(timeout=0)

    async with anyio.create_task_group() as tasks:
        async with php:
            handle = await php.submit(Job("gate.php", query={"gate": str(gate)}))
            tasks.start_soon(hasten)
        assert isinstance(handle.exception(), DispatcherClosed)
