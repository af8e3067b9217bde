"""Bodies of 1 KB, 64 KB, 1 MB and 256 MB each way, one job after the other on one connection.

Measured are megabytes per second (of 1,000,000 bytes), beside a bare `recv` loop and a bare `sendall` loop that keep
nothing, and by how much the client's resident memory peaked above what it was before, the body to be sent included
there already. A download is printed by the script in parts of 256 KiB; an upload is read by it through php://input and
counted. `run` collects the response, `stream` gives it in chunks; `bytes` is a body in memory, `iterable` one that is
made while it is sent.

Not measured: disks and networks. PHP makes and reads these bodies about as fast as a client takes and gives them, and
spools what it reads: the ratios say what the client adds to that.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.suite.case import Case, Workload
from benchmarks.suite.entrant import OURS, Entrant, python
from benchmarks.suite.size import Size

__all__ = ("LARGE", "WORKLOAD")

SIZES = {"1 KB": 1000, "64 KB": 64_000, "1 MB": 1_000_000, "256 MB": 256_000_000}
LARGE = "256 MB"
# how many are moved in a run, so that a run of small ones is long enough
TIMES = {"1 KB": 2000, "64 KB": 1000, "1 MB": 150, "256 MB": 1}


def through(way: str, backends: Sequence[str]) -> list[Entrant]:
    return [python(f"{OURS}{way} ({backend})", "ours_bodies", way, backend) for backend in backends]


def entrants(direction: str, body: str, backends: Sequence[str]) -> list[Entrant]:
    bare = python("recv loop" if direction == "download" else "sendall loop", "blocking_bodies", direction)
    if direction == "upload":
        return [bare, *through("bytes", backends), *through("iterable", backends)]
    if body == LARGE:
        return [bare, *through("stream", backends)]
    return [bare, *through("run", backends), *through("stream", backends[:1])]


def cases(size: Size) -> Sequence[Case]:
    backends = size.pick(("asyncio", "uvloop", "trio"), ("asyncio", "uvloop"), ("asyncio",))
    return [
        Case(
            name=f"{direction}, {body}",
            entrants=entrants(direction, body, backends),
            script="send.php" if direction == "download" else "count.php",
            query=str(count) if direction == "download" else "",
            changes={
                "at_once": 1,
                "jobs": max(int(TIMES[body] * size.pick(1, 0.2, 0.02)), 1),
                "warm_up": size.pick(2, 2, 1) if body != LARGE else 0,
                "size": count,
            },
            rounds=size.long_rounds if body == LARGE else None,
        )
        for body, count in SIZES.items()
        for direction in ("download", "upload")
        if body in size.pick(tuple(SIZES), ("64 KB", "1 MB", LARGE), ("1 MB",))
    ]


WORKLOAD = Workload(
    name="bodies",
    module=sys.modules[__name__],
    columns=("throughput", "throughput_ratio", "cpu_ms", "memory"),
    cases=cases,
)
