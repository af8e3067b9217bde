"""The slot ledger alone: no pool, no connection, a clock that is a number."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from fcgi_async.pool.slots import SLOT_TRANSITIONS, Slot, SlotLedger, SlotState, Snapshot

S = SlotState
MOVES = [(current, following) for current in S for following in S]

# the shortest way to each state
WAYS: dict[SlotState, tuple[SlotState, ...]] = {
    S.CONNECTING: (),
    S.IDLE: (S.IDLE,),
    S.BUSY: (S.IDLE, S.BUSY),
    S.FINISHING: (S.IDLE, S.BUSY, S.FINISHING),
    S.DRAINING: (S.IDLE, S.BUSY, S.DRAINING),
    S.LEAVING: (S.IDLE, S.BUSY, S.LEAVING),
    S.LINGERING: (S.IDLE, S.BUSY, S.LINGERING),
}
# drawn once more, so that a change of the table is noticed
ALLOWED = {
    (S.CONNECTING, S.IDLE),
    (S.CONNECTING, S.BUSY),
    (S.IDLE, S.BUSY),
    (S.BUSY, S.IDLE),
    (S.BUSY, S.FINISHING),
    (S.BUSY, S.DRAINING),
    (S.BUSY, S.LEAVING),
    (S.BUSY, S.LINGERING),
    (S.FINISHING, S.IDLE),
    (S.FINISHING, S.BUSY),
    (S.FINISHING, S.LEAVING),
    (S.FINISHING, S.LINGERING),
    (S.DRAINING, S.IDLE),
    (S.DRAINING, S.BUSY),
    (S.DRAINING, S.LEAVING),
    (S.DRAINING, S.LINGERING),
    (S.LEAVING, S.LINGERING),
}


def taken(ledger: SlotLedger) -> Slot:
    """Take a slot."""
    slot = Slot()
    ledger.take(slot)
    return slot


def slot_in(ledger: SlotLedger, state: SlotState, deadline: float = math.inf) -> Slot:
    """Take a slot and bring it into a state."""
    slot = taken(ledger)
    for step in WAYS[state]:
        ledger.move(slot, step, deadline)
    return slot


def test_share_is_the_bound() -> None:
    """As many slots as the share are given out, and not one more."""
    ledger = SlotLedger(2)
    assert ledger.free == 2
    taken(ledger)
    slot = taken(ledger)
    assert ledger.free == 0
    for one_more in (Slot(), slot):
        with pytest.raises(AssertionError, match="beyond the share"):
            ledger.take(one_more)
    assert ledger.counts[S.CONNECTING] == 2


def test_released_slot_is_free_again() -> None:
    """A slot given back can be taken once more."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, S.BUSY)
    ledger.release(slot)
    assert ledger.free == 1
    assert sum(ledger.counts.values()) == 0
    taken(ledger)


@pytest.mark.parametrize("state", S)
def test_every_state_can_be_left_for_free(state: SlotState) -> None:
    """A slot is given back from whatever state it is in, and its count goes with it."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, state)
    assert ledger.counts[state] == 1
    ledger.release(slot)
    assert set(ledger.counts.values()) == {0}


@pytest.mark.parametrize(("current", "following"), sorted(ALLOWED))
def test_allowed_move(current: SlotState, following: SlotState) -> None:
    """An allowed move changes the state, both counts and the deadline."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, current, 3.0)
    ledger.move(slot, following, 7.0)
    assert slot.state is following
    assert slot.deadline == 7.0
    assert {state for state, count in ledger.counts.items() if count} == {following}


@pytest.mark.parametrize(("current", "following"), [move for move in MOVES if move not in ALLOWED])
def test_forbidden_move(current: SlotState, following: SlotState) -> None:
    """A move that the table does not have is refused, and changes nothing."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, current, 3.0)
    deadline, counts = slot.deadline, dict(ledger.counts)
    with pytest.raises(AssertionError, match=f"from {current} to {following}"):
        ledger.move(slot, following, 7.0)
    assert (slot.state, slot.deadline, ledger.counts) == (current, deadline, counts)


def test_the_longest_lingering_slot_is_asked_for_first() -> None:
    """The slot whose script has run on for longest is the one whose place a new connection takes."""
    ledger = SlotLedger(3)
    later, sooner = slot_in(ledger, S.LINGERING, 9.0), slot_in(ledger, S.LINGERING, 5.0)
    slot_in(ledger, S.BUSY)
    assert ledger.longest_lingering() is sooner
    ledger.release(sooner)
    assert ledger.longest_lingering() is later
    ledger.release(later)
    assert ledger.longest_lingering() is None


def test_slot_that_is_not_held_cannot_be_moved() -> None:
    """A slot that was given back is nobody's to move."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, S.IDLE)
    ledger.release(slot)
    with pytest.raises(AssertionError, match="cannot go from idle to busy"):
        ledger.move(slot, S.BUSY)


def test_slot_is_released_once() -> None:
    """Giving a slot back twice is refused: somebody else may hold it by then."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, S.BUSY)
    ledger.release(slot)
    with pytest.raises(AssertionError, match="given back twice"):
        ledger.release(slot)
    assert ledger.free == 1


def test_move_without_a_deadline_has_none() -> None:
    """The deadline of a state ends with the state."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, S.IDLE, 3.0)
    ledger.move(slot, S.BUSY)
    assert slot.deadline == math.inf
    assert ledger.next_deadline() == math.inf


def test_overdue_slots_come_longest_first() -> None:
    """What is overdue comes in the order of the deadlines; a deadline that is now has passed."""
    ledger = SlotLedger(4)
    late, later, due, future = (slot_in(ledger, S.IDLE, deadline) for deadline in (2.0, 1.0, 5.0, 5.1))
    assert ledger.overdue(5.0) == [later, late, due]
    assert ledger.next_deadline() == 1.0
    for slot in (late, later, due):
        ledger.release(slot)
    assert ledger.overdue(5.0) == []
    assert ledger.next_deadline() == 5.1
    assert ledger.overdue(math.inf) == [future]


def test_load_prefers_what_is_free_or_idle() -> None:
    """A kept connection without a job is no load; one job more than the share is a load above 1."""
    ledger = SlotLedger(2)
    assert ledger.load == 0.5
    slot_in(ledger, S.IDLE)
    assert ledger.load == 0.5
    busy = slot_in(ledger, S.BUSY)
    assert ledger.load == 1.0
    ledger.release(busy)
    slot_in(ledger, S.LINGERING)
    assert ledger.load == 1.0


@pytest.mark.parametrize(
    ("state", "accepted"), [(S.CONNECTING, False), *((s, True) for s in S if s is not S.CONNECTING)]
)
def test_worker_that_has_accepted(state: SlotState, accepted: bool) -> None:
    """A slot that was ever idle has a worker; it is held until it lingers."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, state)
    snapshot = ledger.snapshot()
    assert snapshot.slots == {slot}
    assert snapshot.held == ({slot} if accepted and state is not S.LINGERING else set())
    assert snapshot.abandoned == ({slot} if state is S.LINGERING else set())


def test_worker_that_may_not_have_accepted() -> None:
    """A job written without a probe may wait in the listen queue, until its response ends."""
    ledger = SlotLedger(3)
    slots = []
    for steps in ((S.BUSY, S.FINISHING), (S.BUSY, S.DRAINING), (S.BUSY, S.LINGERING)):
        slot = taken(ledger)
        for step in steps:
            ledger.move(slot, step)
        slots.append(slot)
    assert ledger.snapshot().held == {slots[0]}
    assert ledger.snapshot().abandoned == frozenset()


@pytest.mark.parametrize(("active", "ended"), [(0, 2), (1, 2), (2, 1), (3, 0), (9, 0)], ids=lambda value: str(value))
def test_as_many_have_ended_as_are_not_seen_active(active: int, ended: int) -> None:
    """One worker is held; what is active beyond it may be ours, and the rest of what was abandoned has ended."""
    ledger = SlotLedger(4)
    slot_in(ledger, S.BUSY)
    late, soon = slot_in(ledger, S.LINGERING, 9.0), slot_in(ledger, S.LINGERING, 5.0)
    slot_in(ledger, S.CONNECTING)
    assert ledger.ended(ledger.snapshot(), active) == [soon, late][:ended]
    assert len(ledger.slots) == 4


def test_what_changed_while_fpm_was_asked() -> None:
    """Only a worker held all the time was certainly seen, and only what had been abandoned before can have ended."""
    ledger = SlotLedger(4)
    stays, leaves, closes, old = (slot_in(ledger, state) for state in (S.BUSY, S.IDLE, S.BUSY, S.LINGERING))
    snapshot = ledger.snapshot()
    ledger.release(leaves)
    ledger.move(closes, S.LINGERING)
    slot_in(ledger, S.IDLE)
    assert ledger.ended(snapshot, 2) == []
    assert ledger.ended(snapshot, 1) == [old]
    ledger.release(stays)
    assert ledger.ended(snapshot, 1) == []
    ledger.release(old)
    assert ledger.ended(snapshot, 0) == []


def test_others_are_those_who_cannot_be_ours() -> None:
    """Whatever we had before FPM was asked, or have now, may be what it saw."""
    ledger = SlotLedger(3)
    gone, _ = slot_in(ledger, S.IDLE), slot_in(ledger, S.LINGERING)
    snapshot = ledger.snapshot()
    ledger.release(gone)
    slot_in(ledger, S.CONNECTING)
    assert [ledger.others(snapshot, active) for active in (0, 3, 4, 6)] == [0, 0, 1, 3]


@given(
    held=st.lists(st.sampled_from([S.IDLE, S.BUSY, S.FINISHING, S.DRAINING]), max_size=3),
    abandoned=st.integers(1, 3),
    meanwhile=st.lists(st.tuples(st.sampled_from(["seen", "closed", "ended", "due", "new"]), st.integers(0, 5))),
    strangers=st.integers(0, 2),
)
@settings(derandomize=True, database=None, deadline=None, max_examples=500)
def test_a_slot_for_each_script_that_runs(
    held: list[SlotState], abandoned: int, meanwhile: list[tuple[str, int]], strangers: int
) -> None:
    """FPM looks at one worker after the other, while connections come and go and scripts end: whenever it looks, as
    many slots stay as abandoned scripts run.
    """
    ledger = SlotLedger(12)
    slots = [slot_in(ledger, state, float(n)) for n, state in enumerate([*held, *[S.LINGERING] * abandoned])]
    snapshot = ledger.snapshot()
    # those whose worker has a connection, or a script; and those FPM has looked at, and found active
    active, looked, seen = set(snapshot.held | snapshot.abandoned), set[Slot](), 0
    for what, n in [*meanwhile, *(("seen", n) for n in range(len(slots)))]:
        slot = slots[n % len(slots)]
        if what == "seen" and slot not in looked:
            looked.add(slot)
            seen += slot in active
        elif what == "closed" and slot.state in (S.BUSY, S.FINISHING, S.DRAINING):
            ledger.move(slot, S.LINGERING)
        elif what == "closed" and slot.state is not S.LINGERING and slot in ledger.slots:
            ledger.release(slot)
            active.discard(slot)
        elif what == "ended" and slot.state is S.LINGERING:
            active.discard(slot)
        elif what == "due" and slot.state is S.LINGERING and slot in ledger.slots:
            # given back by time, though its script may run on
            ledger.release(slot)
        elif what == "new" and len(slots) < ledger.share:
            slots.append(slot_in(ledger, S.BUSY))
            active.add(slots[-1])
    ended = ledger.ended(snapshot, seen + strangers)
    assert set(ended) <= snapshot.abandoned & ledger.slots
    left = [slot for slot in snapshot.abandoned if slot in ledger.slots and slot not in ended]
    running = [slot for slot in snapshot.abandoned if slot in ledger.slots and slot in active]
    assert len(left) >= len(running)
    if not strangers and not meanwhile:
        assert len(left) == len(running)
    assert ledger.others(snapshot, seen + strangers) <= strangers


class Ledger(RuleBasedStateMachine):
    """Whatever is done to a ledger, in whatever order: it agrees with a plain dictionary, and never gives out more
    than its share.
    """

    held = Bundle("held")
    gone = Bundle("gone")

    @initialize(share=st.integers(1, 4))
    def begin(self, share: int) -> None:
        self.ledger = SlotLedger(share)
        self.now = 0.0
        self.model: dict[Slot, tuple[SlotState, float]] = {}
        self.accepted: set[Slot] = set()

    @precondition(lambda self: self.ledger.free)
    @rule(target=held)
    def take(self) -> Slot:
        slot = taken(self.ledger)
        assert slot not in self.model
        self.model[slot] = (S.CONNECTING, math.inf)
        return slot

    @precondition(lambda self: not self.ledger.free)
    @rule()
    def take_too_much(self) -> None:
        with pytest.raises(AssertionError):
            self.ledger.take(Slot())

    @rule(slot=held, state=st.sampled_from(S), after=st.one_of(st.just(math.inf), st.floats(0, 10)))
    def move(self, slot: Slot, state: SlotState, after: float) -> None:
        before = self.model.get(slot)
        if before is not None and state in SLOT_TRANSITIONS[before[0]]:
            self.ledger.move(slot, state, self.now + after)
            self.model[slot] = (state, self.now + after)
            if state in (S.IDLE, S.FINISHING):
                self.accepted.add(slot)
        else:
            with pytest.raises(AssertionError):
                self.ledger.move(slot, state, self.now + after)

    @rule(target=gone, slot=consumes(held))
    def release(self, slot: Slot) -> Slot:
        if slot in self.model:
            self.ledger.release(slot)
            del self.model[slot]
        return slot

    @rule(slot=gone, state=st.sampled_from(S))
    def touch_what_is_gone(self, slot: Slot, state: SlotState) -> None:
        with pytest.raises(AssertionError):
            self.ledger.release(slot)
        with pytest.raises(AssertionError):
            self.ledger.move(slot, state)

    @rule(seconds=st.floats(0, 20))
    def sweep(self, seconds: float) -> None:
        """Time passes; what is overdue is given back, as its owner does."""
        self.now += seconds
        overdue = self.ledger.overdue(self.now)
        assert set(overdue) == {slot for slot, (_, deadline) in self.model.items() if deadline <= self.now}
        assert all(a.deadline <= b.deadline for a, b in pairwise(overdue))
        for slot in overdue:
            self.ledger.release(slot)
            del self.model[slot]
        assert self.ledger.overdue(self.now) == []

    @invariant()
    def agrees(self) -> None:
        ledger, states = self.ledger, [state for state, _ in self.model.values()]
        assert ledger.slots == set(self.model)
        assert all((slot.state, slot.deadline) == known for slot, known in self.model.items())
        assert ledger.counts == {state: states.count(state) for state in S}
        assert sum(ledger.counts.values()) == len(ledger.slots) <= ledger.share
        assert ledger.free == ledger.share - len(states)
        assert ledger.next_deadline() == min((deadline for _, deadline in self.model.values()), default=math.inf)
        accepted = frozenset(self.accepted & set(self.model))
        lingering = frozenset(slot for slot, (state, _) in self.model.items() if state is S.LINGERING)
        assert ledger.snapshot() == Snapshot(frozenset(self.model), accepted - lingering, accepted & lingering)
        assert 0 < ledger.load <= (ledger.share + 1) / ledger.share


TestLedger = Ledger.TestCase
TestLedger.settings = settings(derandomize=True, database=None, deadline=None, max_examples=150, stateful_step_count=40)
