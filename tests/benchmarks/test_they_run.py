"""The benchmarks run, in a small size; what they measure is not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report.results import Measured
from benchmarks.suite.entrant import HOLLODOTME
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
SMALL = {
    "fan_out_efficiency": ["--workers", "2", "--waves", "1", "--rounds", "1"],
    "overload": ["--jobs", "50"],
    "multiplexing": ["--at-once", "1", "3", "--rounds", "1", "--repeats", "1"],
    "beside_web_traffic": ["--jobs", "20", "--rounds", "1"],
    "traffic": ["--seconds", "3"],
    "bytecodes": ["--jobs", "20"],
    "readers_that_leave": ["--rounds", "1"],
    "kept": ["--jobs", "10", "--seconds", "0.05", "--requests", "3"],
}
# the one that is run every day
QUICK = "overload"
# what `python -m benchmarks.NAME` does not run by itself
NO_SCRIPTS = {"__init__", "__main__", "conftest", "measuring", "test_regression"}
IMAGES = {"bench-bodies.svg", "bench-cost.svg", "bench-latency.svg", "bench-scale.svg"}


def run(*arguments: str) -> str:
    """Run a module of the benchmarks, and return what it prints."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_none_is_forgotten() -> None:
    """Every benchmark is run here."""
    assert {path.stem for path in (ROOT / "benchmarks").glob("*.py")} - NO_SCRIPTS == SMALL.keys()


@pytest.mark.parametrize(
    "name", [QUICK, *(pytest.param(name, marks=pytest.mark.long) for name in SMALL if name != QUICK)]
)
def test_it_prints_a_table(name: str) -> None:
    """It ends well, and prints what it measured."""
    assert run(f"benchmarks.{name}", *SMALL[name]).strip()


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the whole suite has written what it measured."""
    folder = tmp_path_factory.mktemp("benchmarks")
    run("benchmarks", "--tiny", "--output", str(folder))
    return folder


@pytest.mark.long
def test_every_contender_ends_well(output: Path) -> None:
    """Each contender of each workload measures itself, but for the one that needs a checkout."""
    measured = Measured.read(output)
    assert measured.workloads.keys() == WORKLOADS.keys()
    cases = [case for one in measured.workloads.values() for case in one.cases.values()]
    results = [(name, found) for case in cases for name, found in case.items()]
    assert [name for name, found in results if isinstance(found, str) or len(found) != 1] == [HOLLODOTME.name]


@pytest.mark.long
def test_the_report_is_of_what_was_measured(output: Path) -> None:
    """The page has every workload and contender; charts and page come out the same when they are made again."""
    page = (output / "benchmarks.md").read_text()
    measured = Measured.read(output)
    assert all(
        f"| {name} |" in page for one in measured.workloads.values() for case in one.cases.values() for name in case
    )
    files = {path: path.read_bytes() for path in [output / "benchmarks.md", *(output / "images").iterdir()]}
    assert {path.name for path in files} == IMAGES | {"benchmarks.md"}
    run("benchmarks", "report", "--output", str(output))
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.long
def test_a_missing_program_is_told(output: Path) -> None:
    """A contender that was not run stands in the page with the reason."""
    measured = Measured.read(output)
    measured.workloads["cold"].cases["1 at once"]["somebody"] = "it is not installed"
    measured.write(output / "missing")
    run("benchmarks", "report", "--output", str(output / "missing"))
    assert "| somebody | it is not installed |" in (output / "missing" / "benchmarks.md").read_text()
