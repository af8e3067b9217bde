"""Cancelled at each checkpoint in turn, by task.cancel(), nothing is left behind on a real PHP-FPM."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Coroutine
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from tests.checkpoints import USES, AtCheckpoint, Use
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.fpm.leftovers import Baseline

NEXT = Job("echo.php", content=b"next")


@pytest.fixture
def endpoint(fpm: LocalFPM, scripts: Path) -> Endpoint:
    return Endpoint(fpm.address, max_children=2, linger=0.01, root=str(scripts))


async def cancelled_at(n: int, use: Coroutine[Any, Any, None]) -> bool:
    """Cancel the task of a use at its n-th checkpoint; False where it completed before."""

    async def drive() -> bool:
        task = asyncio.current_task()
        assert task is not None
        await (driver := AtCheckpoint(use, n, task.cancel))
        return driver.reached

    task = asyncio.create_task(drive())
    await asyncio.wait([task])
    return task.cancelled() or task.result()


@pytest.mark.asyncio
@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_a_task_cancelled_at_every_checkpoint(endpoint: Endpoint, use: Use) -> None:
    """The ledger is whole, descriptors and tasks are as they were, and the next job runs, whichever it was."""
    async with Dispatcher(endpoint) as php:
        await php.run(NEXT)
        baseline = Baseline.now(php.statistics())
        for n in count():
            reached = await cancelled_at(n, use(php))
            await settled(php)
            await eventually(lambda: baseline.restored(php.statistics()))
            assert (await asyncio.wait_for(php.run(NEXT), 20)).content == b"next"
            if not reached:
                break
        assert n > 0


@pytest.mark.asyncio
async def test_a_dispatcher_left_at_every_checkpoint(endpoint: Endpoint) -> None:
    """Entering, submitting and leaving, cancelled anywhere: no descriptor and no task is left; the next one works."""

    async def live() -> None:
        async with Dispatcher(endpoint) as php:
            await php.ping()
            for size in (10, 300_000, 10, 10):
                await php.submit(Job("echo.php", content=b"x" * size))

    await live()
    gc.collect()
    baseline = Baseline.now()
    for n in count():
        reached = await cancelled_at(n, live())
        await eventually(baseline.restored)
        if not reached:
            break
    assert n > 0
    async with Dispatcher(endpoint) as php:
        assert (await php.run(NEXT)).content == b"next"
