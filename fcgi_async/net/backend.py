"""What is needed of an event loop, and the choice between asyncio and trio."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Generator
from socket import socket
from typing import Protocol

from fcgi_async.net.transport import Transport, TransportHandler

__all__ = ("Backend", "TaskHandle", "Timer", "Waiter", "current_backend")


class Waiter(Protocol):
    """Wakes one task, once. An `asyncio.Future` is one."""

    def done(self) -> bool:
        """Return whether it was set, or its task cancelled."""

    def set_result(self, result: None, /) -> None:
        """Wake the task; an error where `done()`."""

    def __await__(self) -> Generator[object, None, None]:
        """Wait until set."""


class Timer(Protocol):
    """A callback that is due later."""

    def cancel(self) -> None:
        """Forget the callback."""


class TaskHandle(Protocol):
    """A task that the backend owns."""

    def cancel(self) -> None:
        """Cancel the task; it ends some time later."""

    async def join(self) -> None:
        """Wait for its end."""


class Backend(Protocol):
    """One event loop as this library needs it, and the owner of the tasks started on it."""

    async def open(self) -> None:
        """Get ready to own tasks."""

    def check_owner(self) -> None:
        """Refuse to be closed here.

        Raises:
            ConfigurationError: on trio, where the task is not the one that called `open()`.
        """

    async def aclose(self) -> None:
        """Cancel every task that is left and wait for their ends, even where the caller is being cancelled."""

    def now(self) -> float:
        """Return the loop's clock, in seconds."""

    def waiter(self) -> Waiter:
        """Return a new waiter."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` when the clock has passed `when`."""

    def spawn(self, function: Callable[[], Awaitable[None]]) -> TaskHandle:
        """Start a task; `function` must not raise but for cancellation."""

    async def attach(self, sock: socket, handler: TransportHandler) -> Transport:
        """Start reading a connected socket into `handler`; the socket is owned by the transport from the call on."""


def current_backend() -> Backend:
    """Return a new backend for the event loop this is called in."""
    if "trio" in sys.modules:
        import trio

        if trio.lowlevel.in_trio_task():
            from fcgi_async.net.trio_backend import TrioBackend

            return TrioBackend()
    from fcgi_async.net.asyncio_backend import AsyncioBackend

    return AsyncioBackend()
