"""The bounded queue: higher priority first, then first in first out; overflow waits outside the bound."""

from __future__ import annotations

from bisect import insort
from collections import OrderedDict, deque
from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import attrs

__all__ = ("JobQueue", "Queued")


class Queued(Protocol):
    """Something that can be queued."""

    @property
    def priority(self) -> int:
        """The higher comes first."""

    @property
    def waiting(self) -> bool:
        """Whether it still waits; an entry that does not is skipped."""

    def admitted(self) -> None:
        """Called when it is admitted from outside."""


T = TypeVar("T", bound=Queued)


@attrs.define(eq=False)
class JobQueue(Generic[T]):
    """A queue of entries. Pure: nothing here waits.

    Removal is lazy: an entry that no longer waits is dropped when its turn comes, or when most have left.

    Args:
        bound: how many entries it holds; an entry that comes back after a failed attempt is not refused.
    """

    bound: int
    # number of entries inside that still wait
    size: int = attrs.field(default=0, init=False)
    # by negative priority, so that sorting puts the highest first
    _lanes: dict[int, deque[T]] = attrs.field(factory=dict, init=False)
    _order: list[int] = attrs.field(factory=list, init=False)
    _outside: dict[int, OrderedDict[T, None]] = attrs.field(factory=dict, init=False)
    _outside_size: int = attrs.field(default=0, init=False)
    _left: int = attrs.field(default=0, init=False)

    @property
    def full(self) -> bool:
        """Whether one more would have to wait outside."""
        return self.size >= self.bound or bool(self._outside_size)

    @property
    def total(self) -> int:
        """Number of entries that wait, inside and outside."""
        return self.size + self._outside_size

    def push(self, entry: T) -> bool:
        """Add an entry. Return False if the queue is full and it has to wait outside for room."""
        if self.size >= self.bound or self._outside_size:
            self._outside.setdefault(-entry.priority, OrderedDict())[entry] = None
            self._outside_size += 1
            return False
        self.size += 1
        lane = self._lanes.get(-entry.priority)
        if lane is None:
            lane = self._lane(entry.priority)
        lane.append(entry)
        return True

    def push_back(self, entry: T) -> None:
        """Add an entry that was taken before, ahead of its equals."""
        self._lane(entry.priority).appendleft(entry)
        self.size += 1

    def first(self) -> T | None:
        """Return the next entry without taking it, or None if there is none."""
        while self._order:
            lane = self._lanes[self._order[0]]
            while lane:
                if lane[0].waiting:
                    return lane[0]
                lane.popleft()
                self._left -= 1
            del self._lanes[self._order.pop(0)]
        return None

    def pop(self) -> T | None:
        """Take the next entry. Return None if there is none."""
        while self._order:
            lane = self._lanes[self._order[0]]
            while lane:
                entry = lane.popleft()
                if entry.waiting:
                    self.size -= 1
                    if self._outside_size:
                        self._admit()
                    return entry
                self._left -= 1
            del self._lanes[self._order.pop(0)]
        return None

    def left(self, entry: T) -> None:
        """Called when an entry, inside or outside, no longer waits."""
        lane = self._outside.get(-entry.priority)
        if lane is not None and entry in lane:
            del lane[entry]
            self._leave_outside(-entry.priority, lane)
            return
        self.size -= 1
        self._left += 1
        if self._left > 64 and self._left > self.size:
            self._compact()
        self._admit()

    def __iter__(self) -> Iterator[T]:
        """Yield every waiting entry, those outside last."""
        for order in tuple(self._order):
            yield from (entry for entry in tuple(self._lanes[order]) if entry.waiting)
        for order in sorted(self._outside):
            yield from tuple(self._outside.get(order, ()))

    def _lane(self, priority: int) -> deque[T]:
        lane = self._lanes.get(-priority)
        if lane is None:
            lane = self._lanes[-priority] = deque()
            insort(self._order, -priority)
        return lane

    def _admit(self) -> None:
        while self._outside_size and self.size < self.bound:
            order = min(self._outside)
            lane = self._outside[order]
            entry, _ = lane.popitem(last=False)
            self._leave_outside(order, lane)
            self._lane(entry.priority).append(entry)
            self.size += 1
            entry.admitted()

    def _leave_outside(self, order: int, lane: OrderedDict[T, None]) -> None:
        self._outside_size -= 1
        if not lane:
            del self._outside[order]

    def _compact(self) -> None:
        for order in tuple(self._order):
            lane = deque(entry for entry in self._lanes[order] if entry.waiting)
            if lane:
                self._lanes[order] = lane
            else:
                del self._lanes[order]
                self._order.remove(order)
        self._left = 0
