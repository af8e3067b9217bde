"""trio: a nursery that owns the tasks, and one task that runs the clock."""

from __future__ import annotations

import select
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextlib import AbstractAsyncContextManager
from socket import socket

import attrs
import trio

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.backend import Home, TaskHandle, Timer, Waiter, Watch
from fcgi_async.net.clock import Clock

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
    """A task of the backend's."""

    # shielded: when the block around the nursery is cancelled, its owner still decides in which order things end
    scope: trio.CancelScope = attrs.field(factory=lambda: trio.CancelScope(shield=True), init=False)
    ended: trio.Event = attrs.field(factory=trio.Event, init=False)

    def cancel(self) -> None:
        """Cancel the task; it ends some time later."""
        self.scope.cancel()

    async def join(self) -> None:
        """Wait for its end."""
        await self.ended.wait()


@attrs.define(eq=False)
class _Ready:
    """All sockets of a backend in one epoll, which one task waits for: a task for each would cost more than a read."""

    _epoll: select.epoll = attrs.field(factory=select.epoll, init=False)
    _watches: dict[int, TrioWatch] = attrs.field(factory=dict, init=False)

    def change(self, watch: TrioWatch, events: int) -> None:
        """Ask for other events of a watched socket, or for none."""
        fd = watch.fd
        if self._epoll.closed:
            return
        if not events:
            if self._watches.pop(fd, None) is not None:
                self._epoll.unregister(fd)
        elif fd in self._watches:
            self._epoll.modify(fd, events)
        else:
            self._watches[fd] = watch
            self._epoll.register(fd, events)

    async def run(self) -> None:
        """Call what sockets are ready for, until cancelled."""
        try:
            while True:
                await trio.lowlevel.wait_readable(self._epoll.fileno())
                for fd, events in self._epoll.poll(0):
                    # one before it may have closed it, and another taken its number
                    watch = self._watches.get(fd)
                    if watch is not None:
                        watch.ready(events)
        finally:
            self._epoll.close()


class TrioWatch:
    """A socket in the backend's epoll."""

    __slots__ = ("_events", "_readable", "_ready", "_writable", "fd")

    def __init__(self, ready: _Ready, fd: int, readable: Callable[[], None], writable: Callable[[], None]) -> None:
        self._ready, self.fd = ready, fd
        self._readable, self._writable = readable, writable
        self._events = 0

    def read(self, wanted: bool, /) -> None:
        """Tell from now on when it can be read, or no more."""
        self._want(select.EPOLLIN, wanted)

    def write(self, wanted: bool, /) -> None:
        """Tell from now on when it can be written, or no more."""
        self._want(select.EPOLLOUT, wanted)

    def close(self) -> None:
        """Tell nothing more."""
        self._want(self._events, False)

    def ready(self, events: int) -> None:
        """Call what the socket is ready for; an error is both."""
        if events & ~select.EPOLLOUT and self._events & select.EPOLLIN:
            self._readable()
        if events & ~select.EPOLLIN and self._events & select.EPOLLOUT:
            self._writable()

    def _want(self, events: int, wanted: bool) -> None:
        before = self._events
        self._events = before | events if wanted else before & ~events
        if self._events != before:
            self._ready.change(self, self._events)


@attrs.define(eq=False)
class TrioBackend:
    """The running trio loop. It is opened and closed in one task, as a nursery demands."""

    _manager: AbstractAsyncContextManager[trio.Nursery] = attrs.field(factory=trio.open_nursery, init=False)
    _nursery: trio.Nursery = attrs.field(init=False)
    _tasks: set[TrioTask] = attrs.field(factory=set, init=False)
    _owner: trio.lowlevel.Task = attrs.field(factory=trio.lowlevel.current_task, init=False)
    _ready: _Ready = attrs.field(factory=lambda: _Ready(), init=False)
    # how long the task of the clock sleeps; moved nearer when something is due earlier
    _sleep: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    tells_once: bool = attrs.field(default=False, init=False)
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
        self.spawn(self._ready.run)

    def check_here(self) -> None:
        """Refuse to be used in another event loop, or in a forked process, which has inherited this one."""
        try:
            here = trio.lowlevel.current_trio_token() is self._token and not self._home.forked
        except RuntimeError:
            here = False
        if not here:
            raise self._home.refusal()

    def check_owner(self) -> None:
        """Refuse to be closed by another task than the one that opened it."""
        if trio.lowlevel.current_task() is not self._owner:
            raise ConfigurationError("on trio a dispatcher is closed by the task that entered it, as a nursery demands")

    async def aclose(self) -> None:
        """Cancel every task that is left and wait for their ends."""
        for task in self._tasks:
            task.cancel()
        await self._manager.__aexit__(None, None, None)
        self._clock.close()

    async def outlast(self, function: Callable[[], Awaitable[None]]) -> None:
        """Run `function` to its end under a shield; the cancellation is raised at the next checkpoint."""
        with trio.CancelScope(shield=True):
            await function()

    def call_soon_threadsafe(self, callback: Callable[[], None]) -> bool:
        """Call `callback` in one of the loop's next turns; False when the loop has ended."""
        try:
            self._token.run_sync_soon(callback)
        except trio.RunFinishedError:
            return False
        return True

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
        """Tell when a socket can be read and written."""
        return TrioWatch(self._ready, sock.fileno(), readable, writable)

    def _wake_at(self, when: float) -> None:
        self._sleep.deadline = min(self._sleep.deadline, when)

    async def _run_clock(self) -> None:
        while True:
            # before anything is set: what is due then wakes it from the sleep that follows
            self._sleep = trio.CancelScope()
            self._clock.run()
            with self._sleep:
                await trio.sleep_forever()
