"""The interface to an event loop, which asyncio and trio implement."""

from __future__ import annotations

import os
import threading
from collections.abc import Awaitable, Callable, Generator
from socket import socket
from typing import Protocol

import attrs

from fcgi_async.errors import ConfigurationError

__all__ = ("Backend", "Home", "TaskHandle", "Timer", "Waiter", "Watch")


class _Forks:
    """Counts the forks that led to this process since the package was loaded; cheaper to read than the process id."""

    count = 0


def _forked() -> None:
    _Forks.count += 1


os.register_at_fork(after_in_child=_forked)


@attrs.frozen(eq=False)
class Home:
    """The process and thread in which a backend was made, to detect its use elsewhere."""

    _forks: int = attrs.field(factory=lambda: _Forks.count, init=False)
    _process: int = attrs.field(factory=os.getpid, init=False)
    _thread: str = attrs.field(factory=lambda: threading.current_thread().name, init=False)

    @property
    def forked(self) -> bool:
        """Whether this process was forked after the backend was made."""
        return self._forks != _Forks.count

    def refusal(self) -> ConfigurationError:
        """Return the error for using the backend elsewhere."""
        if self.forked:
            return ConfigurationError(
                f"the dispatcher was entered in process {self._process}, before this process was forked from it; "
                "enter one in each process, after the fork"
            )
        return ConfigurationError(
            f"the dispatcher was entered in another event loop, in thread {self._thread!r}; use it there, or enter "
            "one in each event loop"
        )


class Waiter(Protocol):
    """Wakes one task, once. An `asyncio.Future` is one."""

    def done(self) -> bool:
        """Return whether the result was set, or the task cancelled."""

    def set_result(self, result: None, /) -> None:
        """Wake the waiting task; raises if it is already `done()`."""

    def __await__(self) -> Generator[object, None, None]:
        """Wait for the result."""


class Timer(Protocol):
    """A callback that will be called later."""

    def cancel(self) -> None:
        """Forget the callback."""


class TaskHandle(Protocol):
    """A task that the backend owns."""

    def cancel(self) -> None:
        """Cancel the task; it ends some time later."""

    async def join(self) -> None:
        """Wait for the end of the task."""


class Watch(Protocol):
    """Reports when a socket is ready, repeatedly as long as it is."""

    def read(self, wanted: bool, /) -> None:
        """Start or stop reporting when it can be read."""

    def write(self, wanted: bool, /) -> None:
        """Start or stop reporting when it can be written."""

    def close(self) -> None:
        """Stop reporting; call this before the socket is closed."""


class Backend(Protocol):
    """The interface of an event loop for this library; it owns the tasks that it starts."""

    async def open(self) -> None:
        """Prepare to own tasks."""

    def check_here(self) -> None:
        """Raise if it must not be used here. It is called for every job, so it must be cheap.

        Raises:
            ConfigurationError: this is another event loop, another thread or a forked process.
        """

    def check_owner(self) -> None:
        """Raise if the current task must not close the backend.

        Raises:
            ConfigurationError: on trio, if the task is not the one that called `open()`.
        """

    async def aclose(self) -> None:
        """Cancel all remaining tasks and wait for their ends, even if the caller is being cancelled."""

    async def checkpoint(self) -> None:
        """Let other tasks run, and raise a pending cancellation."""

    async def outlast(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run `function` to its end, even if the caller is cancelled.

        The cancellation is raised after that, here or at the next checkpoint.
        """

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> bool:
        """Call `callback` in the event loop. May be called in any thread. Return False if the loop has ended."""

    def now(self) -> float:
        """Return the time of the loop's clock in seconds."""

    def waiter(self) -> Waiter:
        """Return a new waiter."""

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Call `callback` in the next turn of the event loop."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` when the clock has passed `when`."""

    def spawn(self, function: Callable[[], Awaitable[None]]) -> TaskHandle:
        """Start a task; it begins after this has returned. `function` must not raise, except for a cancellation."""

    def watch(self, sock: socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        """Return a watch for a socket, which reports nothing until it is started; the callbacks must not raise."""
