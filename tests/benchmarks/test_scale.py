"""The model of what a fleet takes of a database's server: its arithmetic."""

from __future__ import annotations

import attrs
import pytest

from benchmarks.durable.scale import (
    COMFORT,
    Costs,
    Fleet,
    carried,
    most_hosts,
    per_job,
    standing,
    taken,
    together,
    waking,
)
from benchmarks.durable.unit_costs import MANY, Unit, to_costs

COSTS = Costs(
    claim=300e-6, claimed=50e-6, settle=150e-6, settled=100e-6, put=200e-6, look=100e-6, tend=400e-6, renew=100e-6
)


def fleet(hosts: int, workers: int = 8, seconds: float = 1.0) -> Fleet:
    return Fleet(hosts=hosts, workers=workers, seconds=seconds)


def test_a_fleet_runs_what_its_workers_can() -> None:
    """Hosts times PHP workers, each one job after the other."""
    assert fleet(10, 8, 0.5).most == 160


def test_jobs_that_end_together_share_a_transaction() -> None:
    """One at least, and no more than there are PHP workers."""
    assert together(fleet(100), 0) == 1
    assert together(fleet(1), 500) == 2
    assert together(fleet(1), 1e6) == 8


def test_a_job_costs_its_put_its_claim_and_its_settlement() -> None:
    """What is a transaction's is shared."""
    assert per_job(COSTS, 1) == pytest.approx(800e-6)
    assert per_job(COSTS, 3) == pytest.approx(500e-6)


def test_idle_workers_take_their_looks() -> None:
    """In a crowd they tend less often, and renew and look all the same."""
    assert standing(COSTS, 1) == pytest.approx(2 * 400e-6 + 100e-6 + 20e-6)
    assert standing(COSTS, 160) == pytest.approx(160 * (0.2 * 400e-6 + 100e-6 + 20e-6))


def test_a_put_wakes_some_of_those_that_are_free() -> None:
    """All that hear it pay for that; those that are full do not look."""
    told = attrs.evolve(COSTS, wake=10e-6)
    assert waking(COSTS, fleet(8), 0.0) == 0
    assert waking(COSTS, fleet(8), 32) == pytest.approx(8 * 32 * 0.5 * 100e-6)
    rung = 64 + 64 / together(fleet(8), 64)
    assert waking(told, fleet(8), 64) == pytest.approx(8 * rung * 10e-6)
    assert waking(COSTS, fleet(160), 640) == pytest.approx(16 * 500 * 0.5 * 100e-6)


def test_who_is_not_told_asks() -> None:
    """More and more often as jobs come, and less in a crowd."""
    asking = attrs.evolve(COSTS, poll=50e-6)
    assert waking(asking, fleet(1, 1000), 10) == pytest.approx(9 * 50e-6 + 10 * 0.99 * 100e-6)
    full = fleet(160)
    assert waking(asking, full, full.most) == pytest.approx(160 * 50e-6)


def test_a_small_fleet_is_carried_whole() -> None:
    """Up to what its PHP workers can run."""
    assert carried(COSTS, fleet(10), 2) == 80


def test_a_large_fleet_is_carried_up_to_the_limit() -> None:
    """Then the server takes what is comfortable, and no more."""
    can = carried(COSTS, fleet(1000), 2)
    assert 0 < can < 8000
    assert taken(COSTS, fleet(1000), can) == pytest.approx(2 * COMFORT, rel=1e-3)


def test_one_writer_does_not_gain_by_processors() -> None:
    """A file has one writer at a time."""
    file = attrs.evolve(COSTS, one_writer=True)
    assert carried(file, fleet(100, 8, 0.1), 8) == pytest.approx(carried(file, fleet(100, 8, 0.1), 1))


def test_too_many_are_not_carried_at_all() -> None:
    """What they take without any job is too much."""
    assert carried(COSTS, fleet(100_000), 1) == 0


def test_the_most_hosts_are_found() -> None:
    """One more is too much."""
    most = most_hosts(COSTS, 8, 1.0, 2)
    assert taken(COSTS, fleet(most), fleet(most).most) <= 2 * COMFORT < taken(COSTS, fleet(most + 1), 8 * (most + 1))
    assert most_hosts(COSTS, 8, 0.0001, 1) == 0


def test_units_are_split_into_a_calls_and_a_jobs() -> None:
    """By what one and what many cost; noise makes nothing negative."""
    cpu = {"claim 1": 350e-6, f"claim {MANY}": 1100e-6, "settle 1": 250e-6, f"settle {MANY}": 200e-6}
    others = dict.fromkeys(("put", "look", "tend", "renew"), 1e-6)
    costs = to_costs({name: Unit(cpu=cpu, wall=0.0) for name, cpu in (cpu | others).items()}, one_writer=False)
    assert costs.claim == pytest.approx(300e-6)
    assert costs.claimed == pytest.approx(50e-6)
    assert costs.settle == pytest.approx(250e-6)
    assert costs.settled == costs.poll == 0
