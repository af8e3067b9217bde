"""20 callers at once that each fan out to 50 of the smallest job, again and again, on 4 workers.

Measured is the CPU time per job and the latency of a whole fan-out, from its call until its 50 answers are there: what
a handler of a web service that fans out waits, with nineteen others beside it. The latencies of blocking sockets
are of single jobs.

Not measured: the web service; see also benchmarks/fan_out_efficiency.py for how much of a fan-out is not PHP's time.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import AIOHTTP, FLOOR, ours
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    entrants = [FLOOR, *(ours("run_all", backend) for backend in ("asyncio", "uvloop", "trio"))]
    entrants += [ours("group", "asyncio"), AIOHTTP]
    callers, fan = size.pick((20, 50), (20, 50), (3, 5))
    jobs = callers * fan * size.pick(5, 2, 1)
    changes = {"at_once": callers, "fan": fan, "jobs": jobs, "warm_up": callers * fan if size.name == "full" else fan}
    return [
        Case(name=f"{callers} fan-outs of {fan}", entrants=size.pick(entrants, entrants, entrants[:2]), changes=changes)
    ]


WORKLOAD = Workload(
    name="fan-out",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest"),
    cases=cases,
)
