"""The slot ledger: which of FPM's workers we may be occupying.

A slot is a worker, not a socket. It is taken before a connection is dialled, and given back only when the worker is
known to have left us:

    FREE -> CONNECTING -> IDLE -> BUSY -> FINISHING -> IDLE ...     IDLE is a kept connection: it still pins a worker
                                    \\-> DRAINING -> IDLE             the caller is gone, the script is not
                                    \\-> LEAVING -> FREE              its output is refused until the worker leaves it
                                    \\-> LINGERING -> FREE            the connection is closed, the script may run on

LINGERING is for connections on which a worker is not seen to leave its script: on TCP, and through relays. It ends by
time, when a new connection is answered in its place, or by what FPM says of its workers. FPM does not say whose they
are, so they are counted: a script that was abandoned and still runs keeps a worker active, and so does each connection
that we hold. If fewer workers were active than that makes together, some of the abandoned scripts have ended. What
somebody else does makes more workers active, and so the answer later, never wrong.

The ledger is pure: it is told the time, performs nothing, and answers which slots are overdue.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import attrs

__all__ = ("SLOT_TRANSITIONS", "Sighting", "Slot", "SlotLedger", "SlotState")


class SlotState(StrEnum):
    """What a slot's worker may be doing for us."""

    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    FINISHING = "finishing"
    DRAINING = "draining"
    LEAVING = "leaving"
    LINGERING = "lingering"


# leaving the ledger (FREE) is allowed from every state
SLOT_TRANSITIONS: Final[dict[SlotState, frozenset[SlotState]]] = {
    # straight to BUSY where the peer cannot be probed
    SlotState.CONNECTING: frozenset({SlotState.IDLE, SlotState.BUSY}),
    SlotState.IDLE: frozenset({SlotState.BUSY}),
    # back to IDLE where the job turned out not to be ready
    SlotState.BUSY: frozenset(
        {SlotState.IDLE, SlotState.FINISHING, SlotState.DRAINING, SlotState.LEAVING, SlotState.LINGERING}
    ),
    # straight to BUSY if a job waits
    SlotState.FINISHING: frozenset({SlotState.IDLE, SlotState.BUSY, SlotState.LEAVING, SlotState.LINGERING}),
    SlotState.DRAINING: frozenset({SlotState.IDLE, SlotState.BUSY, SlotState.LEAVING, SlotState.LINGERING}),
    # where the end of the unread bytes turned out to tell nothing
    SlotState.LEAVING: frozenset({SlotState.LINGERING}),
    SlotState.LINGERING: frozenset(),
}

# a worker has spoken before a slot gets there
_ACCEPTED: Final = frozenset({SlotState.IDLE, SlotState.FINISHING})


class Slot:
    """One worker that we may be occupying.

    Attributes:
        state: what it does for us; only the ledger changes it.
        deadline: when the state has lasted too long; the clock is the ledger's user's.
        dropped: bytes of output that nobody wanted.
        accepted: whether a worker has said that it has the connection; until then that may be in the listen queue.
    """

    __slots__ = ("accepted", "deadline", "dropped", "state")

    def __init__(self) -> None:
        self.state = SlotState.CONNECTING
        self.deadline = math.inf
        self.dropped = 0
        self.accepted = False


@attrs.frozen
class Sighting:
    """The slots of one moment, to be held against what FPM says of its workers a moment later.

    Attributes:
        slots: all of them.
        held: those whose worker is certainly ours.
        abandoned: those that linger, and whose worker certainly had the connection.
    """

    slots: frozenset[Slot]
    held: frozenset[Slot]
    abandoned: frozenset[Slot]


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

    def room(self, priority: int) -> int:
        """Return how many jobs of a priority could take a slot now, one after the other."""
        counts = self.counts
        available = self.free + counts[SlotState.IDLE] + counts[SlotState.CONNECTING]
        return max(min(available, self.room_below(priority)), 0)

    def most(self, priority: int) -> int:
        """Return how many slots jobs of a priority may use in all."""
        return self.share

    def room_below(self, priority: int) -> int:
        """Return how many slots more jobs of a priority may use, whether or not those are free."""
        return self.share

    def entering(self, priority: int | None) -> bool:
        """Return whether a job may take a slot, and remember its priority for the slot that is BUSY next.

        Args:
            priority: of the job; None for a ping, which may take any.
        """
        return True

    def take(self, slot: Slot) -> None:
        """Enter a slot, in CONNECTING.

        Raises:
            AssertionError: the share is used up; a bug of the caller.
        """
        if len(self.slots) >= self.share or slot in self.slots or slot.state is not SlotState.CONNECTING:
            raise AssertionError("a slot was taken beyond the share, or twice")
        self.slots.add(slot)
        self.counts[SlotState.CONNECTING] += 1

    def move(self, slot: Slot, state: SlotState, deadline: float = math.inf) -> None:
        """Put a slot into another state until `deadline`.

        Raises:
            AssertionError: the slot is not held, or the table does not allow the move; a bug of the caller.
        """
        current, counts = slot.state, self.counts
        if slot not in self.slots or state not in SLOT_TRANSITIONS[current]:
            raise AssertionError(f"a slot cannot go from {current} to {state}")
        counts[current] -= 1
        counts[state] += 1
        slot.state = state
        slot.deadline = deadline
        if state in _ACCEPTED:
            slot.accepted = True

    def longest_lingering(self) -> Slot | None:
        """Return the slot that lingers longest, or None if none lingers."""
        lingering = [slot for slot in self.slots if slot.state is SlotState.LINGERING]
        return min(lingering, key=lambda slot: slot.deadline, default=None)

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

    def sight(self) -> Sighting:
        """Return what is known now; FPM is asked behind it."""
        accepted = {slot for slot in self.slots if slot.accepted}
        abandoned = frozenset(slot for slot in accepted if slot.state is SlotState.LINGERING)
        return Sighting(frozenset(self.slots), frozenset(accepted - abandoned), abandoned)

    def ended(self, sighting: Sighting, active: int) -> list[Slot]:
        """Return the slots whose abandoned scripts have certainly ended.

        Args:
            sighting: from before FPM was asked.
            active: how many of its workers FPM saw active since, each at whatever moment.
        """
        # whoever held a worker all the time was seen active; what came or went between may have been seen or not
        held = sum(slot in self.slots and slot.state is not SlotState.LINGERING for slot in sighting.held)
        abandoned = sorted((slot for slot in sighting.abandoned if slot in self.slots), key=lambda slot: slot.deadline)
        running = max(active - held, 0)
        return abandoned[: max(len(abandoned) - running, 0)]

    def others(self, sighting: Sighting, active: int) -> int:
        """Return how many of the workers that FPM saw active since are certainly not ours."""
        return max(active - len(sighting.slots | self.slots), 0)
