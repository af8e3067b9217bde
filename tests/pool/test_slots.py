"""The slot ledger alone: no pool, no connection, a clock that is a number."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, precondition, rule

from fcgi_async.pool.slots import SLOT_TRANSITIONS, Slot, SlotLedger, SlotState

S = SlotState
MOVES = [(current, following) for current in S for following in S]

# the shortest way to each state
WAYS: dict[SlotState, tuple[SlotState, ...]] = {
    S.CONNECTING: (),
    S.IDLE: (S.IDLE,),
    S.BUSY: (S.IDLE, S.BUSY),
    S.FINISHING: (S.IDLE, S.BUSY, S.FINISHING),
    S.DRAINING: (S.IDLE, S.BUSY, S.DRAINING),
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
    (S.BUSY, S.LINGERING),
    (S.FINISHING, S.IDLE),
    (S.FINISHING, S.LINGERING),
    (S.DRAINING, S.IDLE),
    (S.DRAINING, S.LINGERING),
}


def slot_in(ledger: SlotLedger, state: SlotState, deadline: float = math.inf) -> Slot:
    """Take a slot and bring it into a state."""
    slot = ledger.take()
    assert slot is not None
    for step in WAYS[state]:
        ledger.move(slot, step, deadline)
    return slot


def test_share_is_the_bound() -> None:
    """As many slots as the share are given out, and not one more."""
    ledger = SlotLedger(2)
    assert ledger.free == 2
    slots = [ledger.take(), ledger.take()]
    assert None not in slots
    assert ledger.free == 0
    assert ledger.take() is None
    assert ledger.counts[S.CONNECTING] == 2


def test_released_slot_is_free_again() -> None:
    """A slot given back can be taken once more."""
    ledger = SlotLedger(1)
    slot = slot_in(ledger, S.BUSY)
    ledger.release(slot)
    assert ledger.free == 1
    assert sum(ledger.counts.values()) == 0
    assert ledger.take() is not None


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

    @precondition(lambda self: self.ledger.free)
    @rule(target=held)
    def take(self) -> Slot:
        slot = self.ledger.take()
        assert slot is not None
        assert slot not in self.model
        self.model[slot] = (S.CONNECTING, math.inf)
        return slot

    @precondition(lambda self: not self.ledger.free)
    @rule()
    def take_too_much(self) -> None:
        assert self.ledger.take() is None

    @rule(slot=held, state=st.sampled_from(S), after=st.one_of(st.just(math.inf), st.floats(0, 10)))
    def move(self, slot: Slot, state: SlotState, after: float) -> None:
        before = self.model.get(slot)
        if before is not None and state in SLOT_TRANSITIONS[before[0]]:
            self.ledger.move(slot, state, self.now + after)
            self.model[slot] = (state, self.now + after)
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
        assert 0 < ledger.load <= (ledger.share + 1) / ledger.share


TestLedger = Ledger.TestCase
TestLedger.settings = settings(derandomize=True, database=None, deadline=None, max_examples=150, stateful_step_count=40)
