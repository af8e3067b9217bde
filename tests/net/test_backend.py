"""What both event loops offer in the same way: timers, waiters, and tasks that have an owner."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
import pytest

from fcgi_async.net.backend import Backend, current_backend
from tests.eventually import eventually

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def opened() -> AsyncIterator[Backend]:
    """A backend that is ready."""
    backend = current_backend()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.aclose()


async def test_timers_run_in_their_order() -> None:
    """An earlier timer set later is not held up by a later one set earlier."""
    async with opened() as backend:
        calls: list[str] = []
        now = backend.now()
        backend.call_at(now + 0.03, lambda: calls.append("third"))
        backend.call_at(now + 0.02, lambda: calls.append("second"))
        await anyio.wait_all_tasks_blocked()
        backend.call_at(now + 0.01, lambda: calls.append("first"))
        await eventually(lambda: len(calls) == 3)
        assert calls == ["first", "second", "third"]


async def test_cancelled_timer_is_not_run() -> None:
    """A timer that was cancelled is forgotten; those behind it are not."""
    async with opened() as backend:
        calls: list[str] = []
        now = backend.now()
        backend.call_at(now + 0.005, lambda: calls.append("cancelled")).cancel()
        backend.call_at(now + 0.01, lambda: calls.append("kept"))
        await eventually(lambda: calls)
        assert calls == ["kept"]


async def test_timer_that_sets_a_timer() -> None:
    """A timer may set the next one, for a time that has passed already too."""
    async with opened() as backend:
        calls: list[str] = []

        def first() -> None:
            backend.call_at(0.0, lambda: calls.append("second"))

        backend.call_at(backend.now(), first)
        await eventually(lambda: calls == ["second"])


async def test_waiter() -> None:
    """A waiter wakes its task, and remembers that it was set."""
    async with opened() as backend:
        waiter, woken = backend.waiter(), []

        async def wait() -> None:
            await waiter
            woken.append(True)

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            assert not waiter.done()
            assert not woken
            waiter.set_result(None)
            assert waiter.done()
        assert woken
        await waiter


async def test_task_is_cancelled() -> None:
    """Cancelling one task leaves its siblings alone."""
    async with opened() as backend:
        ended: list[str] = []

        async def run(name: str) -> None:
            try:
                await anyio.sleep_forever()
            finally:
                ended.append(name)

        first = backend.spawn(lambda: run("first"))
        backend.spawn(lambda: run("second"))
        await anyio.wait_all_tasks_blocked()
        first.cancel()
        await eventually(lambda: ended)
        await anyio.wait_all_tasks_blocked()
        assert ended == ["first"]
    assert ended == ["first", "second"]


async def test_closing_waits_for_the_ends_of_tasks() -> None:
    """A task that cleans up is waited for, even where the closing itself is cancelled."""
    ended: list[bool] = []

    async def run() -> None:
        try:
            await anyio.sleep_forever()
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
                await anyio.lowlevel.checkpoint()
            ended.append(True)

    with anyio.CancelScope() as scope:
        async with opened() as backend:
            backend.spawn(run)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert ended == [True]
