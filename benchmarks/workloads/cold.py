"""Cold connections: one job after the other, each on a connection of its own.

Measured is what a program pays that runs a job now and then: blocking sockets that connect, ask, read and close; a
dispatcher that keeps no connection idle; and a dispatcher of its own for each job.

Not measured: starting Python; TCP handshakes over a network.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import OURS, python
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def cases(size: Size) -> Sequence[Case]:
    entrants = [python("blocking sockets, a connection each", "blocking_sockets", "cold")]
    entrants += [
        python(f"{OURS}a {what} each ({backend})", "ours_cold", what, backend)
        for backend in size.pick(("asyncio", "uvloop", "trio"), ("asyncio", "trio"), ("asyncio",))
        for what in ("connection", "dispatcher")
    ]
    return [Case(name="1 at once", entrants=entrants, changes={"at_once": 1, "jobs": size.pick(1500, 300, 10)})]


WORKLOAD = Workload(
    name="cold",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "p50", "p99", "longest"),
    cases=cases,
)
