"""Queued entries: what a job costs with 1,000, 10,000 and 100,000 of them in the queue, and how much memory each takes.

Measured is the CPU time of everything, from making the jobs to the last answer, per job: all are queued before the
first begins, through `submit()` or in a task of `run()` each. It should not grow with their number. The bytes of an
entry are what Python's allocator gave, the caller's Job aside for `submit()` and everything included for `run()`: see
benchmarks/overload.py.

Not measured: what the responses take, which is the caller's to keep or not.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import Entrant, python
from benchmarks.suite.size import Size

__all__ = ("WORKLOAD",)


def entrants(through: str, backend: str, size: Size) -> list[Entrant]:
    return [
        python(
            f"{entries:,} queued",
            "ours_queue",
            through,
            backend,
            changes={"at_once": entries, "jobs": max(entries, size.pick(20_000, 3000, 20))},
        )
        for entries in size.pick((1000, 10_000, 100_000), (1000, 10_000), (5, 20))
    ]


def cases(size: Size) -> Sequence[Case]:
    backends = size.pick(("asyncio", "trio"), ("asyncio",), ("asyncio",))
    timed = [
        Case(name=f"{through} (asyncio)", entrants=entrants(through, "asyncio", size), rounds=size.long_rounds)
        for through in ("submit", "run")
    ]
    weighed = [
        python(f"{through} ({backend})", "ours_entries", through, backend)
        for backend in backends
        for through in ("submit", "run")
    ]
    return [*timed, Case(name="memory", entrants=weighed, changes={"jobs": size.pick(10_000, 3000, 50)}, rounds=1)]


WORKLOAD = Workload(
    name="queued",
    module=sys.modules[__name__],
    columns=("cpu", "cpu_ratio", "rate", "memory", "entry_bytes"),
    cases=cases,
)
