"""The benchmarks run, in the smallest size; what they measure is not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.report.results import read
from benchmarks.suite.race import HOLLODOTME
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).parents[2]
SCENARIOS = {
    "fan_out_efficiency": ["--workers", "2", "--waves", "1", "--rounds", "1"],
    "overload": ["--jobs", "50"],
    "gateway": ["--jobs", "50", "--repeats", "1", "--rounds", "1", "--burst", "8", "--seconds", "0.005"],
    "multiplexing": ["--at-once", "3", "--rounds", "1", "--repeats", "1"],
    "beside_web_traffic": ["--jobs", "20", "--rounds", "1"],
    "traffic": ["--seconds", "3"],
    "readers_that_leave": ["--rounds", "1"],
    "kept": ["--jobs", "10", "--seconds", "0.05", "--requests", "3"],
    "map_or_xargs": ["--jobs", "20", "--times", "1"],
    "web_application": ["--requests", "50", "--rounds", "1"],
}


def run(*arguments: str) -> str:
    """Run a module of the benchmarks, and return what it prints."""
    command = [sys.executable, "-m", *arguments]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_none_is_forgotten() -> None:
    """Every scenario is run here."""
    paths = (ROOT / "benchmarks/scenarios").glob("*.py")
    assert {path.stem for path in paths if 'if __name__ == "__main__"' in path.read_text()} == SCENARIOS.keys()


@pytest.mark.long
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_scenario_prints_a_table(name: str) -> None:
    """It ends well, and prints what it measured."""
    assert run(f"benchmarks.scenarios.{name}", *SCENARIOS[name]).startswith("| ")


@pytest.mark.long
def test_a_fleet_is_measured() -> None:
    """Beside what the model says of it."""
    arguments = ["--store", "sqlite", "--calls", "20", "--fleets", "1", "--seconds", "0.5", "--processors", "2"]
    assert "| the model says |" in run("benchmarks.durable.hosts", *arguments)


@pytest.mark.long
def test_jobs_beside_a_web_are_measured() -> None:
    arguments = ["--store", "sqlite", "--jobs", "20"]
    assert "| sqlite | 1 | 20 |" in run("benchmarks.durable.beside_web", *arguments)


@pytest.mark.long
@pytest.mark.parametrize("backend", ["uvloop", "trio"])
def test_instructions_are_counted_on_every_loop(backend: str) -> None:
    """The count of asyncio is the guard's."""
    assert "| together |" in run("benchmarks.bytecodes", "--jobs", "20", "--through", "run", "--backend", backend)


def test_a_state_without_a_gateway_is_counted() -> None:
    """What `--before` names may be older than the gateway."""
    without = "import sys; sys.modules['fcgi_async.gateway'] = None; from benchmarks.bytecodes import setting, count; "
    program = without + "print(count(setting(20), 'run_all', 'asyncio', 'plain').instructions.total() > 0)"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout == "True\n", done.stderr


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_contender_ends_well(tmp_path: Path) -> None:
    """Each measures itself, but for the one that needs a checkout; this state of the project is its own `before`."""
    run("benchmarks", "--tiny", "--output", str(tmp_path), "--before", str(ROOT))
    (measured,) = read(tmp_path)
    assert measured.workloads.keys() == WORKLOADS.keys()
    results = [found for cases in measured.workloads.values() for case in cases.values() for found in case.items()]
    assert [name for name, found in results if isinstance(found, str) or len(found) != 1] == [HOLLODOTME.name]
    page = (tmp_path / "benchmarks.md").read_text()
    assert all(f"| {name} |" in page for name, _ in results)
    run("benchmarks", "report", "--output", str(tmp_path))
    assert (tmp_path / "benchmarks.md").read_text() == page
