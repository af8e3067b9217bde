"""One dispatcher before 1, 16 and 64 endpoints, 64 jobs at once on 64 workers in all.

Measured is what choosing among endpoints costs. They are 64, 16 x 4 and 1 x 64 slots of one pool, under several
addresses (links to its socket), so that nothing differs but their number.

Not measured: endpoints that are away, or loaded differently.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import python
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    entrants = [
        python(f"{count} endpoint{'s' if count > 1 else ''}", "ours", "run_all", "asyncio", f"{{endpoints:{count}}}")
        for count in size.pick((1, 16, 64), (1, 16, 64), (1, 16))
    ]
    changes = {"at_once": 64, "jobs": size.pick(6400, 2000, 20), "warm_up": size.pick(640, 640, 5)}
    return [Case(name="64 workers", entrants=entrants, pool="wide", changes=changes)]


WORKLOAD = Workload(
    name="endpoints",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest"),
    cases=cases,
)
