"""Small jobs: the smallest, what more of a job costs more, TCP, cold connections."""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.suite.race import (
    AIOHTTP,
    FLOOR,
    GO,
    HOLLODOTME,
    OURS,
    PROCESSES,
    PROTOCOL,
    PROTOCOL_UVLOOP,
    TAIL,
    Case,
    Size,
    Workload,
    before,
    ours,
    python,
)
from benchmarks.suite.surroundings import SCRIPTS

LOOPS = ("asyncio", "uvloop", "trio")
LEVELS = (1, 4, 16, 64)
RATIOS = ("protocol", "go", "floor", "before", "rate", "rate_go")
COUNTS = ("instructions", "calls", "depth", "files", "user_instructions")


def smallest(size: Size) -> Sequence[Case]:
    run_all = [ours("run_all", loop) for loop in LOOPS]
    run = [ours("run", loop) for loop in size.pick(LOOPS, LOOPS, LOOPS[:1])]
    others = [ours("stream", "asyncio"), ours("submit", "asyncio")]
    earlier = [before(entrant) for entrant in size.pick([*run_all, run[0]], [*run_all, run[0]], run_all[:1])]
    entrants = [FLOOR, TAIL, PROTOCOL, PROTOCOL_UVLOOP, GO, HOLLODOTME, AIOHTTP, *run_all, *run, *others, *earlier]
    changes = {"jobs": size.pick(3000, 1500, 20), "warm_up": size.pick(300, 100, 4)}
    return [
        Case(
            name=f"{level} at once",
            entrants=[*entrants, PROCESSES] if level == 16 else entrants,
            changes=changes | {"at_once": level},
        )
        for level in size.pick(LEVELS, (4, 16), (16,))
    ]


SMALLEST = Workload(
    name="smallest-job",
    about="""\
The smallest job: a script that prints two bytes, with 1, 4, 16 and 64 jobs open at once on 4 workers.

Measured is what a job costs the client: CPU time, user and system, of its process. Jobs per second and latencies are
what client, PHP and, for some, nginx reach together on one machine; with more jobs at once than workers the latency is
mostly the wait for a worker. Bytecodes and calls are Python's, counted beside a scripted peer (`python -m
benchmarks.bytecodes`), `deep` are frames of the package on the stack, `files` those of its files that a job goes
through. User instructions are the processor's, if the kernel counts them.

Not measured: what PHP and nginx spend, for which the clients behind nginx do not pay here; networks. The clients that
have no queue (sockets, Protocol, Go, hollodotme) open no more at once than there are workers. Of the clients fcgi_async
alone asks the worker whether it is free, before and after; `tail probe` is the floor that asks too.""",
    columns=("cpu", *RATIOS, "p50", "p99", "children_cpu", *COUNTS),
    cases=smallest,
)


def extras(size: Size) -> Sequence[Case]:
    message = {"script": str(SCRIPTS / "stderr.php")}
    entrants = [
        ours("run_all", "asyncio", "plain", name=f"{OURS}plain"),
        ours("run_all", "asyncio", "query", name=f"{OURS}query"),
        ours("run_all", "asyncio", "json", name=f"{OURS}JSON body"),
        ours("run_all", "asyncio", "plain", name=f"{OURS}STDERR message", changes=message, counted=()),
    ]
    changes = {"at_once": 16, "jobs": size.pick(4000, 1500, 20), "warm_up": size.pick(400, 100, 4)}
    # differences of a few microseconds want more rounds than ratios
    rounds = size.pick(7, 2, 1)
    return [
        Case(
            name="16 at once",
            entrants=[*entrants, *map(before, size.pick(entrants, entrants, entrants[:1]))],
            changes=changes,
            rounds=rounds,
        )
    ]


EXTRAS = Workload(
    name="extras",
    about="""\
What more of a job costs more: two query parameters, a JSON body of two fields, a message on STDERR.

Measured as the smallest job, through `run_all` on asyncio; what each adds is its difference to `plain` in the same
round.

Not measured: what PHP does about it; larger ones; the log that a message goes to.""",
    columns=("cpu", "added", "before", "rate", *COUNTS),
    cases=extras,
)


def tcp(size: Size) -> Sequence[Case]:
    run_all = [ours("run_all", loop, counted=()) for loop in LOOPS]
    every = [FLOOR, PROTOCOL, GO, *run_all, before(run_all[0])]
    changes = {"at_once": 16, "jobs": size.pick(3000, 400, 20)}
    return [Case(name="16 at once, TCP", entrants=size.pick(every, every, every[::3]), pool="tcp", changes=changes)]


TCP = Workload(
    name="transports",
    about="""\
The smallest job over TCP on loopback, 16 at once on 4 workers.

Measured as the smallest job; the pool is like that on the unix socket but for where it listens.

Not measured: a network between client and PHP.""",
    columns=("cpu", *RATIOS, "p50", "p99", "user_instructions"),
    cases=tcp,
)


def cold(size: Size) -> Sequence[Case]:
    loops = size.pick(LOOPS, ("asyncio",), ("asyncio",))
    each = [ours("cold", loop, name=f"{OURS}a connection each ({loop})") for loop in loops]
    apart = [ours("dispatcher", loop, name=f"{OURS}a dispatcher each ({loop})") for loop in loops]
    entrants = [python("blocking sockets, a connection each", "blocking", "cold"), *each, *apart, before(each[0])]
    changes = {"at_once": 1, "jobs": size.pick(1000, 200, 10), "warm_up": 5}
    return [Case(name="1 at once", entrants=entrants, changes=changes, rounds=size.long_rounds)]


COLD = Workload(
    name="cold",
    about="""\
Cold connections: one job after the other, each on a connection of its own.

Measured is what a program pays that runs a job now and then: blocking sockets that connect, ask, read and close; a
dispatcher that keeps no connection idle; and a dispatcher of its own for each job.

Not measured: starting Python; TCP handshakes over a network.""",
    columns=("cpu", "first", "before", "rate", "p50", "p99"),
    cases=cold,
)
