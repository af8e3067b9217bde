"""The clock of a dispatcher: all timers are in one heap, and the event loop wakes up for the next one only."""

from __future__ import annotations

import math
from collections.abc import Callable
from heapq import heapify, heappop, heappush

__all__ = ("Clock", "ClockTimer")

# callbacks in one turn of the event loop; other tasks wait for them
_CALLED_AT_ONCE = 250
# the heap is rebuilt when it has this many cancelled timers, and more than pending ones: most deadlines of jobs are
# cancelled long before they pass
_CANCELLED_MAX = 64


class ClockTimer:
    """A callback that will be called later."""

    __slots__ = ("_cancelled", "callback")

    def __init__(self, callback: Callable[[], None], cancelled: Callable[[], None]) -> None:
        self.callback: Callable[[], None] | None = callback
        self._cancelled = cancelled

    def cancel(self) -> None:
        """Forget the callback."""
        if self.callback is not None:
            self.callback = None
            self._cancelled()


class Clock:
    """Calls back when a time has come.

    Args:
        now: returns the time in seconds.
        wake_at: schedules one call of `run()` at a time, and replaces the one scheduled before.
    """

    __slots__ = ("_cancelled", "_heap", "_now", "_number", "_wake_at", "_woken_at")

    def __init__(self, now: Callable[[], float], wake_at: Callable[[float], None]) -> None:
        self._now, self._wake_at = now, wake_at
        # time, a number that distinguishes equal times, and the timer
        self._heap: list[tuple[float, int, ClockTimer]] = []
        self._number = 0
        # number of cancelled timers in the heap
        self._cancelled = 0
        self._woken_at = math.inf

    def at(self, when: float, callback: Callable[[], None]) -> ClockTimer:
        """Call `callback` when the clock has passed `when`, but not before the next turn of the event loop."""
        timer = ClockTimer(callback, self._one_cancelled)
        self._number += 1
        heappush(self._heap, (when, self._number, timer))
        if when < self._woken_at:
            self._woken_at = when
            self._wake_at(when)
        return timer

    def run(self) -> None:
        """Call the timers that are due; those set for now meanwhile wait for the next turn: other tasks run first."""
        self._woken_at = math.inf
        now, heap = self._now(), self._heap
        due: list[tuple[float, int, ClockTimer]] = []
        while heap and len(due) < _CALLED_AT_ONCE and (heap[0][2].callback is None or heap[0][0] <= now):
            entry = heappop(heap)
            if entry[2].callback is None:
                self._cancelled -= 1
            else:
                due.append(entry)
        due.reverse()
        try:
            while due:
                timer = due.pop()[2]
                callback, timer.callback = timer.callback, None
                if callback is None:
                    # cancelled by a timer before it, and counted as if it were in the heap
                    self._cancelled -= 1
                else:
                    callback()
        finally:
            # also after a callback has failed: the others are still due
            for entry in due:
                heappush(self._heap, entry)
            if self._heap and self._heap[0][0] < self._woken_at:
                self._woken_at = self._heap[0][0]
                self._wake_at(self._woken_at)

    def close(self) -> None:
        """Stop calling."""
        self._heap.clear()
        self._cancelled = 0
        self._woken_at = math.inf

    def _one_cancelled(self) -> None:
        self._cancelled += 1
        if self._cancelled > _CANCELLED_MAX and self._cancelled > len(self._heap) // 2:
            pending = [entry for entry in self._heap if entry[2].callback is not None]
            # timers that run() has taken out and not reached yet are not in it
            self._cancelled -= len(self._heap) - len(pending)
            # in place: run() may be using it
            self._heap[:] = pending
            heapify(self._heap)
