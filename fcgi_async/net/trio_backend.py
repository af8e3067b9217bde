"""The trio backend: a nursery that owns the tasks, and one task that runs the clock."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from socket import socket

import attrs
import trio

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.backend import Home, TaskHandle, Timer, Waiter, Watch
from fcgi_async.net.clock import Clock
from fcgi_async.net.ready import Ready, ReadyWatch

__all__ = ("TrioBackend",)


@attrs.define(eq=False)
class _TrioWaiter:
    _event: trio.Event = attrs.field(factory=trio.Event, init=False)

    def done(self) -> bool:
        return self._event.is_set()

    def set_result(self, result: None, /) -> None:
        self._event.set()

    def __await__(self) -> Generator[object, None, None]:
        return self._event.wait().__await__()


@attrs.frozen(eq=False)
class TrioTask:
    """A task that the backend owns."""

    # shielded: if the block around the nursery is cancelled, its owner still decides in which order things end
    scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    def cancel(self) -> None:
        """Cancel the task; it ends some time later."""
        self.scope.cancel()

    async def join(self) -> None:
        """Wait for the end of the task."""
        await self.ended.wait()


@attrs.define(eq=False)
class TrioBackend:
    """The running trio loop. It is opened and closed in one task, as a nursery requires."""

    _manager: AbstractAsyncContextManager[trio.Nursery] = attrs.field(factory=trio.open_nursery, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _tasks: set[TrioTask] = attrs.field(factory=set, init=False)
    _owner: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task, init=False)
    _ready: Ready = attrs.field(factory=Ready, init=False)
    # until when the clock's task sleeps; made earlier when something is due earlier
    _sleep: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    _clock: Clock = attrs.field(init=False)
    call_at: Callable[[float, Callable[[], None]], Timer] = attrs.field(init=False)
    now: Callable[[], float] = attrs.field(default=trio.current_time, init=False)
    checkpoint: Callable[[], Coroutine[object, object, None]] = attrs.field(
        default=trio.lowlevel.checkpoint, init=False
    )
    _home: Home = attrs.field(factory=Home, init=False)
    _token: trio.lowlevel.TrioToken = attrs.field(factory=trio.lowlevel.current_trio_token, init=False)

    def __attrs_post_init__(self) -> None:
        self._clock = Clock(trio.current_time, self._wake_at)
        self.call_at = self._clock.at

    async def open(self) -> None:
        """Open the nursery and start the task of the clock."""
        self._nursery = await self._manager.__aenter__()
        self.spawn(self._run_clock)
        self.spawn(self._watch_sockets)

    def check_here(self) -> None:
        """Refuse use in another event loop, or in a forked process, which has inherited this loop."""
        try:
            here = trio.lowlevel.current_trio_token() is self._token and not self._home.forked
        except RuntimeError:
            here = False
        if not here:
            raise self._home.refusal()

    def check_owner(self) -> None:
        """Refuse to be closed by a task other than the one that opened it."""
        if trio.lowlevel.current_task() is not self._owner:
            raise ConfigurationError(
                "on trio a dispatcher must be closed by the task that entered it; use `async with` in one task"
            )

    async def aclose(self) -> None:
        """Cancel all remaining tasks and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await self._manager.__aexit__(None, None, None)
        self._clock.close()

    async def outlast(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run `function` to its end under a shield; the cancellation is raised at the next checkpoint."""
        with trio.CancelScope(shield=True):
            await function()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> bool:
        """Call `callback` in one of the loop's next turns. Return False if the loop has ended."""
        try:
            self._token.run_sync_soon(callback)
        except trio.RunFinishedError:
            return False
        return True

    def call_soon(self, callback: Callable[[], None]) -> object:
        """Call `callback` in the next turn of the event loop."""
        return self._clock.at(trio.current_time(), callback)

    def waiter(self) -> Waiter:
        """Return a new waiter."""
        return _TrioWaiter()

    def spawn(self, function: Callable[[], Awaitable[None]]) -> TaskHandle:
        """Start a task."""
        task = TrioTask()
        self._tasks.add(task)

        async def run() -> None:
            try:
                with task.scope:
                    await function()
            finally:
                self._tasks.discard(task)
                task.ended.set()

        self._nursery.start_soon(run, name=function)
        return task

    def watch(self, sock: socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        """Return a watch that reports when a socket can be read and written."""
        return ReadyWatch(self._ready, sock.fileno(), readable, writable)

    async def _watch_sockets(self) -> None:
        # a task for each socket would cost more than a read
        try:
            while True:
                await trio.lowlevel.wait_readable(self._ready.fileno())
                self._ready.look()
        finally:
            self._ready.close()

    def _wake_at(self, when: float) -> None:
        self._sleep.deadline = min(self._sleep.deadline, when)

    async def _run_clock(self) -> None:
        while True:
            # reset before calling: a timer that is set meanwhile then ends the sleep below
            self._sleep = trio.CancelScope()
            self._clock.run()
            with self._sleep:
                await trio.sleep_forever()
