"""What is needed of an event loop, and the choice between asyncio and trio."""

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
    """How often this process was forked off since the package was loaded; cheaper to look at than the process id."""

    count = 0


def _forked() -> None:
    _Forks.count += 1


os.register_at_fork(after_in_child=_forked)


@attrs.frozen(eq=False)
class Home:
    """Where a backend was made, so that whoever uses it elsewhere learns of it."""

    _forks: int = attrs.field(factory=lambda: _Forks.count, init=False)
    _process: int = attrs.field(factory=os.getpid, init=False)
    _thread: str = attrs.field(factory=lambda: threading.current_thread().name, init=False)

    @property
    def forked(self) -> bool:
        """Whether this is a child of the process it was made in."""
        return self._forks != _Forks.count

    def refusal(self) -> ConfigurationError:
        """Return the error for whoever uses it elsewhere."""
        if self.forked:
            return ConfigurationError(
                f"the dispatcher was entered in process {self._process}, before this process was forked from it; "
                "enter one of its own in each process, after the fork"
            )
        return ConfigurationError(
            f"the dispatcher was entered in another event loop, in thread {self._thread!r}; use it there, or enter "
            "one of its own in each event loop"
        )


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


class Watch(Protocol):
    """Tells when a socket is ready, again and again while it is."""

    def read(self, wanted: bool, /) -> None:
        """Tell from now on when it can be read, or no more."""

    def write(self, wanted: bool, /) -> None:
        """Tell from now on when it can be written, or no more."""

    def close(self) -> None:
        """Tell nothing more; to be called before the socket is closed."""


class Backend(Protocol):
    """One event loop as this library needs it, and the owner of the tasks started on it.

    Attributes:
        tells_once: whether a watch tells of an error once only.
    """

    tells_once: bool

    async def open(self) -> None:
        """Get ready to own tasks."""

    def check_here(self) -> None:
        """Refuse to be used here; called for every job, so it is cheap.

        Raises:
            ConfigurationError: this is another event loop, another thread or a forked process.
        """

    def check_owner(self) -> None:
        """Refuse to be closed here.

        Raises:
            ConfigurationError: on trio, where the task is not the one that called `open()`.
        """

    async def aclose(self) -> None:
        """Cancel every task that is left and wait for their ends, even where the caller is being cancelled."""

    async def checkpoint(self) -> None:
        """Let other tasks run, and be cancelled if that was asked for."""

    async def outlast(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run `function` to its end, however often the caller is cancelled.

        The cancellation is raised after that, by this or by the next checkpoint.
        """

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> bool:
        """Call `callback` in the event loop; may be called anywhere. Return False when the loop is gone."""

    def now(self) -> float:
        """Return the loop's clock, in seconds."""

    def waiter(self) -> Waiter:
        """Return a new waiter."""

    def call_at(self, when: float, callback: Callable[[], None]) -> Timer:
        """Call `callback` when the clock has passed `when`."""

    def spawn(self, function: Callable[[], Awaitable[None]]) -> TaskHandle:
        """Start a task, which begins after this has returned; `function` must not raise but for cancellation."""

    def watch(self, sock: socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        """Tell when a socket can be read and written, once the watch is told to; the callbacks must not raise."""
