"""What both event loops offer in the same way: timers, waiters, and tasks that have an owner."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.current import current_backend
from tests.eventually import eventually

on_every_loop = pytest.mark.anyio


@asynccontextmanager
async def opened() -> AsyncIterator[Backend]:
    """A backend that is ready."""
    backend = current_backend()
    await backend.open()
    try:
        yield backend
    finally:
        await backend.aclose()


@on_every_loop
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


@on_every_loop
async def test_cancelled_timer_is_not_run() -> None:
    """A timer that was cancelled is forgotten; those behind it are not."""
    async with opened() as backend:
        calls: list[str] = []
        now = backend.now()
        backend.call_at(now + 0.005, lambda: calls.append("cancelled")).cancel()
        backend.call_at(now + 0.01, lambda: calls.append("kept"))
        await eventually(lambda: calls)
        assert calls == ["kept"]


@on_every_loop
async def test_timer_that_sets_a_timer() -> None:
    """A timer may set the next one, for a time that has passed already too."""
    async with opened() as backend:
        calls: list[str] = []

        def first() -> None:
            backend.call_at(0.0, lambda: calls.append("second"))

        backend.call_at(backend.now(), first)
        await eventually(lambda: calls == ["second"])


@on_every_loop
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


@on_every_loop
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


@on_every_loop
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


@on_every_loop
async def test_timer_that_sets_a_timer_for_now_lets_others_run() -> None:
    """What a timer sets for now comes in another turn, so that work can be cut in pieces."""
    async with opened() as backend:
        order: list[str] = []

        def again() -> None:
            order.append("timer")
            if order.count("timer") < 20:
                backend.call_at(0.0, again)

        async def other() -> None:
            while order.count("timer") < 20:
                await anyio.lowlevel.checkpoint()
                order.append("task")

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(other)
            backend.call_at(0.0, again)
        together = "".join("t" if entry == "timer" else " " for entry in order).split()
        assert max(len(run) for run in together) < 5


@on_every_loop
async def test_timer_cancelled_by_one_that_is_due_at_the_same_time() -> None:
    """It is not called, though it was due already: of two that cancel each other one is called."""
    async with opened() as backend:
        calls: list[int] = []
        timers: list[Timer] = []
        when = backend.now() + 0.01

        def called(number: int) -> None:
            calls.append(number)
            timers[1 - number].cancel()

        timers.append(backend.call_at(when, lambda: called(0)))
        timers.append(backend.call_at(when, lambda: called(1)))
        ended: list[bool] = []
        backend.call_at(when + 0.02, lambda: ended.append(True))
        await eventually(lambda: ended)
        assert len(calls) == 1


@on_every_loop
async def test_outlasting_a_cancellation() -> None:
    """What is to be done to its end is, and the cancellation goes on after it."""
    async with opened() as backend:
        done: list[bool] = []

        async def work() -> None:
            for _ in range(5):
                await backend.checkpoint()
            done.append(True)

        with anyio.CancelScope() as scope:
            scope.cancel()
            await backend.outlast(work)
            await backend.checkpoint()
        assert done
        assert scope.cancelled_caught


@pytest.mark.asyncio
async def test_outlasting_many_cancellations() -> None:
    """Task.cancel() at every turn does not end it either."""
    async with opened() as backend:
        done: list[bool] = []

        async def work() -> None:
            for _ in range(10):
                await backend.checkpoint()
            done.append(True)

        task = asyncio.create_task(backend.outlast(work))
        await asyncio.sleep(0)
        while not task.done():
            task.cancel()
            await asyncio.sleep(0)
        assert done
        assert task.cancelled()


@on_every_loop
async def test_call_from_another_thread() -> None:
    """A callback handed over by any thread is called in the event loop."""
    async with opened() as backend:
        calls: list[object] = []
        assert await anyio.to_thread.run_sync(
            lambda: backend.call_soon_threadsafe(lambda: calls.append(anyio.get_current_task))
        )
        await eventually(lambda: calls)


@on_every_loop
@pytest.mark.parametrize("backend_name", ["asyncio", "trio"])
async def test_call_after_the_end_of_the_loop(backend_name: str) -> None:
    """A loop that has ended is told apart, and nothing raised."""

    async def live() -> Backend:
        async with opened() as backend:
            return backend

    def ended() -> bool:
        return anyio.run(live, backend=backend_name).call_soon_threadsafe(lambda: None)

    assert await anyio.to_thread.run_sync(ended) is False


def eager(loop: asyncio.AbstractEventLoop, coroutine: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """A task factory that runs a task's first step before it returns the task, as asyncio.eager_task_factory does."""
    try:
        first = coroutine.send(None)
    except StopIteration as stop:
        value = stop.value

        async def ended() -> Any:
            return value

        return asyncio.Task(ended(), loop=loop, **options)

    async def rest() -> Any:
        # a bare yield, or a future that is awaited again
        await (asyncio.sleep(0) if first is None else first)
        return await coroutine

    return asyncio.Task(rest(), loop=loop, **options)


@pytest.mark.asyncio
async def test_tasks_are_never_eager() -> None:
    """A task begins after spawn() has returned it, whatever the loop's task factory."""
    factory: Any = eager
    if sys.version_info >= (3, 12):
        factory = asyncio.eager_task_factory
    asyncio.get_running_loop().set_task_factory(factory)
    async with opened() as backend:
        steps: list[str] = []

        async def run() -> None:
            steps.append("begun")

        task = backend.spawn(run)
        steps.append("spawned")
        await task.join()
        assert steps == ["spawned", "begun"]
