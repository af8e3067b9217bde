"""An ordered map: a slow job holds up neither the workers nor the memory, and a closed dispatcher ends the stream."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from itertools import count
from typing import Any

import anyio
import pytest

from fcgi_async import Dispatcher, DispatcherClosed, InvalidJob, Job, Outcome
from fcgi_async.testing import Request, Responder
from tests.eventually import eventually
from tests.handlers import Held, echo, ok

pytestmark = pytest.mark.anyio


class FirstIsSlow:
    """A script that answers the first job when it is told to, and the others at once."""

    def __init__(self) -> None:
        self.held = Held()

    async def __call__(self, request: Request) -> None:
        await (self.held(request) if request.script == "/first.php" else echo(request))


def first_and(others: Iterator[Job]) -> Iterator[Job]:
    """The slow one, and others."""
    yield Job("/first.php", tag="first")
    yield from others


async def as_async(jobs: Iterator[Job]) -> AsyncIterator[Job]:
    """Jobs as an async iterable."""
    for job in jobs:
        yield job


@pytest.mark.parametrize("kind", ["sync", "async"])
async def test_slow_job_does_not_hold_up_the_workers(address: str, kind: str) -> None:
    """All others end while the first one runs; all come in their order after it."""
    script = FirstIsSlow()
    jobs = first_and(Job("/n.php", content=str(n), tag=n) for n in range(100))
    tags: list[object] = []

    async def read(php: Dispatcher) -> None:
        async with php.map(jobs if kind == "sync" else as_async(jobs)) as outcomes:
            async for outcome in outcomes:
                outcome.result()
                tags.append(outcome.job.tag)

    async with Responder(script, address), Dispatcher(address, max_children=2) as php:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read, php)
            await eventually(lambda: php.statistics().completed == 100)
            assert not tags
            script.held.release()
        assert tags == ["first", *range(100)]


@pytest.mark.parametrize(
    ("name", "bound", "size", "most"), [("_EARLY_MAX", 20, 1, 20), ("_EARLY_BYTES_MAX", 20_000, 1000, 20)]
)
async def test_early_outcomes_are_bounded(
    address: str, monkeypatch: pytest.MonkeyPatch, name: str, bound: int, size: int, most: int
) -> None:
    """Of an endless source no more is read than the window, and early outcomes up to their number and their bytes."""
    monkeypatch.setattr(f"fcgi_async.dispatch.outcomes.{name}", bound)
    script, window, made = FirstIsSlow(), 6, []

    def endless() -> Iterator[Job]:
        for n in count():
            made.append(n)
            yield Job("/n.php", content=b"x" * size)

    async with Responder(script, address), Dispatcher(address, max_children=2) as php:
        async with php.map(first_and(endless())) as outcomes, anyio.create_task_group() as tasks:
            tasks.start_soon(outcomes.__anext__)
            await eventually(lambda: php.statistics().completed >= most and not php.statistics().queued)
            assert most <= len(made) <= most + window
            tasks.cancel_scope.cancel()
        script.held.release()


async def test_explicit_limit_counts_all(address: str) -> None:
    """With limit=3 no more than three jobs are handed in and not read, early ones included."""
    script, made = FirstIsSlow(), []

    def endless() -> Iterator[Job]:
        for n in count():
            made.append(n)
            yield Job("/n.php")

    async with Responder(script, address), Dispatcher(address, max_children=2) as php:
        async with php.map(first_and(endless()), limit=3) as outcomes, anyio.create_task_group() as tasks:
            tasks.start_soon(outcomes.__anext__)
            await eventually(lambda: php.statistics().completed == 2)
            await anyio.wait_all_tasks_blocked()
            assert len(made) == 2
            tasks.cancel_scope.cancel()
        script.held.release()


async def test_slow_reader_holds_up_the_source(address: str) -> None:
    """What could be read counts for the window: nothing is early while no job is slow, so the source waits."""
    made: list[int] = []

    def endless() -> Iterator[Job]:
        for n in count():
            made.append(n)
            yield Job("/n.php")

    # one worker: outcomes come in the order of the jobs
    async with Responder(ok, address), Dispatcher(address, max_children=1) as php:
        async with php.map(endless()) as outcomes:
            await outcomes.__anext__()
            await eventually(lambda: php.statistics().completed == len(made))
            assert len(made) <= 5


async def test_map_is_cancelled_though_every_job_is_refused(address: str) -> None:
    """An endless source of jobs that are refused at once is read with a checkpoint for each."""

    def endless() -> Iterator[Job]:
        while True:
            yield Job("relative.php")

    async with Dispatcher(address, max_children=1) as php:
        with anyio.CancelScope() as scope:
            read = 0
            async with php.map(endless()) as outcomes:
                async for outcome in outcomes:
                    assert isinstance(outcome.error, InvalidJob)
                    read += 1
                    if read == 10:
                        scope.cancel()
                    assert read <= 10
        assert scope.cancelled_caught


@pytest.mark.parametrize("kind", ["sync", "async"])
@pytest.mark.parametrize("ordered", [True, False])
async def test_endless_map_ends_with_its_dispatcher(address: str, kind: str, ordered: bool) -> None:
    """After the outcomes of the jobs that were read, the refused one last, DispatcherClosed is raised."""
    held, made = Held(), []
    found: list[Outcome] = []
    raised: list[DispatcherClosed] = []

    def endless() -> Iterator[Job]:
        for n in count():
            made.append(n)
            yield Job("/n.php", tag=n)

    async def read(php: Dispatcher) -> None:
        jobs: Any = endless() if kind == "sync" else as_async(endless())
        async with php.map(jobs, ordered=ordered) as outcomes:
            try:
                async for outcome in outcomes:
                    found.append(outcome)
            except DispatcherClosed as error:
                raised.append(error)

    with anyio.fail_after(30):
        async with Responder(held, address), anyio.create_task_group() as tasks:
            async with Dispatcher(address, max_children=1, shutdown_timeout=0.0) as php:
                tasks.start_soon(read, php)
                await eventually(lambda: held.running)
    assert len(raised) == 1
    assert raised[0].job is None
    assert sorted(outcome.job.tag for outcome in found) == made  # type: ignore[type-var]
    assert {type(outcome.error) for outcome in found} == {DispatcherClosed}
    assert len(made) < 10
