"""The ledger of a pool that keeps slots for jobs of a priority."""

from __future__ import annotations

from typing import Any

import pytest

from fcgi_async.errors import ConfigurationError
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.kept import KeptLedger, ledger_of
from fcgi_async.pool.slots import Slot, SlotLedger, SlotState

ADDRESS = "unix:///run/php/php-fpm.sock"


def taken(ledger: SlotLedger, priority: int | None) -> Slot:
    """Take a slot for a job of a priority, or for a ping."""
    assert ledger.entering(priority)
    slot = Slot()
    ledger.take(slot)
    ledger.move(slot, SlotState.BUSY)
    return slot


def test_thresholds_add_up() -> None:
    """Of 4 slots with {10: 1, 5: 1}: two below 5, three below 10, four in all."""
    ledger = ledger_of(4, {10: 1, 5: 1})
    assert [ledger.most(priority) for priority in (-3, 4, 5, 9, 10, 99)] == [2, 2, 3, 3, 4, 4]
    taken(ledger, 0), taken(ledger, 4)
    assert (ledger.entering(4), ledger.entering(5), ledger.entering(10)) == (False, True, True)
    taken(ledger, 9)
    assert (ledger.entering(9), ledger.entering(10)) == (False, True)
    assert [ledger.room(priority) for priority in (0, 9, 10)] == [0, 0, 1]


def test_important_jobs_take_nothing_from_the_others() -> None:
    """What jobs of 10 use does not count among the three that others may use."""
    ledger = ledger_of(4, {10: 1})
    taken(ledger, 10)
    for _ in range(3):
        taken(ledger, 0)
    assert not ledger.entering(0)
    assert ledger.free == 0


def test_a_ping_takes_any_slot() -> None:
    """It counts under no threshold."""
    ledger = ledger_of(2, {10: 1})
    taken(ledger, 0)
    assert not ledger.entering(0)
    ping = taken(ledger, None)
    ledger.release(ping)
    assert (ledger.room(0), ledger.room(10)) == (0, 1)


@pytest.mark.parametrize("state", [SlotState.FINISHING, SlotState.DRAINING, SlotState.LEAVING, SlotState.LINGERING])
def test_a_slot_counts_until_its_worker_is_free(state: SlotState) -> None:
    """Also when its job has its response, or nobody waits for it any more."""
    ledger = ledger_of(2, {1: 1})
    slot = taken(ledger, 0)
    ledger.move(slot, state)
    assert not ledger.entering(0)
    ledger.release(slot)
    assert ledger.entering(0)


def test_an_idle_connection_counts_for_nobody() -> None:
    """The worker that is kept for the next job is free, for whichever job comes."""
    ledger = ledger_of(2, {1: 1})
    slot = taken(ledger, 0)
    ledger.move(slot, SlotState.IDLE)
    assert ledger.entering(0)
    ledger.entering(1)
    ledger.move(slot, SlotState.BUSY)
    assert ledger.entering(0)


def test_a_slot_that_is_asked_for_again_counts_no_more() -> None:
    """A lingering slot's job has left it when another connection is answered in its place."""
    ledger = ledger_of(2, {1: 1})
    slot = taken(ledger, 0)
    ledger.move(slot, SlotState.LINGERING)
    ledger.release(slot)
    assert ledger.entering(0)


def test_nothing_kept_costs_nothing() -> None:
    """Without kept slots the ledger is the plain one."""
    assert type(ledger_of(2, {})) is SlotLedger
    assert type(ledger_of(2, {1: 1})) is KeptLedger


@pytest.mark.parametrize(
    ("kept", "message"),
    [
        ({10: 4}, r"kept=\{10: 4\} leaves no slot of 4 to jobs of every priority"),
        ({10: 2, 5: 2}, "leaves no slot of 4"),
        ({10: -1}, r"kept\[10\] must be a number of slots, not -1"),
        ({10: True}, r"kept\[10\] must be a number of slots, not True"),
        ({10: 1.0}, r"kept\[10\] must be a number of slots, not 1.0"),
        ({"10": 1}, r"kept\['10'\]: a priority must be a whole number"),
        ([10], r"kept\) must be a mapping of priorities"),
    ],
)
def test_what_cannot_be_kept_is_refused(kept: Any, message: str) -> None:
    """Where the endpoint is made."""
    with pytest.raises(ConfigurationError, match=message):
        Endpoint(ADDRESS, max_children=6, reserve=2, kept=kept)


def test_kept_is_checked_when_the_share_is_known() -> None:
    """An endpoint whose size comes from the status page is checked with it."""
    endpoint = Endpoint(ADDRESS, kept={10: 2})
    with pytest.raises(ConfigurationError, match="leaves no slot of 2"):
        Endpoint(ADDRESS, max_children=2, kept=endpoint.kept)
    assert hash(endpoint) == hash(Endpoint(ADDRESS, kept={10: 2}))
