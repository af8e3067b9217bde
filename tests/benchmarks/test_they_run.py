"""The benchmarks run, in a small size; what they measure is not looked at."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks"
SMALL = {
    "smallest_job.py": ["--jobs", "40", "--rounds", "1", "--workers", "2"],
    "fan_out_efficiency.py": ["--workers", "2", "--waves", "1", "--rounds", "1"],
    "overload.py": ["--jobs", "50"],
    "multiplexing.py": ["--at-once", "1", "3", "--rounds", "1", "--repeats", "1"],
    "beside_web_traffic.py": ["--jobs", "20", "--rounds", "1"],
    "traffic.py": ["--seconds", "3"],
}


def test_none_is_forgotten() -> None:
    """Every benchmark is run here."""
    assert {path.name for path in FOLDER.glob("*.py")} == SMALL.keys()


@pytest.mark.parametrize("name", SMALL)
def test_it_prints_a_table(name: str) -> None:
    """It ends well, and prints what it measured."""
    command = [sys.executable, str(FOLDER / name), *SMALL[name]]
    result = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip()
