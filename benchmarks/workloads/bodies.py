"""Bodies each way, and many small flushes."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.suite.race import Case, Entrant, Size, Workload, before, ours, python

MIDDLE, LARGE = "1 MiB", "256 MB"
SIZES = {MIDDLE: 1 << 20, LARGE: 256_000_000}
# how many are moved in a run, so that a run of small ones is long enough
TIMES = {MIDDLE: 150, LARGE: 1}


def entrants(direction: str, body: str, loops: Sequence[str]) -> list[Entrant]:
    bare = python("recv loop" if direction == "download" else "sendall loop", "blocking", direction)
    ways = ("bytes", "iterable") if direction == "upload" else ("stream",) if body == LARGE else ("run", "stream")
    found = [ours(way, loop, counted=()) for way in ways for loop in loops]
    return [bare, *found, before(found[0])]


def bodies(size: Size) -> Sequence[Case]:
    loops = size.pick(("asyncio", "uvloop", "trio"), ("asyncio", "uvloop"), ("asyncio",))
    return [
        Case(
            name=f"{direction}, {body}",
            entrants=entrants(direction, body, loops),
            script="send.php" if direction == "download" else "count.php",
            changes={
                "at_once": 1,
                "jobs": max(int(TIMES[body] * size.pick(1, 0.2, 0.02)), 1),
                "warm_up": 2 if body != LARGE else 0,
                "query": str(count) if direction == "download" else "",
                "size": count,
                "expected": "",
            },
            rounds=size.long_rounds if body != MIDDLE else None,
        )
        for body, count in SIZES.items()
        for direction in ("download", "upload")
        if body in size.pick(tuple(SIZES), tuple(SIZES), (MIDDLE,))
    ]


BODIES = Workload(
    name="bodies",
    about="""\
Bodies of 1 MiB and 256 MB each way, one job after the other on one connection.

Measured are megabytes per second (of 1,000,000 bytes), beside a bare `recv` loop and a bare `sendall` loop that keep
nothing; pages that were faulted in for each job, which is what makes some clients slow at 1 MiB in some runs; and by
how much resident memory peaked above what it was before, the body to be sent included there already. A download is
printed by the script in parts of 256 KiB; an upload is read by it through php://input and counted. `run` collects the
response, `stream` gives it in chunks; `bytes` is a body in memory, `iterable` one that is made while it is sent.

Not measured: disks and networks. PHP makes and reads these bodies about as fast as a client takes and gives them, and
spools what it reads: the ratios say what the client adds to that.""",
    columns=("throughput", "throughput_first", "throughput_before", "cpu_ms", "faults", "memory"),
    cases=bodies,
)


def flushes(size: Size) -> Sequence[Case]:
    count = size.pick(2000, 1000, 20)
    found = [ours(way, "asyncio", counted=()) for way in ("run", "stream")]
    changes = {
        "at_once": 1,
        "jobs": size.pick(30, 10, 2),
        "warm_up": 1,
        "query": str(count),
        "size": count * 10,
        "expected": "",
    }
    entrants = [python("recv loop", "blocking", "download"), *found, before(found[0])]
    return [Case(name="ten bytes each", entrants=entrants, script="flush.php", changes=changes)]


FLUSHES = Workload(
    name="flushes",
    about="""\
Scripts that print ten bytes and flush them, thousands of times: a record each.

Measured is the client's CPU time for each of them.

Not measured: scripts that pause in between, so that each record is a wake-up of its own.""",
    columns=("cpu_flush", "first", "before"),
    cases=flushes,
)
