"""Closing ends, whatever happens meanwhile."""

from __future__ import annotations

import asyncio

import anyio
import pytest

from fcgi_async import Dispatcher, DispatcherClosed, Job
from fcgi_async.testing import Responder
from tests.eventually import eventually
from tests.handlers import Held

JOB = Job("/held.php")


@pytest.mark.asyncio
async def test_second_close_ends_though_the_first_was_cancelled_twice(address: str) -> None:
    """The dispatcher is closed, and so is whoever waits for that, whatever was done to the task that closes it."""
    held = Held()
    async with Responder(held, address):
        before = asyncio.all_tasks()
        php = Dispatcher(address, max_children=2)
        await php.__aenter__()
        handle = await php.submit(JOB)
        await eventually(lambda: held.running)
        first = asyncio.create_task(php.aclose(timeout=None))
        await asyncio.sleep(0)
        second = asyncio.create_task(php.aclose(timeout=None))
        await asyncio.sleep(0)
        # at every turn from here on
        while not first.done():
            first.cancel()
            await asyncio.sleep(0)
        assert first.cancelled()
        async with asyncio.timeout(20):
            await second
        assert php.closed
        assert isinstance(handle.exception(), DispatcherClosed)
        assert {task for task in asyncio.all_tasks() - before if "fcgi_async" in repr(task)} == set()


@pytest.mark.anyio
async def test_close_that_is_cancelled_has_closed(address: str) -> None:
    """A cancelled aclose() leaves nothing open, and the next one returns at once."""
    held = Held()
    async with Responder(held, address):
        with anyio.CancelScope() as scope:
            php = Dispatcher(address, max_children=2)
            await php.__aenter__()
            handle = await php.submit(JOB)
            await eventually(lambda: held.running)
            scope.cancel()
            await php.aclose(timeout=None)
        assert scope.cancelled_caught
        assert php.closed
        assert isinstance(handle.exception(), DispatcherClosed)
        with anyio.fail_after(20):
            await php.aclose()


@pytest.mark.anyio
async def test_join_that_gave_up_leaves_nothing_behind(address: str) -> None:
    """A join() that timed out waits no longer, however often that happens."""
    held = Held()
    async with Responder(held, address), Dispatcher(address, max_children=1) as php:
        await php.submit(JOB)
        for _ in range(5):
            with pytest.raises(TimeoutError):
                await php.join(timeout=0.001)
        assert php._scheduler is not None
        assert not php._scheduler._when_idle.waiters
        held.release()


@pytest.mark.anyio
async def test_entering_that_is_cancelled(address: str) -> None:
    """A dispatcher whose entering was cancelled is as it was, and can be entered."""
    php = Dispatcher(address, max_children=1)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await php.__aenter__()
    assert scope.cancelled_caught
    async with php:
        assert php.statistics().share == 1
