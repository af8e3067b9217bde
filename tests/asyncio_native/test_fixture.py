"""A dispatcher as an asyncio user holds it: in a pytest-asyncio fixture, entered and left in different tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from fcgi_async import Dispatcher, DispatcherClosed, Endpoint, Job, LocalFPM
from tests.eventually import eventually


@pytest_asyncio.fixture
async def php(fpm: LocalFPM, scripts: Path) -> AsyncIterator[Dispatcher]:
    async with Dispatcher(Endpoint(fpm.address, max_children=fpm.max_children, root=str(scripts))) as dispatcher:
        yield dispatcher


@pytest.mark.asyncio
async def test_a_fixture_holds_the_dispatcher(php: Dispatcher) -> None:
    """Jobs run on a dispatcher that a fixture entered."""
    responses = await asyncio.gather(*(php.run(Job("respond.php", query={"body": str(n)})) for n in range(20)))
    assert [response.text for response in responses] == [str(n) for n in range(20)]


@pytest.mark.asyncio
async def test_a_task_is_cancelled_natively(php: Dispatcher, tmp_path: Path) -> None:
    """task.cancel() returns at once, and the slot drains until the script has ended."""
    gate = tmp_path / "gate"
    task = asyncio.create_task(php.run(Job("gate.php", query={"gate": str(gate)})))
    await eventually(lambda: php.statistics().busy)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert php.statistics().draining == 1
    gate.touch()
    assert (await php.run(Job("respond.php"))).ok


@pytest.mark.asyncio
async def test_entering_and_leaving_in_different_tasks(fpm: LocalFPM, scripts: Path) -> None:
    """One task enters, another runs a job, a third leaves."""
    php = Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts)))
    await asyncio.create_task(php.__aenter__())
    assert (await asyncio.create_task(php.run(Job("respond.php")))).ok
    await asyncio.create_task(php.aclose())
    with pytest.raises(DispatcherClosed):
        await php.run(Job("respond.php"))
    assert len(asyncio.all_tasks()) == 1
