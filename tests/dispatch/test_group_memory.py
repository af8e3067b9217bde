"""A group keeps nothing that nobody asks for."""

from __future__ import annotations

import gc
import weakref

import pytest

from fcgi_async import ConfigurationError, Dispatcher, Job, JobHandle
from fcgi_async.testing import Responder
from tests.handlers import echo

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """A bound that a few responses of 10 KB reach."""
    monkeypatch.setattr("fcgi_async.dispatch.group._REMEMBERED_MAX", 50_000)


async def test_handles_that_were_dropped_are_collected(address: str) -> None:
    """Inside the block already, once more has come than is remembered for as_completed(), which then says so."""
    handles: list[weakref.ref[JobHandle]] = []
    async with Responder(echo, address), Dispatcher(address, max_children=2) as php:
        async with php.group() as group:
            for _ in range(50):
                handles.append(weakref.ref(await group.submit(Job("/a.php", content=b"x" * 10_000))))
            await php.join()
            gc.collect()
            assert [handle for handle in handles if handle() is not None] == []
            with pytest.raises(ConfigurationError, match="call it before the first submit"):
                group.as_completed()


async def test_as_completed_that_was_asked_for_gets_all(address: str) -> None:
    """Called before the first submit() it gives out every handle, and each is forgotten then."""
    handles: list[weakref.ref[JobHandle]] = []
    async with Responder(echo, address), Dispatcher(address, max_children=2) as php, php.group() as group:
        completed = group.as_completed()
        for _ in range(50):
            handles.append(weakref.ref(await group.submit(Job("/a.php", content=b"x" * 10_000))))
        await php.join()
        assert len([handle.result() async for handle in completed]) == 50
        gc.collect()
        assert [handle for handle in handles if handle() is not None] == []


async def test_what_is_read_makes_room(address: str) -> None:
    """Below the bound as_completed() may be called at any time, and as often as one likes."""
    async with Responder(echo, address), Dispatcher(address, max_children=2) as php, php.group() as group:
        for _ in range(20):
            for _ in range(3):
                await group.submit(Job("/a.php", content=b"x" * 10_000))
            await php.join()
            assert len([handle async for handle in group.as_completed()]) == 3
