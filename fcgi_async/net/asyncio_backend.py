"""The asyncio backend: loop timers, futures, and a set of tasks; it may be entered and left in different tasks."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from socket import socket
from time import monotonic

import anyio
import attrs

from fcgi_async.net.backend import Home, TaskHandle, Timer, Waiter, Watch
from fcgi_async.net.clock import Clock
from fcgi_async.net.ready import Ready, ReadyWatch

__all__ = ("AsyncioBackend",)


@attrs.frozen(eq=False)
class AsyncioTask:
    """A task that the backend owns."""

    _task: asyncio.Task[None]

    def cancel(self) -> None:
        """Cancel the task; it ends some time later."""
        self._task.cancel()

    async def join(self) -> None:
        """Wait for the end of the task."""
        await asyncio.wait((self._task,))


class AsyncioWatch:
    """A socket in the loop's selector."""

    __slots__ = ("_fd", "_loop", "_readable", "_reading", "_writable", "_writing")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, fd: int, readable: Callable[[], None], writable: Callable[[], None]
    ) -> None:
        self._loop, self._fd = loop, fd
        self._readable, self._writable = readable, writable
        self._reading = self._writing = False

    def read(self, wanted: bool, /) -> None:
        """Start or stop reporting when it can be read."""
        if wanted and not self._reading:
            self._loop.add_reader(self._fd, self._readable)
        elif self._reading and not wanted:
            self._loop.remove_reader(self._fd)
        self._reading = wanted

    def write(self, wanted: bool, /) -> None:
        """Start or stop reporting when it can be written."""
        if wanted and not self._writing:
            self._loop.add_writer(self._fd, self._writable)
        elif self._writing and not wanted:
            self._loop.remove_writer(self._fd)
        self._writing = wanted

    def close(self) -> None:
        """Stop reporting."""
        self.read(False)
        self.write(False)


@attrs.define(eq=False)
class AsyncioBackend:
    """The running asyncio loop, including uvloop."""

    _loop: asyncio.AbstractEventLoop = attrs.field(factory=asyncio.get_running_loop, init=False)
    _home: Home = attrs.field(factory=Home, init=False)
    # asyncio itself keeps only weak references to tasks
    _tasks: set[asyncio.Task[None]] = attrs.field(factory=set, init=False)
    _ready: Ready | None = attrs.field(default=None, init=False)
    # the loop's own methods, so that a call costs nothing extra
    now: Callable[[], float] = attrs.field(init=False)
    call_at: Callable[[float, Callable[[], None]], Timer] = attrs.field(init=False)
    call_soon: Callable[[Callable[[], None]], object] = attrs.field(init=False)
    waiter: Callable[[], Waiter] = attrs.field(init=False)
    checkpoint: Callable[[], Coroutine[object, object, None]] = attrs.field(
        default=partial(asyncio.sleep, 0), init=False
    )

    _clock: Clock = attrs.field(init=False)
    _alarm: asyncio.TimerHandle | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        # uvloop's own clock stands still within a turn, and counts milliseconds
        self.now = monotonic
        self._clock = Clock(monotonic, self._wake_at)
        self.call_at = self._clock.at
        self.call_soon = self._loop.call_soon
        self.waiter = self._loop.create_future

    async def open(self) -> None:
        """Prepare to watch sockets; a set is enough to own tasks."""
        # libuv reports an error once and stops polling the descriptor (uv__poll_io): it would report no more data that
        # came before the error, so each socket would have to be read until it is empty
        if not isinstance(self._loop, asyncio.SelectorEventLoop) and hasattr(select, "epoll"):
            self._ready = Ready()
            self._loop.add_reader(self._ready.fileno(), self._ready.look)

    def check_here(self) -> None:
        """Refuse use in another event loop; a forked process has another, or none."""
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if not here:
            raise self._home.refusal()

    def check_owner(self) -> None:
        """Allow any task: asyncio's tasks are owned by the set only."""

    async def aclose(self) -> None:
        """Cancel all remaining tasks and wait for their ends."""
        tasks = tuple(self._tasks)
        for task in tasks:
            task.cancel()
        await self.outlast(partial(self._ended, tasks))
        self._clock.close()
        if self._ready is not None:
            self._loop.remove_reader(self._ready.fileno())
            self._ready.close()
        if self._alarm is not None:
            self._alarm.cancel()

    async def _ended(self, tasks: tuple[asyncio.Task[None], ...]) -> None:
        if tasks:
            await asyncio.wait(tasks)

    async def outlast(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run `function` to its end in a task of its own, because `Task.cancel()` breaks through every shield."""
        task = self._task(function)
        interruption: asyncio.CancelledError | None = None
        while not task.done():
            try:
                with anyio.CancelScope(shield=True):
                    await asyncio.wait((task,))
            except asyncio.CancelledError as error:
                interruption = error
        if interruption is not None:
            raise interruption
        task.result()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> bool:
        """Call `callback` in the loop's next turn. Return False if the loop is closed."""
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            return False
        return True

    def _wake_at(self, when: float) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        self._alarm = self._loop.call_later(max(when - monotonic(), 0.0), self._clock.run)

    def spawn(self, function: Callable[[], Awaitable[None]]) -> TaskHandle:
        """Start a task; it begins after this has returned."""
        task = self._task(function)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return AsyncioTask(task)

    def _task(self, function: Callable[[], Awaitable[None]]) -> asyncio.Task[None]:
        async def run() -> None:
            await function()

        # not with the loop's task factory: an eager one would run the task's beginning before this returns
        return asyncio.Task(run(), loop=self._loop)

    def watch(self, sock: socket, readable: Callable[[], None], writable: Callable[[], None]) -> Watch:
        """Return a watch that reports when a socket can be read and written."""
        if self._ready is not None:
            return ReadyWatch(self._ready, sock.fileno(), readable, writable)
        return AsyncioWatch(self._loop, sock.fileno(), readable, writable)
