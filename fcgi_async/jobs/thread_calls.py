"""Call from a thread into the event loop, on asyncio and trio."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import suppress

__all__ = ("Post", "current_post")

# makes the loop call a function soon; any thread may use it. Nothing happens after the loop is closed
Post = Callable[[Callable[[], None]], None]


def current_post() -> Post:
    """Return the function for calls into the running event loop."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            token = trio.lowlevel.current_trio_token()

            def post_trio(call: Callable[[], None]) -> None:
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(call)

            return post_trio
    loop = asyncio.get_running_loop()

    def post_asyncio(call: Callable[[], None]) -> None:
        # no task waits in a closed loop
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(call)

    return post_asyncio
