"""100,000 of the smallest job through `map` and through `run_all`.

Measured is the same as for the smallest job, over a long run. `run_all` gives its responses at the end, so that its
memory has them all; `map` gives each as it comes, and its memory here has those that the caller keeps.

Not measured: a source that is slow, or a caller that is.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import FLOOR, ours
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    entrants = [FLOOR, ours("run_all", "asyncio"), ours("map", "asyncio"), ours("run_all", "uvloop")]
    entrants += size.pick([ours("run_all", "trio")], [], [])
    jobs = size.pick(100_000, 10_000, 100)
    return [
        Case(name=f"{jobs:,} jobs", entrants=entrants, changes={"at_once": 16, "jobs": jobs}, rounds=size.long_rounds)
    ]


WORKLOAD = Workload(
    name="many-jobs",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest", "memory"),
    cases=cases,
)
