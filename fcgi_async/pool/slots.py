"""The slot ledger: which of FPM's workers we may be occupying.

A slot is a worker, not a socket. It is taken before a connection is opened, and given back only when the worker is
known to have left us:

    FREE -> CONNECTING -> IDLE -> BUSY -> FINISHING -> IDLE ...     IDLE is a kept connection: it still pins a worker
                                    \\-> DRAINING -> IDLE             the caller is gone, the script is not
                                    \\-> LEAVING -> FREE              its output is refused until the worker leaves it
                                    \\-> LINGERING -> FREE            the connection is closed, the script may run on

LINGERING is for connections on which a worker cannot be seen to leave its script: on TCP, and through relays. It ends
after a time, when a new connection is answered instead, or because of FPM's status page. The page does not tell which
client a worker serves, so workers are counted: each abandoned script that still runs keeps a worker active, and so does
each connection that we hold. If fewer workers were active than that sum, some of the abandoned scripts have ended.
Other clients only make more workers active: that can delay the conclusion, but never make it wrong.

The ledger is pure: callers pass the time, it performs no I/O, and it tells which slots are overdue.
"""

from __future__ import annotations

import math
from enum import StrEnum
from typing import Final

import attrs

__all__ = ("SLOT_TRANSITIONS", "Slot", "SlotLedger", "SlotState", "Snapshot")


class SlotState(StrEnum):
    """The states of a slot: what its worker may be doing for us."""

    CONNECTING = "connecting"
    IDLE = "idle"
    BUSY = "busy"
    FINISHING = "finishing"
    DRAINING = "draining"
    LEAVING = "leaving"
    LINGERING = "lingering"


# leaving the ledger (FREE) is allowed from every state
SLOT_TRANSITIONS: Final[dict[SlotState, frozenset[SlotState]]] = {
    # directly to BUSY if the peer cannot be probed
    SlotState.CONNECTING: frozenset({SlotState.IDLE, SlotState.BUSY}),
    SlotState.IDLE: frozenset({SlotState.BUSY}),
    # back to IDLE if the job turned out not to be ready
    SlotState.BUSY: frozenset(
        {SlotState.IDLE, SlotState.FINISHING, SlotState.DRAINING, SlotState.LEAVING, SlotState.LINGERING}
    ),
    # directly to BUSY if a job waits
    SlotState.FINISHING: frozenset({SlotState.IDLE, SlotState.BUSY, SlotState.LEAVING, SlotState.LINGERING}),
    SlotState.DRAINING: frozenset({SlotState.IDLE, SlotState.BUSY, SlotState.LEAVING, SlotState.LINGERING}),
    # if reading the unread bytes turned out to prove nothing
    SlotState.LEAVING: frozenset({SlotState.LINGERING}),
    SlotState.LINGERING: frozenset(),
}

# a plain name: on Python 3.11 looking up a member of an enum costs more than using it
_CONNECTING: Final = SlotState.CONNECTING
# a worker has answered before a slot gets to these states
_ACCEPTED: Final = frozenset({SlotState.IDLE, SlotState.FINISHING})


class Slot:
    """One worker that we may be occupying.

    Attributes:
        state: what it does for us; only the ledger changes it.
        deadline: when the state has lasted too long, by the caller's clock.
        dropped: bytes of output that were discarded.
        accepted: whether a worker is known to have the connection; until then, it may be in the listen queue.
    """

    __slots__ = ("accepted", "deadline", "dropped", "state")

    def __init__(self) -> None:
        self.state = SlotState.CONNECTING
        self.deadline = math.inf
        self.dropped = 0
        self.accepted = False


@attrs.frozen
class Snapshot:
    """A snapshot of the slots, to compare with the status page that FPM returns next.

    Attributes:
        slots: all slots.
        held: slots whose worker is certainly ours.
        abandoned: lingering slots whose worker certainly had the connection.
    """

    slots: frozenset[Slot]
    held: frozenset[Slot]
    abandoned: frozenset[Slot]


@attrs.define(eq=False)
class SlotLedger:
    """The slots in use; always, `len(slots) <= share`.

    Args:
        share: number of slots.

    Attributes:
        full: whether all slots are held.
    """

    share: int
    full: bool = attrs.field(init=False)
    slots: set[Slot] = attrs.field(factory=set, init=False)
    counts: dict[SlotState, int] = attrs.field(factory=lambda: dict.fromkeys(SlotState, 0), init=False)

    @full.default
    def _is_full(self) -> bool:
        return not self.share

    @property
    def free(self) -> int:
        """Number of free slots."""
        return self.share - len(self.slots)

    @property
    def load(self) -> float:
        """How full the pool would be with one more job; the least loaded endpoint has the lowest value."""
        counts = self.counts
        return (len(self.slots) - counts[SlotState.IDLE] + 1) / self.share

    def room(self, priority: int) -> int:
        """Return how many jobs of a priority could take a slot now, one after the other."""
        counts = self.counts
        available = self.free + counts[SlotState.IDLE] + counts[SlotState.CONNECTING]
        return max(min(available, self.room_below(priority)), 0)

    def most(self, priority: int) -> int:
        """Return how many slots jobs of a priority may use in total."""
        return self.share

    def room_below(self, priority: int) -> int:
        """Return how many more slots jobs of a priority may use, whether or not they are free."""
        return self.share

    def entering(self, priority: int | None) -> bool:
        """Return whether a job may take a slot, and remember its priority for the slot that becomes BUSY next.

        Args:
            priority: the job's priority; None for a ping, which may take any slot.
        """
        return True

    def take(self, slot: Slot, state: SlotState = _CONNECTING) -> None:
        """Add a new slot.

        Args:
            slot: not held yet.
            state: in which it begins: BUSY if nothing has to be connected for it.

        Raises:
            AssertionError: the share is used up; a bug of the caller.
        """
        slots = self.slots
        if len(slots) >= self.share or slot in slots or slot.state is not _CONNECTING:
            raise AssertionError("a slot was taken beyond the share, or twice")
        slots.add(slot)
        slot.state = state
        self.counts[state] += 1
        self.full = len(slots) == self.share

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
        self.full = False

    def overdue(self, now: float) -> list[Slot]:
        """Return the slots whose state has lasted too long, the longest first."""
        return sorted((slot for slot in self.slots if slot.deadline <= now), key=lambda slot: slot.deadline)

    def next_deadline(self) -> float:
        """Return the nearest deadline of a slot; infinity if there is none."""
        return min((slot.deadline for slot in self.slots), default=math.inf)

    def snapshot(self) -> Snapshot:
        """Take a snapshot; ask FPM's status page after this."""
        accepted = {slot for slot in self.slots if slot.accepted}
        abandoned = frozenset(slot for slot in accepted if slot.state is SlotState.LINGERING)
        return Snapshot(frozenset(self.slots), frozenset(accepted - abandoned), abandoned)

    def ended(self, snapshot: Snapshot, active: int) -> list[Slot]:
        """Return the slots whose abandoned scripts have certainly ended.

        Args:
            snapshot: taken before FPM was asked.
            active: how many workers FPM has seen active since then, each at any moment.
        """
        # workers held all the time were seen active; those taken or left meanwhile may or may not have been
        held = sum(slot in self.slots and slot.state is not SlotState.LINGERING for slot in snapshot.held)
        abandoned = sorted((slot for slot in snapshot.abandoned if slot in self.slots), key=lambda slot: slot.deadline)
        running = max(active - held, 0)
        return abandoned[: max(len(abandoned) - running, 0)]

    def others(self, snapshot: Snapshot, active: int) -> int:
        """Return how many of the workers that FPM has seen active since then are certainly not ours."""
        return max(active - len(snapshot.slots | self.slots), 0)
