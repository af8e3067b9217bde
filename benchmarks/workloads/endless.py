"""`map` over a source that never ends: whether its memory stays flat.

Measured is the client's resident memory after a third of the jobs and at the end of them.

Not measured: outcomes that the caller keeps.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import OURS, python
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    entrants = [
        python(f"{OURS}map ({backend})", "ours_endless", backend)
        for backend in size.pick(("asyncio", "trio"), ("asyncio",), ("asyncio",))
    ]
    jobs = size.pick(300_000, 15_000, 100)
    return [Case(name=f"{jobs:,} jobs", entrants=entrants, changes={"jobs": jobs}, rounds=1)]


WORKLOAD = Workload(
    name="endless",
    module=sys.modules[__name__],
    columns=("cpu", "rate", "resident_early", "resident_late"),
    cases=cases,
)
