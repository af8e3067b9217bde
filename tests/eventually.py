"""Waiting for a condition instead of sleeping."""

from __future__ import annotations

import time
from collections.abc import Callable

import anyio

POLL_INTERVAL = 0.005


async def eventually(condition: Callable[[], object], *, within: float = 40.0) -> None:
    """Return as soon as the condition holds.

    Args:
        condition: called again and again; anything true ends the waiting.
        within: seconds after which waiting is a failure; generous, because a busy machine is no failure.

    Raises:
        AssertionError: the condition still does not hold.
    """
    with anyio.move_on_after(within):
        while not condition():  # noqa: ASYNC110 - what happens in other processes sets no Event
            await anyio.sleep(POLL_INTERVAL)
        return
    # Once more: on a machine that stood still the deadline may have passed before the condition was looked at again.
    assert condition(), f"not true within {within} s: {condition!r}"


def soon(condition: Callable[[], object], *, within: float = 40.0) -> None:
    """The same in a test without an event loop."""
    deadline = time.monotonic() + within
    while not condition():
        assert time.monotonic() < deadline, f"not true within {within} s: {condition!r}"
        time.sleep(POLL_INTERVAL)
