"""Many: jobs in the queue, and endpoints."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.suite.race import Case, Entrant, Size, Workload, before, python


def entrants(through: str, size: Size) -> list[Entrant]:
    found = [
        python(
            f"{entries:,} queued",
            "ours_queue",
            through,
            "asyncio",
            changes={"at_once": entries, "jobs": max(entries, size.pick(20_000, 3000, 20))},
        )
        for entries in size.pick((1000, 100_000), (1000, 10_000), (5, 20))
    ]
    return [*found, before(found[0])]


def queued(size: Size) -> Sequence[Case]:
    timed = [
        Case(name=f"{through} (asyncio)", entrants=entrants(through, size), rounds=size.pick(2, 1, 1))
        for through in ("submit", "run")
    ]
    weighed = [
        python(f"{through} ({loop})", "ours_queue", f"{through}-bytes", loop)
        for loop in size.pick(("asyncio", "trio"), ("asyncio",), ("asyncio",))
        for through in ("submit", "run")
    ]
    weighed.append(before(weighed[0]))
    return [*timed, Case(name="memory", entrants=weighed, changes={"jobs": size.pick(5000, 2000, 50)}, rounds=1)]


QUEUED = Workload(
    name="queued",
    about="""\
Queued entries: what a job costs with 1,000 and 100,000 of them in the queue, and how much memory each takes.

Measured is the CPU time of everything, from making the jobs to the last answer, per job: all are queued before the
first begins, through `submit()` or in a task of `run()` each. It should not grow with their number. The bytes of an
entry are what Python's allocator gave, the caller's Job aside for `submit()` and everything included for `run()`.

Not measured: what the responses take, which is the caller's to keep or not.""",
    columns=("cpu", "first", "rate", "memory", "entry_bytes"),
    cases=queued,
)


def endpoints(size: Size) -> Sequence[Case]:
    counts = size.pick((1, 16, 64), (1, 64), (1, 16))
    found = [
        python(f"{count} endpoint{'s' if count > 1 else ''}", "ours", "run_all", "asyncio", endpoints=count)
        for count in counts
    ]
    changes = {"at_once": 64, "jobs": size.pick(6400, 2000, 20), "warm_up": size.pick(640, 640, 5)}
    return [Case(name="64 workers", entrants=found, pool="wide", changes=changes, rounds=size.long_rounds)]


ENDPOINTS = Workload(
    name="endpoints",
    about="""\
One dispatcher before 1, 16 and 64 endpoints, 64 jobs at once on 64 workers in all.

Measured is what choosing among endpoints costs. They are 64, 16 x 4 and 1 x 64 slots of one pool, under several
addresses (links to its socket), so that nothing differs but their number.

Not measured: endpoints that are away, or loaded differently.""",
    columns=("cpu", "first", "rate", "p50", "p99"),
    cases=endpoints,
)
