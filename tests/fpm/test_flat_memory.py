"""Bodies of any size pass through in little memory, both ways at once."""

from __future__ import annotations

import tracemalloc
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager

import pytest

from fcgi_async import Dispatcher, Job

pytestmark = pytest.mark.anyio

SIZE = 100_000_000
ALLOWED = 6_000_000
PART = bytes(100_000)


@contextmanager
def little_memory() -> Iterator[None]:
    """Fail where more than a few megabytes were taken at any moment, as Python's allocator saw it."""
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak - before < ALLOWED


async def parts() -> AsyncIterator[bytes]:
    for _ in range(SIZE // len(PART)):
        yield PART


async def test_large_bodies_both_ways_at_once(php: Dispatcher) -> None:
    """100 MB that are echoed while they are sent, part by part, never take more than a few megabytes."""
    await php.run(Job("respond.php"))
    received = 0
    with little_memory():
        async with php.stream(Job("echo.php", content=parts(), content_length=SIZE)) as response:
            async for chunk in response:
                received += len(chunk)
    assert received == SIZE


async def test_a_body_that_php_does_not_read(php: Dispatcher) -> None:
    """100 MB that the script leaves unread wait for the socket, not in memory."""
    await php.run(Job("respond.php"))
    with little_memory():
        assert (await php.run(Job("respond.php", content=parts(), content_length=SIZE))).ok
