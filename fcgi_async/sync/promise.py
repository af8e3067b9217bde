"""A result that another thread waits for.

An interruption such as Ctrl-C may be raised between any two steps of the main thread's Python code. If it comes just
after `result()` of a `concurrent.futures.Future` has taken the lock, this stays locked, and the event loop waits for it
forever. Here each waiter has a lock of its own, which nobody else waits for.
"""

from __future__ import annotations

from collections.abc import Callable
from threading import Lock
from typing import Generic, TypeVar, cast

import attrs

__all__ = ("Promise",)

_Result = TypeVar("_Result")


def _locked() -> Lock:
    lock = Lock()
    lock.acquire()
    return lock


@attrs.define(eq=False)
class Promise(Generic[_Result]):
    """The result or the error of what one thread does, for others.

    Args:
        when_done: called once it is done, in the thread that does it.
    """

    _when_done: Callable[[], object] | None = None
    # the locks of those who wait, which are locked until it is done
    _waiting: list[Lock] = attrs.field(factory=list, init=False)
    _result: _Result | None = attrs.field(default=None, init=False)
    _error: BaseException | None = attrs.field(default=None, init=False)
    _done: bool = attrs.field(default=False, init=False)

    def done(self) -> bool:
        """Return whether there is a result or an error."""
        return self._done

    def set_result(self, result: _Result) -> None:
        """Give the result; called once."""
        self._result = result
        self._end()

    def set_exception(self, error: BaseException) -> None:
        """Give the error instead."""
        self._error = error
        self._end()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until it is done, or for as many seconds."""
        lock = _locked()
        self._waiting.append(lock)
        # if it was done before that, the lock stays locked
        if not self._done:
            lock.acquire(timeout=-1 if timeout is None else max(timeout, 0))
        self._waiting.remove(lock)

    def result(self) -> _Result:
        """Wait for the result and return it, or raise the error."""
        if not self._done:
            self.wait()
        if self._error is not None:
            raise self._error
        return cast("_Result", self._result)

    def _end(self) -> None:
        self._done = True
        for lock in tuple(self._waiting):
            lock.release()
        if self._when_done is not None:
            self._when_done()
