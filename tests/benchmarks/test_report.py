"""What a report says of figures that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report.aims import AIMS, Aim, judged, seen
from benchmarks.report.page import page
from benchmarks.report.results import COLUMNS, KEPT, Run, read, stored, write
from benchmarks.suite.race import FLOOR, GO, OURS, PROTOCOL, Figures, Results

RUN_ALL = f"{OURS}run_all (asyncio)"
BEFORE = "before: run_all (asyncio)"


def rounds(microseconds: float) -> list[Figures]:
    """What a contender measured whose job costs so much, in a round and in one that was twice as slow."""
    return [{"jobs": 1000, "cpu": microseconds * factor / 1000, "wall": 0.1 * factor} for factor in (1, 2)]


def run(ours: float, *, day: int = 1, cpu: str = "any") -> Run:
    """A floor of 10 µs, ours, and others that ours is compared with."""
    case: Results = {FLOOR.name: rounds(10), PROTOCOL.name: rounds(20), GO.name: rounds(15)}
    case |= {RUN_ALL: rounds(ours), BEFORE: rounds(100), "absent": "it is not installed"}
    return Run(
        machine={"CPU": cpu},
        date=f"2030-01-{day:02}",
        commit="abc",
        size="full",
        workloads={"smallest-job": {"16 at once": case}},
    )


def test_ratios_are_of_the_same_round() -> None:
    """A round in which everything was twice as slow changes no ratio, to whomever it is."""
    case = run(40).workloads["smallest-job"]["16 at once"]
    found = {name: COLUMNS[name].of(case, RUN_ALL) for name in ("floor", "protocol", "before", "first", "rate_go")}
    assert found == {
        "floor": pytest.approx([4, 4]),
        "protocol": pytest.approx([2, 2]),
        "before": pytest.approx([0.4, 0.4]),
        "first": pytest.approx([4, 4]),
        "rate_go": pytest.approx([1, 1]),
    }


def test_a_cell_has_median_least_and_most() -> None:
    """The median stands first; a figure that was not taken leaves the cell empty."""
    results: Results = {"any": [*rounds(10), *rounds(30)]}
    assert COLUMNS["cpu"].cell(results, "any") == "25.0 (10.0 to 60.0)"
    assert COLUMNS["entry_bytes"].cell(results, "any") == ""


@pytest.mark.parametrize(
    ("figures", "verdict"),
    [
        ([0.7], "reached, and the stretch"),
        ([0.7, 0.9], "reached, the stretch missed by 12%"),
        ([0.9, 1.5], "**missed by 50%**"),
        ([1.01], "**missed by 1.0%**"),
        ([], "not measured"),
    ],
)
def test_the_worst_figure_decides(figures: list[float], verdict: str) -> None:
    """An aim is reached if every figure keeps it, and else it is said by how much the worst does not."""
    aim = Aim("any", lambda _: {}, 1.0, 0.8)
    assert aim.verdict({str(number): figure for number, figure in enumerate(figures)}) == verdict


def test_a_least_is_missed_from_below() -> None:
    """Where more is better, too little misses the aim."""
    aim = Aim("any", lambda _: {}, 1.0, least=True)
    assert [aim.verdict({"": figure}) for figure in (1.0, 0.5)] == ["reached", "**missed by 100%**"]


def test_the_worst_stands_first() -> None:
    """The worst of several runs is told with the run that saw it, then the best, and how many machines and days."""
    runs = {1: run(40), 2: run(30, day=2), 3: run(50, day=2, cpu="other")}
    (found,) = [row for row in seen(runs) if row[0] == "`run_all`: CPU, x bare asyncio.Protocol"]
    assert found[1:] == ("2.50 (16 at once, run 3)", "1.50 (16 at once, run 2)", "2", "2")


def test_runs_are_stored_as_they_were_measured(tmp_path: Path) -> None:
    """What is read is what was written; a run takes the place of that of its machine and day, and old ones go."""
    runs = [run(40, day=day) for day in range(KEPT + 2, 1, -1)]
    write(tmp_path, stored(run(30, day=KEPT + 2), runs))
    assert read(tmp_path) == [run(30, day=KEPT + 2), *runs[1:KEPT]]


def test_the_page_has_every_aim_and_contender() -> None:
    """Measured or not; and who did not run stands there with the reason."""
    text = page([run(25), run(40, day=2)])
    assert all(f"| {row[0]} | {row[1]} |" in text for row in judged(run(25)))
    assert len(AIMS) > 20
    assert f"| {RUN_ALL} | 37.5 (25.0 to 50.0) | 1.25 (1.25 to 1.25) |" in text
    assert "| absent | it is not installed |" in text
