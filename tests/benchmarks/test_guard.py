"""A job takes no more bytecode instructions and calls than it did: `make bench-baseline` stores how many those are.

Counts and not times: they are the same on a machine that is busy (benchmarks/scripted.py says why), so that five per
cent more is a finding.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from benchmarks.bytecodes import BASELINE, GUARDED, minor, worse

STORED = {"3.11": {"run": {"instructions": 1000.0, "calls": 50.0}}}


def test_a_job_costs_no_more_than_it_did() -> None:
    """No kind of job takes over 5 % more than is stored for this Python."""
    # in a process of its own: pytest takes the log, and a debugger or a coverage tool the trace function
    command = [sys.executable, "-m", "benchmarks.bytecodes", "--guard"]
    done = subprocess.run(command, cwd=BASELINE.parents[1], capture_output=True, text=True, timeout=100, check=True)
    found = json.loads(done.stdout)
    assert found.keys() == GUARDED.keys()
    assert worse(found, json.loads(BASELINE.read_text()), minor()) == []


@pytest.mark.parametrize(
    ("instructions", "calls", "version", "findings"),
    [
        (1050.0, 50.0, "3.11", 0),
        (1051.0, 50.0, "3.11", 1),
        (1051.0, 53.0, "3.11", 2),
        (1250.0, 62.0, "3.99", 0),
        (1251.0, 62.0, "3.99", 1),
    ],
)
def test_what_is_worse_is_found(instructions: float, calls: float, version: str, findings: int) -> None:
    """5 % more is let pass, 25 % where no count of this Python is stored; more than that is not."""
    assert len(worse({"run": {"instructions": instructions, "calls": calls}}, STORED, version)) == findings


def test_what_has_no_baseline_is_found() -> None:
    """A kind of job that was never stored is not let pass."""
    assert worse({"new": {"instructions": 1.0}}, STORED, "3.11") == ["new: 1 instructions, and it was None"]
