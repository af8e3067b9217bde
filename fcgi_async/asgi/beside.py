"""A cheap task beside a request: it is created only when the request's own task waits for the first time.

A task group for each request costs more than a job. The tasks here need none: they do not raise, and are not waited
for.
"""

from __future__ import annotations

import asyncio
import contextvars
import sys
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Protocol

import attrs

if TYPE_CHECKING:
    import trio

__all__ = ("Beside", "Event", "start_beside")

_Function = Callable[[], Coroutine[object, object, None]]


class Event(Protocol):
    """Wakes the task that waits for it. It is set once."""

    def set(self) -> None:
        """Wake them."""

    async def wait(self) -> object:
        """Wait until it is set."""


class Beside(Protocol):
    """A task that runs, or will run, beside another."""

    def stop(self) -> None:
        """Do not start it; if it is running, cancel it without waiting for its end."""

    def event(self) -> Event:
        """Return a new event of this event loop; anyio's own costs four times as much."""


def start_beside(function: _Function, *, after: float = 0.0) -> Beside:
    """Start a task as soon as the calling one waits.

    Args:
        function: the function to run. It raises nothing except its cancellation.
        after: seconds to wait before the start.
    """
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            return _BesideOnTrio(function, after)
    return _BesideOnAsyncio(function, after)


class _BesideOnAsyncio:
    __slots__ = ("_function", "_loop", "_started")

    def __init__(self, function: _Function, after: float) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Handle | asyncio.Task[None]
        self._started = self._loop.call_later(after, self._start) if after else self._loop.call_soon(self._start)

    def stop(self) -> None:
        self._started.cancel()

    def event(self) -> Event:
        return asyncio.Event()

    def _start(self) -> None:
        self._started = self._loop.create_task(self._function())


@attrs.define(eq=False)
class _BesideOnTrio:
    _function: _Function
    _after: float
    _context: contextvars.Context = attrs.field(factory=contextvars.copy_context, init=False)
    _stopped: bool = attrs.field(default=False, init=False)
    _scope: trio.CancelScope | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        import trio

        trio.lowlevel.current_trio_token().run_sync_soon(self._start)

    def stop(self) -> None:
        self._stopped = True
        if self._scope is not None:
            self._scope.cancel()

    def event(self) -> Event:
        import trio

        return trio.Event()

    def _start(self) -> None:
        if not self._stopped:
            import trio

            self._scope = trio.CancelScope()
            trio.lowlevel.spawn_system_task(self._run, self._scope, context=self._context)

    async def _run(self, scope: trio.CancelScope) -> None:
        import trio

        with scope:
            if self._after:
                await trio.sleep(self._after)
            await self._function()
