"""The deadlines of all jobs: one heap with one timer, since most jobs end long before theirs."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

import attrs

from fcgi_async.net.backend import Backend, Timer

__all__ = ("Deadlines",)

# so many that were cancelled may lie in the heap, and as many as are pending, before it is made anew
_CANCELLED_MAX = 1000
# so many are called in one turn of the event loop, which other tasks have to wait for
_CALLED_AT_ONCE = 250


@attrs.define(eq=False)
class Deadlines:
    """Calls back once a deadline has passed.

    Args:
        backend: the event loop.
    """

    backend: Backend
    # when, and a number under which the callback is pending; one without a callback was cancelled
    _heap: list[tuple[float, int]] = attrs.field(factory=list, init=False)
    _pending: dict[int, Callable[[], None]] = attrs.field(factory=dict, init=False)
    _last: int = attrs.field(default=0, init=False)
    _timer: Timer | None = attrs.field(default=None, init=False)
    _timer_at: float = attrs.field(default=math.inf, init=False)

    def add(self, when: float, callback: Callable[[], None]) -> int:
        """Call `callback` when the clock has passed `when`; return what `cancel()` takes."""
        self._last = number = self._last + 1
        self._pending[number] = callback
        heappush(self._heap, (when, number))
        if when < self._timer_at:
            self._set_timer()
        return number

    def cancel(self, number: int) -> None:
        """Forget a deadline; one that has passed is forgotten already."""
        self._pending.pop(number, None)
        if len(self._heap) > 2 * len(self._pending) + _CANCELLED_MAX:
            self._heap = [entry for entry in self._heap if entry[1] in self._pending]
            heapify(self._heap)

    def close(self) -> None:
        """Call nobody any more."""
        self._heap.clear()
        self._pending.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _set_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = self._heap[0][0]
        self._timer = self.backend.call_at(self._timer_at, self._timer_fired)

    def _timer_fired(self) -> None:
        self._timer, self._timer_at = None, math.inf
        now = self.backend.now()
        try:
            called = 0
            # whoever is called may cancel others, and add another
            while (
                called < _CALLED_AT_ONCE
                and self._heap
                and (self._heap[0][0] <= now or self._heap[0][1] not in self._pending)
            ):
                callback = self._pending.pop(heappop(self._heap)[1], None)
                if callback is not None:
                    called += 1
                    callback()
        finally:
            # also when some are left for the next turn, and when one has failed: the others are due all the same
            if self._heap:
                self._set_timer()
