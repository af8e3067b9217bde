"""The thread of a dispatcher: an event loop, and calls into it from other threads.

Theory of operation. The thread is a daemon, so a program that forgets to close the dispatcher still ends;
`_close_what_is_open()` then closes it. The thread's own task enters and leaves the dispatcher, as trio requires.
Closing refuses new calls, lets the dispatcher finish its jobs, waits for the calls in the loop, and ends the loop.
Ctrl-C may interrupt another thread at any step, also while it passes a call to the loop; the loop is then told to
cancel or forget the call, whichever it needs. At any step the thread may also run other code that calls or closes the
dispatcher: a signal handler, or `__del__` of garbage. So no thread locks what the loop, or such code, needs: the loop
alone decides which calls it takes, and whether it closes.
"""

from __future__ import annotations

import asyncio
import atexit
import logging
import sys
import threading
from collections.abc import Awaitable, Callable
from contextvars import copy_context
from enum import StrEnum
from functools import partial
from typing import Any, Generic, Literal, TypeVar
from weakref import WeakSet

import anyio
import attrs

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.opening import check_seconds
from fcgi_async.errors import ConfigurationError, DispatcherClosed
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.net.backend import Backend, Home
from fcgi_async.net.current import current_backend
from fcgi_async.sync.promise import Promise

__all__ = ("Call", "LoopThread", "State")

_Result = TypeVar("_Result")

logger = logging.getLogger("fcgi_async.sync")

# seconds that the end of the program waits for a dispatcher that was not closed
_LAST_WAIT = 2.0
_ENDED = "the thread of the dispatcher has ended; make a new one"
_AWAIT_IT = (
    "a blocking call would stop the event loop that runs in this thread: use fcgi_async.Dispatcher and await it, or "
    "call this in a thread without a loop, with asyncio.to_thread() or anyio.to_thread.run_sync()"
)


class State(StrEnum):
    """The states of the thread, in the words of its errors."""

    NEW = "not entered yet; use `with Dispatcher(...) as php:`, or open() and close()"
    OPEN = "open"
    CLOSING = "closing and takes no more jobs"
    CLOSED = "closed; make a new one"


@attrs.define(eq=False)
class Call(Generic[_Result]):
    """A coroutine function that runs in the loop for another thread.

    Attributes:
        promise: its result.
    """

    _function: Callable[[], Awaitable[_Result]]
    promise: Promise[_Result] = attrs.field(factory=Promise)
    _scope: anyio.CancelScope | None = attrs.field(default=None, init=False)
    _cancelled: bool = attrs.field(default=False, init=False)

    async def run(self) -> None:
        """Run it in the loop."""
        try:
            with anyio.CancelScope() as self._scope:
                if self._cancelled:
                    self._scope.cancel()
                self.promise.set_result(await self._function())
        except Exception as error:
            self.promise.set_exception(error)
        finally:
            if not self.promise.done():
                self.promise.set_exception(DispatcherClosed("the call was cancelled"))

    def cancel(self) -> None:
        """Cancel it in the loop."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()


@attrs.define(eq=False)
class LoopThread:
    """A thread with an event loop, and a dispatcher in it.

    Args:
        dispatcher: entered in the loop when the thread is opened.
        name: the name of the event loop.

    Attributes:
        state: the state of the thread.
    """

    _dispatcher: Dispatcher
    _name: Literal["asyncio", "trio"]
    state: State = attrs.field(default=State.NEW, init=False)
    _home: Home = attrs.field(factory=Home, init=False)
    # the calls that were passed to the loop and have not ended; those of them that it has begun; whether it takes more
    _calls: set[Call[Any]] = attrs.field(factory=set, init=False)
    _begun: set[Call[Any]] = attrs.field(factory=set, init=False)
    _over: bool = attrs.field(default=False, init=False)
    _forgotten: anyio.Event | None = attrs.field(default=None, init=False)
    # held while opening
    _opening: threading.Lock = attrs.field(factory=threading.Lock, init=False)
    _thread: threading.Thread = attrs.field(init=False)
    _loop: Backend = attrs.field(init=False)
    _stopping: anyio.Event = attrs.field(init=False)
    _ending: anyio.Event = attrs.field(init=False)
    _timeout: Timeout = attrs.field(default=UNSET, init=False)
    # whether the dispatcher is being left, or has been
    _leaving: bool = attrs.field(default=False, init=False)
    # done when the dispatcher has been left
    _left: Promise[None] = attrs.field(factory=Promise, init=False)

    # life

    def open(self) -> None:
        """Start the thread and enter the dispatcher; do nothing if that was done already.

        Raises:
            ConfigurationError: as for entering the dispatcher; or this thread runs an event loop, or this process was
                forked.
            DispatcherClosed: it was closed before.
        """
        self.check_here()
        with self._opening:
            if self.state is State.OPEN:
                return
            if self.state is not State.NEW:
                raise self.refusal()
            # it may have been created before a fork
            self._home = Home()
            ready: Promise[None] = Promise()
            self._thread = threading.Thread(target=self._serve, args=(ready,), name="fcgi_async", daemon=True)
            try:
                self._thread.start()
                ready.result()
                self.state = State.OPEN
                _opened.add(self)
            except Exception:
                # it can be tried again, like a dispatcher that could not be entered
                raise
            except BaseException:
                self.state = State.CLOSED
                if ready.done():
                    self._loop.call_soon_threadsafe(self._abandon)
                raise

    def close(self, timeout: Timeout = UNSET) -> None:
        """Close the dispatcher as its `aclose()` does, and end the thread. An interruption ends the jobs now.

        It does nothing in a forked process: everything belongs to the parent.

        Raises:
            ConfigurationError: `timeout` is not a number of seconds, or this thread runs an event loop.
        """
        check_seconds("timeout", timeout)
        if self.state in (State.NEW, State.CLOSED) or self._home.forked:
            return
        self.check_here()
        try:
            if self.state is State.OPEN:
                self.state = State.CLOSING
            self._loop.call_soon_threadsafe(partial(self._leave, timeout))
            self._left.result()
        except BaseException:
            self._loop.call_soon_threadsafe(partial(self._leave, 0))
            raise
        finally:
            self._end()

    def _leave(self, timeout: Timeout) -> None:
        """Leave the dispatcher, in the loop; or hasten that."""
        if not self._leaving:
            if timeout is not UNSET or not self._stopping.is_set():
                self._timeout = timeout
            self._stopping.set()
        elif timeout is not UNSET and not self._left.done():
            self._loop.spawn(Call(partial(self._dispatcher.aclose, timeout=timeout)).run)

    def _end(self) -> None:
        """End the loop when it has no more calls."""
        self._loop.call_soon_threadsafe(self._ending.set)
        self._thread.join()
        self.state = State.CLOSED
        _opened.discard(self)

    def close_at_exit(self) -> None:
        """End the jobs because the program ends; wait only a moment."""
        if self._home.forked:
            return
        self.state = State.CLOSING
        self._loop.call_soon_threadsafe(self._abandon)
        self._thread.join(_LAST_WAIT)

    def _abandon(self) -> None:
        """End the jobs and the loop, for which nothing waits."""
        # a call may wait for a thread, such as for the next job of its iterable
        self._over = True
        self._leave(0)
        self._ending.set()

    # calls

    @property
    def is_current(self) -> bool:
        """Whether this is called in the loop."""
        return self._thread is threading.current_thread()

    def check_here(self) -> None:
        """Raise if this thread must not block.

        Raises:
            ConfigurationError: this thread runs an event loop, or this process was forked off.
        """
        if self.state is not State.NEW and self._home.forked:
            raise self._home.refusal()
        if _runs_a_loop():
            raise ConfigurationError(_AWAIT_IT)

    def refusal(self) -> DispatcherClosed:
        """Return the error of a call to a dispatcher that is not open."""
        return DispatcherClosed(f"the dispatcher is {self.state.value}")

    def call(
        self,
        function: Callable[[], Awaitable[_Result]],
        *,
        while_closing: bool = False,
        meanwhile: Callable[[Promise[_Result]], None] | None = None,
        when_done: Callable[[], None] | None = None,
    ) -> _Result:
        """Run a coroutine function in the loop and wait for its result. Interrupting cancels it.

        Args:
            function: what runs in the loop.
            while_closing: whether it belongs to a job that closing waits for, and so runs until that is over.
            meanwhile: called by this thread until the result is there.
            when_done: called in the loop then.

        Raises:
            DispatcherClosed: it is not open.
            ConfigurationError: this thread runs an event loop, or this process was forked.
        """
        call = Call(function, Promise(when_done))
        try:
            self._start(call, while_closing=while_closing)
            if meanwhile is not None:
                meanwhile(call.promise)
            return call.promise.result()
        except BaseException:
            self._cancel(call)
            raise

    def start(self, function: Callable[[], Awaitable[_Result]]) -> Promise[_Result]:
        """Start a coroutine function in the loop; as `call()` without the waiting."""
        call = Call(function)
        try:
            self._start(call)
        except BaseException:
            self._cancel(call)
            raise
        return call.promise

    def _start(self, call: Call[_Result], *, while_closing: bool = False) -> None:
        """Pass a call to the loop, with this thread's context."""
        self.check_here()
        if self.state is not State.OPEN and not (while_closing and self.state is State.CLOSING):
            raise self.refusal()
        # before it is passed on, since the loop may end without looking at it
        self._calls.add(call)
        if not self._loop.call_soon_threadsafe(partial(copy_context().run, self._spawn, call)):
            self._calls.discard(call)
            raise DispatcherClosed(_ENDED)

    def _cancel(self, call: Call[_Result]) -> None:
        """Cancel a call without waiting for its end; forget one that was not passed on."""
        if not call.promise.done():
            self.soon(partial(self._withdraw, call))

    def soon(self, function: Callable[[], None]) -> bool:
        """Call a function in the loop, from any thread. Return False if the loop has ended."""
        if self.state in (State.NEW, State.CLOSED) or self._home.forked:
            return False
        return self._loop.call_soon_threadsafe(function)

    def _spawn(self, call: Call[Any]) -> None:
        if self._over:
            # it is ended with the loop
            return
        self._begun.add(call)
        self._loop.spawn(partial(self._run, call))

    async def _run(self, call: Call[Any]) -> None:
        try:
            await call.run()
        finally:
            self._forget(call)

    def _withdraw(self, call: Call[Any]) -> None:
        if call in self._begun:
            call.cancel()
        else:
            self._forget(call)

    def _forget(self, call: Call[Any]) -> None:
        self._calls.discard(call)
        self._begun.discard(call)
        if self._forgotten is not None:
            self._forgotten.set()

    async def _finish_calls(self) -> None:
        """Wait for the calls that have begun, and take no more."""
        while self._begun:
            self._forgotten = anyio.Event()
            await self._forgotten.wait()
        self._over = True

    # the thread

    def _serve(self, ready: Promise[None]) -> None:
        try:
            anyio.run(self._live, ready, backend=self._name)
        except BaseException as error:
            if not ready.done():
                ready.set_exception(error)
            elif sys.is_finalizing():
                return
            else:
                logger.exception("the thread of the dispatcher has failed")
        finally:
            # the loop has ended: it takes no more calls, and begins none of these
            for call in tuple(self._calls):
                if not call.promise.done():
                    call.promise.set_exception(DispatcherClosed(_ENDED))

    async def _live(self, ready: Promise[None]) -> None:
        self._stopping, self._ending = anyio.Event(), anyio.Event()
        self._loop = current_backend()
        await self._loop.open()
        try:
            await self._dispatcher.__aenter__()
            try:
                ready.set_result(None)
                if self.state is State.CLOSED:
                    self._abandon()
                await self._stopping.wait()
            finally:
                self._leaving = True
                try:
                    await self._dispatcher.aclose(timeout=self._timeout)
                finally:
                    self._left.set_result(None)
            await self._ending.wait()
            if not self._over:
                await self._finish_calls()
        finally:
            await self._loop.aclose()


def _runs_a_loop() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        trio = sys.modules.get("trio")
        return trio is not None and bool(trio.lowlevel.in_trio_run())
    return True


_opened: WeakSet[LoopThread] = WeakSet()


@atexit.register
def _close_what_is_open() -> None:
    for thread in list(_opened):
        thread.close_at_exit()
