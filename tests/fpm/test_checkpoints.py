"""Cancelled at each checkpoint in turn, by a cancel scope, nothing is left behind on a real PHP-FPM."""

from __future__ import annotations

import gc
from itertools import count
from pathlib import Path

import anyio
import pytest

from fcgi_async import Dispatcher, Endpoint, Job, KeepAlive, LocalFPM
from tests.checkpoints import USES, AtCheckpoint, Use
from tests.dispatch.settled import settled
from tests.eventually import eventually
from tests.fpm.leftovers import Baseline

pytestmark = pytest.mark.anyio

NEXT = Job("echo.php", content=b"next")


@pytest.fixture(params=[0.0, 1.0], ids=["new", "kept"])
def endpoint(request: pytest.FixtureRequest, fpm: LocalFPM, scripts: Path) -> Endpoint:
    """Two of the four workers, over new connections and over kept ones."""
    keepalive = KeepAlive(idle=request.param)
    return Endpoint(fpm.address, max_children=2, linger=0.01, root=str(scripts), keepalive=keepalive)


@pytest.mark.parametrize("use", USES, ids=lambda use: use.__name__)
async def test_a_use_cancelled_at_every_checkpoint(endpoint: Endpoint, use: Use) -> None:
    """The ledger is whole, descriptors and tasks are as they were, and the next job runs, whichever it was."""
    async with Dispatcher(endpoint) as php:
        await php.run(NEXT)
        baseline = Baseline.now(php.statistics())
        for n in count():
            with anyio.CancelScope() as scope:
                await (driver := AtCheckpoint(use(php), n, scope.cancel))
            statistics = await settled(php)
            await eventually(lambda: baseline.restored(php.statistics()))
            assert statistics.stray_records == 0
            with anyio.fail_after(20):
                assert (await php.run(NEXT)).content == b"next"
            if not driver.reached:
                break
        assert n > 0


@pytest.mark.parametrize("shutdown_timeout", [None, 0.0], ids=["waits", "does not wait"])
async def test_a_dispatcher_left_at_every_checkpoint(endpoint: Endpoint, shutdown_timeout: float | None) -> None:
    """Entering, submitting and leaving, cancelled anywhere: no descriptor and no task is left; the next one works."""

    async def live() -> None:
        async with Dispatcher(endpoint, shutdown_timeout=shutdown_timeout) as php:
            await php.ping()
            for size in (10, 300_000, 10, 10):
                await php.submit(Job("echo.php", content=b"x" * size))

    # the first one opens what a loop opens for itself
    await live()
    gc.collect()
    baseline = Baseline.now()
    for n in count():
        with anyio.CancelScope() as scope:
            await (driver := AtCheckpoint(live(), n, scope.cancel))
        await eventually(baseline.restored)
        if not driver.reached:
            break
    assert n > 0
    async with Dispatcher(endpoint) as php:
        assert (await php.run(NEXT)).content == b"next"
