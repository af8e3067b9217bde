"""The slot ledger: which of FPM's workers we may be occupying.

A slot is a worker, not a socket. It is taken before a connection is dialled, and given back only when the worker is
known to have left us:

    FREE -> CONNECTING -> IDLE -> BUSY -> FINISHING -> IDLE ...     IDLE is a kept connection: it still pins a worker
                                    \\-> DRAINING -> IDLE             the caller is gone, the script is not
                                    \\-> LINGERING -> FREE            the connection is closed, the script may run on

The ledger is pure: it is told the time, performs nothing, and answers which slots are overdue.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import attrs

__all__ = ("SLOT_TRANSITIONS", "Slot", "SlotLedger", "SlotState")


class SlotState(StrEnum):
    """What a slot's worker may be doing for us."""

    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    FINISHING = "finishing"
    DRAINING = "draining"
    LINGERING = "lingering"


# leaving the ledger (FREE) is allowed from every state
SLOT_TRANSITIONS: Final[dict[SlotState, frozenset[SlotState]]] = {
    # straight to BUSY where the peer cannot be probed
    SlotState.CONNECTING: frozenset({SlotState.IDLE, SlotState.BUSY}),
    SlotState.IDLE: frozenset({SlotState.BUSY}),
    # back to IDLE where the job turned out not to be ready
    SlotState.BUSY: frozenset({SlotState.IDLE, SlotState.FINISHING, SlotState.DRAINING, SlotState.LINGERING}),
    SlotState.FINISHING: frozenset({SlotState.IDLE, SlotState.LINGERING}),
    SlotState.DRAINING: frozenset({SlotState.IDLE, SlotState.LINGERING}),
    SlotState.LINGERING: frozenset(),
}


@attrs.define(eq=False)
class Slot:
    """One worker that we may be occupying."""

    state: SlotState = SlotState.CONNECTING
    # when the state has lasted too long; the clock is the ledger's user's
    deadline: float = math.inf
    # bytes of output that nobody wanted
    dropped: int = 0


@attrs.define(eq=False)
class SlotLedger:
    """Who holds what; `len(slots) <= share` always.

    Args:
        share: how many slots there are.
    """

    share: int
    slots: set[Slot] = attrs.field(factory=set, init=False)
    counts: dict[SlotState, int] = attrs.field(factory=lambda: dict.fromkeys(SlotState, 0), init=False)

    @property
    def free(self) -> int:
        """How many slots nobody holds."""
        return self.share - len(self.slots)

    @property
    def load(self) -> float:
        """How full the pool would be with one job more: what the least loaded endpoint has least of."""
        counts = self.counts
        return (len(self.slots) - counts[SlotState.IDLE] + 1) / self.share

    def take(self) -> Slot | None:
        """Return a slot in CONNECTING, or None where the share is used up."""
        if len(self.slots) >= self.share:
            return None
        slot = Slot()
        self.slots.add(slot)
        self.counts[SlotState.CONNECTING] += 1
        return slot

    def move(self, slot: Slot, state: SlotState, deadline: float = math.inf) -> None:
        """Put a slot into another state until `deadline`.

        Raises:
            AssertionError: the slot is not held, or the table does not allow the move; a bug of the caller.
        """
        current = slot.state
        if slot not in self.slots or state not in SLOT_TRANSITIONS[current]:
            raise AssertionError(f"a slot cannot go from {current} to {state}")
        self.counts[current] -= 1
        self.counts[state] += 1
        slot.state = state
        slot.deadline = deadline

    def release(self, slot: Slot) -> None:
        """Give a slot back.

        Raises:
            AssertionError: the slot is not held; a bug of the caller.
        """
        if slot not in self.slots:
            raise AssertionError("a slot was given back twice")
        self.slots.remove(slot)
        self.counts[slot.state] -= 1

    def overdue(self, now: float) -> list[Slot]:
        """Return the slots whose state has lasted too long, longest first."""
        return sorted((slot for slot in self.slots if slot.deadline <= now), key=lambda slot: slot.deadline)

    def next_deadline(self) -> float:
        """Return the nearest deadline of a slot; infinity where there is none."""
        return min((slot.deadline for slot in self.slots), default=math.inf)
