"""The regression check: what a job costs, as a multiple of blocking sockets, against what it did when that was stored.

    make bench-guard       fails where a multiple is more than 25 % worse than in baseline.json
    make bench-baseline    stores it anew

Not a part of the test suite: it wants an idle machine. On a busy one blocking sockets become cheaper, because answers
gather while they wait for their turn, and every multiple of them grows.
"""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median

import pytest

from benchmarks.report.figures import cpu, ratios, values
from benchmarks.suite.case import Case
from benchmarks.suite.entrant import FLOOR, ours
from benchmarks.suite.race import race
from benchmarks.suite.surroundings import surroundings

BASELINE = Path(__file__).parent / "baseline.json"
ENTRANTS = (ours("run_all", "asyncio"), ours("run", "asyncio"), ours("run_all", "uvloop"), ours("run_all", "trio"))
CASE = Case(
    name="16 at once",
    entrants=(FLOOR, *ENTRANTS),
    changes={"at_once": 16, "jobs": 4000, "warm_up": 400},
)
ROUNDS = 7
TOLERANCE = 1.25
# between the rounds of blocking sockets, on a machine that is idle
STEADY = 1.5

pytestmark = pytest.mark.benchmark


@pytest.fixture(scope="module")
def multiples() -> dict[str, float]:
    """The CPU time per job of each of ours, as a multiple of the floor's: medians of the rounds."""
    with surroundings(None) as around:
        results = race(CASE, ROUNDS, around)
    found = {}
    floor = results[FLOOR.name]
    assert not isinstance(floor, str), floor
    costs = values(floor, cpu)
    if max(costs) > min(costs) * STEADY:
        pytest.fail(f"the machine is busy: blocking sockets took from {min(costs):.1f} to {max(costs):.1f} µs of CPU")
    for entrant in ENTRANTS:
        rounds = results[entrant.name]
        assert not isinstance(rounds, str), rounds
        found[entrant.name] = round(median(ratios(rounds, floor, cpu)), 2)
    return found


def worse(found: dict[str, float], baseline: dict[str, float]) -> dict[str, str]:
    """What is worse than the baseline by more than the tolerance, or missing there."""
    return {
        name: f"{multiple} x blocking sockets, and it was {baseline.get(name)}"
        for name, multiple in found.items()
        if name not in baseline or multiple > baseline[name] * TOLERANCE
    }


@pytest.mark.timeout(300)
def test_a_job_costs_no_more_than_it_did(multiples: dict[str, float], request: pytest.FixtureRequest) -> None:
    """No multiple is more than 25 % worse than the stored one."""
    if request.config.getoption("--update-baseline"):
        BASELINE.write_text(json.dumps(multiples, indent=2) + "\n")
    assert worse(multiples, json.loads(BASELINE.read_text())) == {}


def test_what_is_worse_is_found() -> None:
    """A quarter more is let pass; more than that is not, nor what has no baseline."""
    baseline = {"same": 2.0, "a quarter": 2.0, "more": 2.0}
    assert worse({"same": 2.0, "a quarter": 2.5, "more": 2.51, "new": 1.0}, baseline).keys() == {"more", "new"}
