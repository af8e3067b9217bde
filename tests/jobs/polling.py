"""Waiting for a condition that has to be asked for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

INTERVAL = 0.01


async def until(condition: Callable[[], Awaitable[object]], *, within: float = 60.0) -> None:
    """Return as soon as the condition holds.

    Raises:
        TimeoutError: it does not hold within so many seconds.
    """
    with anyio.fail_after(within):
        while not await condition():  # noqa: ASYNC110 - what happens in a database sets no Event
            await anyio.sleep(INTERVAL)
