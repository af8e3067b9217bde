"""The smallest job over a unix socket and over TCP on loopback, 16 at once on 4 workers.

Measured is the same as for the smallest job; the two pools are alike but for where they listen.

Not measured: a network between client and PHP.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import FLOOR, GO, PROTOCOL, ours, python
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    every = [FLOOR, PROTOCOL, GO, *(ours("run_all", backend) for backend in ("asyncio", "uvloop", "trio"))]
    entrants = size.pick(every, every, every[::3])
    behind_nginx = size.pick({"unix": (), "tcp": ("tcp",)}, {}, {})
    changes = {"at_once": 16, "jobs": size.pick(2500, 400, 20)}
    return [
        Case(
            name=pool,
            entrants=[
                *entrants,
                *(
                    [python("aiohttp, nginx", "aiohttp_nginx", *behind_nginx[pool], needs=("nginx",))]
                    if pool in behind_nginx
                    else []
                ),
            ],
            pool=pool,
            changes=changes,
        )
        for pool in ("unix", "tcp")
    ]


WORKLOAD = Workload(
    name="transports",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest"),
    cases=cases,
)
