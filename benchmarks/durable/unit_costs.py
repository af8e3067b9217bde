"""What one claim, settlement, put, look and renewal costs in CPU time of the database's server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from time import perf_counter

import attrs

from benchmarks.durable.scale import Costs
from fcgi_async.jobs import Jobs, Task
from fcgi_async.jobs.record import Claimed, Lane, Limits, Settlement
from fcgi_async.jobs.sql.mysql_store import MySQLStore

WORKER = "bench"
MANY, LISTENERS = 16, 20
STRETCHES = 10

# returns the CPU time that the database has taken, in seconds
Read = Callable[[], float]


def cpu_of(pids: Callable[[], list[int]]) -> Read:
    """Return what reads the CPU time of processes, of all of their threads, to the nanosecond."""
    ended: dict[Path, int] = {}

    def read() -> float:
        for pid in pids():
            for path in Path(f"/proc/{pid}/task").glob("*/schedstat"):
                try:
                    ended[path] = int(path.read_text().split()[0])
                except (FileNotFoundError, ProcessLookupError):
                    continue
        # what has ended counts on
        return sum(ended.values()) / 1e9

    return read


def lanes(task: Task) -> list[Lane]:
    """Return what a worker says that it takes."""
    return [Lane(queue="default", weight=1, tasks=(Limits(task=task.name, on_loss="again", attempts=5),))]


def done(claimed: Claimed) -> Settlement:
    """Return the settlement of a job that went well."""
    return Settlement(
        number=claimed.number, id=claimed.id, attempt=claimed.attempt, state="done", keep=60.0, durable=False
    )


@attrs.frozen
class Unit:
    """What one call takes: CPU time of the server, and wall time, in seconds."""

    cpu: float
    wall: float


async def repeat(times: int, call: Callable[[], Awaitable[object]], read: Read) -> Unit:
    """Return what a call takes in the best of ten stretches: what else the machine does only adds to it."""
    seen: list[Unit] = []
    for _ in range(STRETCHES):
        count = max(times // STRETCHES, 1)
        cpu, begun = read(), perf_counter()
        for _ in range(count):
            await call()
        seen.append(Unit((read() - cpu) / count, (perf_counter() - begun) / count))
    return min(seen, key=lambda unit: unit.cpu)


async def measure(jobs: Jobs, task: Task, read: Read, count: int) -> dict[str, Unit]:
    """Return what calls take, by name.

    Args:
        jobs: an empty database.
        task: whose jobs are put.
        read: tells the server's CPU time.
        count: how often each is called.
    """
    store, taken = jobs.store, lanes(task)
    await store.register(WORKER, taken)

    async def each(times: int, call: Callable[[], Awaitable[object]]) -> Unit:
        return await repeat(times, call, read)

    found = {"put": await each(count, lambda: jobs.enqueue(task, {"to": "a@example.org"}))}
    hand: list[Claimed] = []

    async def claim(size: int) -> None:
        hand.extend((await store.claim(WORKER, taken, size, durable=False)).jobs)

    async def settle(size: int) -> None:
        await store.settle(WORKER, [done(hand.pop()) for _ in range(size)])

    for size in (1, MANY):
        times = max(count // size if size > 1 else count // 2, STRETCHES) // STRETCHES * STRETCHES
        await jobs.enqueue_many((task, {"to": "a@example.org"}) for _ in range(times * size + 1000))
        found[f"claim {size}"] = await each(times, lambda size=size: claim(size))  # type: ignore[misc]
        found[f"settle {size}"] = await each(times, lambda size=size: settle(size))  # type: ignore[misc]
    while claimed := (await store.claim(WORKER, taken, 100, durable=False)).jobs:
        await store.settle(WORKER, list(map(done, claimed)))
    found["look"] = await each(count, lambda: store.claim(WORKER, taken, 0, durable=False))
    found["renew"] = await each(count, lambda: store.renew(WORKER))

    async def tend() -> None:
        await store.recover()
        await store.sweep()

    found["tend"] = await each(count, tend)
    if isinstance(store, MySQLStore):
        found["poll"] = await each(count, store._look)
    await store.leave(WORKER)
    return found


async def measure_waking(url: str, task: Task, read: Read, count: int) -> Unit:
    """Return what a put takes more for each worker that listens."""
    async with AsyncExitStack() as stack:
        jobs = await stack.enter_async_context(Jobs(url))
        taken: list[float] = []
        for listeners in (0, LISTENERS):
            for _ in range(listeners):
                await (await stack.enter_async_context(Jobs(url))).store.wait("work", -1, 0)
            taken.append((await repeat(count, lambda: jobs.enqueue(task), read)).cpu)
    return Unit(max(taken[1] - taken[0], 0.0) / LISTENERS, 0.0)


def to_costs(units: dict[str, Unit], *, one_writer: bool) -> Costs:
    """Return the model's costs: of those of one job and of many what is a call's, and what is a job's."""
    claim, claimed = _split(units["claim 1"].cpu, units[f"claim {MANY}"].cpu)
    settle, settled = _split(units["settle 1"].cpu, units[f"settle {MANY}"].cpu)
    return Costs(
        claim=claim,
        claimed=claimed,
        settle=settle,
        settled=settled,
        put=units["put"].cpu,
        look=units["look"].cpu,
        tend=units["tend"].cpu,
        renew=units["renew"].cpu,
        wake=units["wake"].cpu if "wake" in units else 0.0,
        poll=units["poll"].cpu if "poll" in units else 0.0,
        one_writer=one_writer,
    )


def _split(one: float, many: float) -> tuple[float, float]:
    each = max((many - one) / (MANY - 1), 0.0)
    return max(one - each, 0.0), each
