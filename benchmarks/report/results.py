"""The figures as they were measured, stored as JSON: everything in a report comes from there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import attrs

from benchmarks.suite.race import Figures, Results

__all__ = ("RESULTS_NAME", "Measured", "WorkloadResults")

RESULTS_NAME = "benchmarks.json"


@attrs.define
class WorkloadResults:
    """What a workload came to.

    Attributes:
        size: in which it was run.
        cases: by name; the first contender of each is what the others are compared with.
    """

    size: str
    cases: dict[str, Results]


@attrs.define
class Measured:
    """Everything that was measured.

    Attributes:
        machine: what it was measured on and with.
        workloads: by name.
    """

    machine: Mapping[str, str | None]
    workloads: dict[str, WorkloadResults]

    @classmethod
    def read(cls, folder: Path) -> Self:
        """Read what is stored in a folder; nothing is, where there is no file."""
        path = folder / RESULTS_NAME
        if not path.exists():
            return cls({}, {})
        stored: dict[str, Any] = json.loads(path.read_text())
        workloads = {name: WorkloadResults(**found) for name, found in stored["workloads"].items()}
        return cls(stored["machine"], workloads)

    def write(self, folder: Path) -> None:
        """Store it."""
        folder.mkdir(parents=True, exist_ok=True)
        (folder / RESULTS_NAME).write_text(json.dumps(rounded(attrs.asdict(self)), indent=1) + "\n")

    def rounds(self, workload: str, case: str, entrant: str) -> list[Figures]:
        """Return what a contender measured; nothing, where it was not run."""
        found = self.workloads.get(workload)
        figures = found.cases.get(case, {}).get(entrant, []) if found else []
        return [] if isinstance(figures, str) else figures


def rounded(value: Any) -> Any:
    """Return it with floats of six significant digits."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, dict):
        return {name: rounded(one) for name, one in value.items()}
    return [rounded(one) for one in value] if isinstance(value, list) else value
