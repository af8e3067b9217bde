"""Jobs that take 1, 10 and 50 ms without needing the processor, 16 at once on 4 workers.

Measured is the same as for the smallest job; here the workers are what is scarce, and a client should neither leave one
idle nor spend more because it waits longer. 4 workers can do 4000, 400 and 80 such jobs a second at most, less what
usleep() oversleeps.

Not measured: scripts that compute, which client and PHP would fight for the processor with.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import AIOHTTP, FLOOR, GO, ours
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    every = (FLOOR, GO, *(ours("run", backend) for backend in ("asyncio", "uvloop", "trio")), AIOHTTP)
    entrants = size.pick(every, every, every[::2])
    seconds = size.pick(1.5, 0.4, 0.02)
    return [
        Case(
            name=f"{milliseconds} ms",
            entrants=entrants,
            script="sleep.php",
            query=str(milliseconds * 1000),
            changes={"at_once": 16, "jobs": max(int(seconds * 4000 / milliseconds), 16), "warm_up": 8},
            rounds=size.long_rounds,
        )
        for milliseconds in size.pick((1, 10, 50), (1, 10), (1,))
    ]


WORKLOAD = Workload(
    name="waiting-jobs",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest"),
    cases=cases,
)
