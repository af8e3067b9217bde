"""Slots kept for jobs of a priority: limits how many slots other jobs may use, because a running job cannot be stopped.

`kept={10: 1, 5: 1}` of 4 slots makes two thresholds. Jobs below 10 use at most 3 slots, and jobs below 5 use 2 of
those. A slot counts under each threshold that its job does not reach, until its worker is known to be free: also while
it drains, leaves or lingers. A slot without a job, such as an idle connection's, counts under none.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Mapping

import attrs

from fcgi_async.pool.slots import Slot, SlotLedger, SlotState

__all__ = ("KeptLedger", "ledger_of")

# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_BUSY = SlotState.BUSY
_OF_NO_JOB = frozenset({SlotState.IDLE, SlotState.CONNECTING})


@attrs.define(eq=False)
class KeptLedger(SlotLedger):
    """A ledger that refuses slots to jobs whose priority is too low.

    Args:
        share: number of slots.
        kept: number of slots kept for jobs of a priority and above, by priority.
    """

    kept: Mapping[int, int] = attrs.field(kw_only=True)
    # the priorities, ascending; how many slots jobs below each may use, and how many they use now
    _thresholds: list[int] = attrs.field(init=False)
    _most: list[int] = attrs.field(init=False)
    _used: list[int] = attrs.field(init=False)
    # how many thresholds are reached by the job that is about to take a slot
    _entering: int = attrs.field(init=False)
    # the same for each slot that was taken for a job
    _reached: dict[Slot, int] = attrs.field(factory=dict, init=False)

    def __attrs_post_init__(self) -> None:
        self._thresholds = sorted(self.kept)
        self._used = [0] * len(self._thresholds)
        self._entering = len(self._thresholds)
        self._most = [
            self.share - sum(self.kept[higher] for higher in self._thresholds[place:])
            for place in range(len(self._thresholds))
        ]

    def most(self, priority: int) -> int:
        return min([self.share, *self._most[bisect_right(self._thresholds, priority) :]])

    def room_below(self, priority: int) -> int:
        reached = bisect_right(self._thresholds, priority)
        left = [most - used for most, used in zip(self._most[reached:], self._used[reached:], strict=True)]
        return min([self.share, *left])

    def entering(self, priority: int | None) -> bool:
        reached = len(self._thresholds) if priority is None else bisect_right(self._thresholds, priority)
        self._entering = reached
        return priority is None or self.room_below(priority) > 0

    def move(self, slot: Slot, state: SlotState, deadline: float = math.inf) -> None:
        SlotLedger.move(self, slot, state, deadline)
        if state is _BUSY:
            if slot not in self._reached:
                self._reached[slot] = self._entering
                self._count(self._entering, 1)
        elif state in _OF_NO_JOB:
            self._forget(slot)

    def release(self, slot: Slot) -> None:
        SlotLedger.release(self, slot)
        self._forget(slot)

    def _forget(self, slot: Slot) -> None:
        reached = self._reached.pop(slot, None)
        if reached is not None:
            self._count(reached, -1)

    def _count(self, reached: int, change: int) -> None:
        for place in range(reached, len(self._used)):
            self._used[place] += change


def ledger_of(share: int, kept: Mapping[int, int]) -> SlotLedger:
    """Return the ledger of a pool; without kept slots, a ledger that ignores priorities."""
    return KeptLedger(share, kept=kept) if kept else SlotLedger(share)
