"""A task beside a request, that costs little: it is made when the request's own task waits for the first time.

A task group for each request costs more than a job does, and what runs here needs none: it neither raises nor is waited
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
    """Wakes whoever waits for it, once."""

    def set(self) -> None:
        """Wake them."""

    async def wait(self) -> object:
        """Wait until set."""


class Beside(Protocol):
    """A task that runs beside another, or will."""

    def stop(self) -> None:
        """Do not start it any more; where it has been, cancel it, and do not wait for its end."""

    def event(self) -> Event:
        """Return a new event of this event loop; anyio's own costs four times as much."""


def start_beside(function: _Function) -> Beside:
    """Start a task as soon as the calling one waits.

    Args:
        function: what runs in it. It raises nothing but its cancellation.
    """
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            return _BesideOnTrio(function)
    return _BesideOnAsyncio(function)


class _BesideOnAsyncio:
    __slots__ = ("_function", "_loop", "_started")

    def __init__(self, function: _Function) -> None:
        self._function = function
        self._loop = asyncio.get_running_loop()
        self._started: asyncio.Handle | asyncio.Task[None] = self._loop.call_soon(self._start)

    def stop(self) -> None:
        self._started.cancel()

    def event(self) -> Event:
        return asyncio.Event()

    def _start(self) -> None:
        self._started = self._loop.create_task(self._function())


@attrs.define(eq=False)
class _BesideOnTrio:
    _function: _Function
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
        with scope:
            await self._function()
