"""What a report says of figures that are known."""

from __future__ import annotations

import pytest

from benchmarks.report.budget import BUDGET, Requirement, Seen, judge
from benchmarks.report.figures import COLUMNS, Column, cpu, ratios
from benchmarks.report.page import headline, page
from benchmarks.report.publish import DOCS, README, with_headline
from benchmarks.report.results import Measured, WorkloadResults
from benchmarks.suite.entrant import AIOHTTP, FLOOR, GO, OURS
from benchmarks.suite.race import Figures
from benchmarks.workloads import WORKLOADS


def figures(microseconds: float, **more: float) -> Figures:
    """What a contender measured whose job costs so much."""
    return {"jobs": 1000, "cpu": microseconds / 1000, "wall": 0.1, **more}


def measured(ours: float) -> Measured:
    """A floor of 10 µs, ours, and the others that ours is compared with."""
    names = [
        f"{OURS}{through}" for through in ("run_all (asyncio)", "run (asyncio)", "run_all (uvloop)", "run_all (trio)")
    ]
    case = {FLOOR.name: [figures(10)] * 3, GO.name: [figures(20)] * 3, AIOHTTP.name: [figures(150)] * 3}
    case |= {name: [figures(ours)] * 3 for name in names}
    return Measured({"CPU": "any"}, {"smallest-job": WorkloadResults("full", {"16 at once": dict(case)})})


def test_ratios_are_of_the_same_round() -> None:
    """A round in which everything was twice as slow changes no ratio."""
    assert ratios([figures(30), figures(60)], [figures(10), figures(20)], cpu) == pytest.approx([3.0, 3.0])


def test_a_cell_has_median_least_and_most() -> None:
    """The median stands first; a figure that was not taken leaves the cell empty."""
    column = Column("", cpu, ".0f", spread=True)
    assert column.cell([figures(30), figures(10), figures(20)], []) == "20 (10 to 30)"
    assert COLUMNS["entry_bytes"].cell([figures(30)], []) == ""


def verdicts(ours: float) -> dict[str, str]:
    """The verdicts on those requirements that were measured."""
    return {seen.requirement.text: seen.verdict for seen in judge(measured(ours)) if seen.figures}


def test_what_is_within_the_budget_is_reached() -> None:
    """At 2.5 times the floor everything that is about the smallest job is reached."""
    assert set(verdicts(25).values()) == {"reached"}


def test_what_is_beyond_the_budget_is_missed() -> None:
    """At 5 times the floor the costs are missed, and what is compared with ours is not."""
    found = verdicts(50)
    assert {text for text, verdict in found.items() if verdict == "**missed**"} == {
        "`run_all`: CPU per job, x blocking sockets",
        "`run_all`: CPU per job, x aiohttp through nginx",
        "`run` from worker loops: CPU per job, x blocking sockets",
    }


def test_one_case_that_misses_is_enough() -> None:
    """A bound holds only where it holds in every case; where nothing was measured nothing is said."""
    most = Requirement("any", 3.0, lambda _: {})
    assert Seen(most, {"4 at once": 2.9, "16 at once": 3.1}).verdict == "**missed**"
    assert Seen(most, {"4 at once": 2.9, "16 at once": 3.0}).verdict == "reached"
    assert Seen(most, {}).verdict == "not measured"


def test_everything_that_must_be_reached_stands_in_the_page() -> None:
    """The budget is in the page, measured or not, and workloads that were not run are left out."""
    text = page(measured(25))
    assert all(f"| {requirement.text} |" in text for requirement in BUDGET)
    assert text.count("\n## ") == 2
    assert len(WORKLOADS) > 2


def test_the_headline_has_multiples() -> None:
    """The README's table compares with blocking sockets."""
    assert f"| {OURS}run_all (asyncio) | 25.0 | 2.5 | 10,000 |" in headline(measured(25))


def test_the_published_figures_are_those_that_were_stored() -> None:
    """The page and the README's table say what docs/benchmarks.json says; `make bench-report` writes them."""
    stored = Measured.read(DOCS)
    assert (DOCS / "benchmarks.md").read_text() == page(stored)
    assert README.read_text() == with_headline(README.read_text(), stored)
    assert headline(stored) in README.read_text()
