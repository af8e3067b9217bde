"""However many jobs end at once, other tasks run in between."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import anyio
import pytest

from fcgi_async import (
    ConnectError,
    Dispatcher,
    DispatcherClosed,
    FastCGIError,
    InvalidJob,
    Job,
)
from fcgi_async.testing import Responder
from tests.handlers import Held

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

MANY = 2000
# of jobs that end between two turns of a task at most: trio runs the tasks of a turn in any order
AT_ONCE = 500


@pytest.fixture
def most_at_once(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many jobs failed between two turns of a task that does nothing else."""
    counts = [0]
    original = FastCGIError.about

    def counting(self: FastCGIError, *args: object, **options: object) -> None:
        counts[-1] += 1
        original(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(FastCGIError, "about", counting)
    return counts


async def turn(counts: list[int]) -> None:
    """Begin a new count at every turn of the loop."""
    while True:
        await anyio.lowlevel.checkpoint()
        counts.append(0)


@pytest.mark.parametrize("way", ["submit", "run_all", "async run_all"])
async def test_unreachable_endpoint(address: str, most_at_once: list[int], way: str) -> None:
    """Jobs for which there is no endpoint fail a few hundred in a turn, and by one attempt to connect."""
    jobs = [Job("/a.php")] * MANY

    async def one_by_one() -> AsyncIterator[Job]:
        for job in jobs:
            yield job

    async with Dispatcher(address, max_children=2) as php, anyio.create_task_group() as tasks:
        tasks.start_soon(turn, most_at_once)
        if way == "submit":
            php.pause()
            handles = [await php.submit(job) for job in jobs]
            php.resume()
            await php.join()
            errors = [handle.exception() for handle in handles]
        else:
            errors = list(await php.run_all(jobs if way == "run_all" else one_by_one(), return_exceptions=True))  # type: ignore[arg-type]
        assert {type(error) for error in errors} == {ConnectError}
        assert php.statistics().failed == len(errors) == MANY
        assert php.statistics().connections_failed < 10
        tasks.cancel_scope.cancel()
    assert max(most_at_once) <= AT_ONCE


async def test_jobs_that_are_refused(address: str) -> None:
    """run_all() takes jobs that are refused at once a few hundred in a turn."""
    turns: list[int] = []
    async with Dispatcher(address, max_children=2) as php, anyio.create_task_group() as tasks:
        tasks.start_soon(turn, turns)
        results = await php.run_all([Job("relative.php")] * MANY, return_exceptions=True)
        assert {type(result) for result in results} == {InvalidJob}
        assert len(turns) >= MANY // AT_ONCE
        tasks.cancel_scope.cancel()


async def test_closing(address: str, most_at_once: list[int], caplog: pytest.LogCaptureFixture) -> None:
    """A dispatcher that gives up thousands of jobs does that in turns, and its log names a few and counts the rest."""
    told: list[FastCGIError] = []
    async with Responder(Held(), address), anyio.create_task_group() as tasks:
        async with Dispatcher(address, max_children=1, shutdown_timeout=0.0, on_job_error=told.append) as php:
            tasks.start_soon(turn, most_at_once)
            for _ in range(MANY):
                await php.submit(Job("/a.php"))
        tasks.cancel_scope.cancel()
    assert max(most_at_once) <= AT_ONCE
    assert {type(error) for error in told} == {DispatcherClosed}
    assert len(told) == MANY
    errors = [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 6
    assert f"{MANY - 5} more submitted job(s)" in errors[-1]
