"""1000 requests at once to Go's net/http/fcgi, each answered after 50 ms: all on one connection, or on one each.

Measured as in benchmarks/multiplexing.py: the time until a round is answered on connections that are open (50 ms at
best), connections opened, CPU time per job, and by how much the client's and the server's memory peaked.

Not measured: PHP-FPM, which does not multiplex.
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
        python(f"{OURS}{mode} ({backend})", "ours_multiplexed", mode, backend, "{server}", needs=("go",))
        for backend in size.pick(("asyncio", "uvloop", "trio"), ("asyncio",), ("asyncio",))
        for mode in ("single", "shared")
    ]
    requests = size.pick(1000, 1000, 5)
    changes = {"at_once": requests, "jobs": size.pick(5, 2, 1)}
    return [Case(name=f"{requests} at once", entrants=entrants, changes=changes, rounds=size.long_rounds)]


WORKLOAD = Workload(
    name="multiplexed",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "round", "connections", "memory", "server_memory"),
    cases=cases,
)
