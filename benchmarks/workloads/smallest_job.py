"""The smallest job: a script that prints two bytes, with 1, 4, 16 and 64 jobs open at once on 4 workers.

Measured is what a job costs the client: CPU time, user and system, of its process, per job; ratios are to blocking
sockets on the same pool in the same round. Jobs per second and latencies are those that client, PHP and, for some,
nginx reach together on one machine; with more jobs at once than workers the latency is mostly the wait for a worker.
Where the longest is far above p99 and p50 is low, some callers have waited for all the others.

Not measured: what PHP and nginx spend, for which the clients behind nginx do not pay here; networks; large bodies. The
clients that have no queue (sockets, Protocol, Go, hollodotme, wrk) open no more at once than there are workers. wrk's
figures include its start. Of the clients fcgi_async alone asks the worker whether it is free, before and after.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import foreign, ours
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)

THROUGH = ("run_all", "run", "map", "group")


def cases(size: Size) -> Sequence[Case]:
    all_ours = [ours(through, "asyncio") for through in THROUGH]
    elsewhere = size.pick(("run_all", "run"), ("run_all", "run"), ("run_all",))
    all_ours += [ours(through, backend) for backend in ("uvloop", "trio") for through in elsewhere]
    entrants = [*foreign(), *all_ours]
    changes = {"jobs": size.pick(5000, 2000, 20), "warm_up": size.pick(500, 200, 4)}
    levels = size.pick((1, 4, 16, 64), (16,), (16,))
    return [Case(name=f"{n} at once", entrants=entrants, changes=changes | {"at_once": n}) for n in levels]


WORKLOAD = Workload(
    name="smallest-job",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest", "memory", "children_cpu"),
    cases=cases,
)
