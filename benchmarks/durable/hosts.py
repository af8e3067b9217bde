"""Up to how many hosts and jobs a second each database carries: `python -m benchmarks.durable.hosts`.

First what one call costs the database's server in CPU time; then fleets of hosts, each of which has connections of its
own and does all that a worker does, but that its jobs sleep instead of running on PHP-FPM; and beside what the server
takes for them what the model of scale.py says. Last what the model says of fleets that are too large for one machine.
CPU time is told by the kernel, so that other load matters little; the fleets share the machine with the server.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from time import perf_counter

import anyio
import attrs

from benchmarks.durable import unit_costs
from benchmarks.durable.scale import Costs, Fleet, carried, most_hosts, taken
from benchmarks.durable.surroundings import STORES, Database, database
from benchmarks.scenarios import make_parser, row, run
from fcgi_async import Dispatcher
from fcgi_async.jobs import Jobs, Task
from fcgi_async.jobs.change import Change
from fcgi_async.jobs.supply import Supply
from tests.jobs.servers import MariaDB, Postgres, Server

TASK = Task("sleep", "/sleep.php", idempotent=True)
# hosts, PHP workers of each, and seconds that a job takes; and the share of them that has a job
FLEETS = ((1, 8, 0.05), (10, 8, 0.4), (40, 8, 1.6), (90, 8, 3.6))
BUSY = 0.7
CONNECTIONS = 400
SETTLE_DOWN = 1.5
TABLE = ((10, 8, 1.0), (100, 8, 1.0), (1000, 8, 1.0), (10, 8, 0.1), (100, 8, 0.1), (1000, 8, 10.0), (1000, 8, 60.0))


class ManyPostgres(Postgres):
    def _command(self) -> list[str]:
        return [*super()._command(), "-c", f"max_connections={CONNECTIONS}"]


class ManyMariaDB(MariaDB):
    def _command(self) -> list[str]:
        return [*super()._command(), f"--max-connections={CONNECTIONS}"]


@attrs.frozen
class Measured:
    """What a fleet did: jobs a second, and processors that the server took."""

    jobs: float
    processors: float


@contextmanager
def serving(kind: str) -> Iterator[tuple[Database, unit_costs.Read]]:
    """Yield what makes empty databases, and what reads the CPU time that they take."""
    if kind == "sqlite":
        with database(kind) as make:
            # there is no server: it is the whole worker, its Python included
            yield make, unit_costs.cpu_of(lambda: [os.getpid()])
        return
    with ManyPostgres(durable=True) if kind == "postgres" else ManyMariaDB(durable=True) as server:
        yield lambda: server.empty(f"scale_{os.urandom(4).hex()}"), unit_costs.cpu_of(lambda: _family(server))


def _family(server: Server) -> list[int]:
    children = f"/proc/{server.pid}/task/{server.pid}/children"
    with open(children, encoding="ascii") as file:
        return [server.pid, *map(int, file.read().split())]


@asynccontextmanager
async def host(php: Dispatcher, url: str, number: int, workers: int, seconds: float) -> AsyncIterator[list[int]]:
    """Have a host work within the block; what is yielded has how many jobs it has run."""
    count, change = [0], Change()
    async with Jobs(url) as jobs:
        name = f"host-{number}-{os.urandom(4).hex()}"
        supply = Supply(jobs, name, unit_costs.lanes(TASK), (), php, 1, change, lambda: False)
        await supply.announce(workers)

        async def work() -> None:
            while True:
                await change.until(lambda: supply.is_open)
                supply.feed.go()
                claimed = await supply.feed.next()
                if claimed is not None:
                    await anyio.sleep(seconds)
                    supply.settler.add(unit_costs.done(claimed))
                    count[0] += 1

        async with anyio.create_task_group() as group:
            for service in (*supply.services, supply.feed.run):
                group.start_soon(_run, service)
            for _ in range(workers):
                group.start_soon(work)
            yield count
            group.cancel_scope.cancel()
        supply.feed.close()
        await supply.leave()


async def _run(service: Callable[[], Awaitable[None]]) -> None:
    await service()


async def _put(jobs: Jobs, rate: float) -> None:
    """Put jobs one by one, so many a second."""
    due = perf_counter()
    async with anyio.create_task_group() as group:
        while True:
            group.start_soon(jobs.enqueue, TASK, {"to": "a@example.org"})
            due += 1 / rate
            await anyio.sleep(max(due - perf_counter(), 0.0))


async def measure_fleet(make: Database, read: unit_costs.Read, fleet: Fleet, seconds: float) -> Measured:
    """Return what a fleet does while jobs come for a part of its PHP workers."""
    url, counts = make(), []
    async with AsyncExitStack() as stack:
        # only jobs in doubt would have it asked
        php = Dispatcher("unix:///nowhere.sock", max_children=1)
        producer = await stack.enter_async_context(Jobs(url))
        for number in range(fleet.hosts):
            counts.append(await stack.enter_async_context(host(php, url, number, fleet.workers, fleet.seconds)))
        async with anyio.create_task_group() as group:
            group.start_soon(_put, producer, BUSY * fleet.most)
            await anyio.sleep(SETTLE_DOWN + fleet.seconds)
            before, cpu, begun = sum(count[0] for count in counts), read(), perf_counter()
            await anyio.sleep(seconds)
            took = perf_counter() - begun
            found = Measured((sum(count[0] for count in counts) - before) / took, (read() - cpu) / took)
            group.cancel_scope.cancel()
    return found


def tell_units(units: dict[str, unit_costs.Unit]) -> None:
    row(("call", "CPU of the server, us", "answered in, us"), head=True)
    for name, unit in units.items():
        row((name, f"{unit.cpu * 1e6:.0f}", f"{unit.wall * 1e6:.0f}"))
    print()


def tell_limits(costs: Costs, processors: int) -> None:
    if costs.one_writer:
        for seconds in (1.0, 0.1, 0.01):
            fleet = Fleet(hosts=1, workers=64, seconds=seconds)
            print(f"one machine, 64 PHP workers, jobs of {seconds:g} s: {carried(costs, fleet, processors):,.0f}/s")
        return
    row(("hosts", "PHP workers each", "a job takes", "they could run", f"{processors} processors carry"), head=True)
    for hosts, workers, seconds in TABLE:
        fleet = Fleet(hosts=hosts, workers=workers, seconds=seconds)
        could, can = fleet.most, carried(costs, fleet, processors)
        row((hosts, workers, f"{seconds:g} s", f"{could:,.0f}/s", f"{can:,.0f}/s"))
    most = most_hosts(costs, 8, 1.0, processors)
    print(f"\nhosts of 8 PHP workers with jobs of 1 s that {processors} processors carry: {most}\n")


async def main(options: argparse.Namespace) -> None:
    for kind in options.store:
        print(f"\n{kind}\n")
        with serving(kind) as (make, read):
            async with Jobs(make()) as jobs:
                units = await unit_costs.measure(jobs, TASK, read, options.calls)
            if kind == "postgres":
                units["wake"] = await unit_costs.measure_waking(make(), TASK, read, options.calls // 4)
            tell_units(units)
            costs = unit_costs.to_costs(units, one_writer=kind == "sqlite")
            row(("hosts", "a job takes", "jobs/s", "processors", "the model says", "error"), head=True)
            for hosts, workers, seconds in FLEETS[: 1 if kind == "sqlite" else options.fleets]:
                fleet = Fleet(hosts=hosts, workers=workers, seconds=seconds)
                seen = await measure_fleet(make, read, fleet, options.seconds)
                said = taken(costs, fleet, seen.jobs)
                error = f"{said / seen.processors - 1:+.0%}"
                row((hosts, f"{seconds:g} s", f"{seen.jobs:.0f}", f"{seen.processors:.3f}", f"{said:.3f}", error))
            print()
            for processors in options.processors:
                tell_limits(costs, processors)


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--store", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--calls", type=int, default=2000, help="of each kind")
    parser.add_argument("--fleets", type=int, default=len(FLEETS), help="how many of the fleets, smallest first")
    parser.add_argument("--seconds", type=float, default=8.0, help="for which a fleet is watched")
    parser.add_argument("--processors", type=int, nargs="+", default=[2, 8], help="of the server, for the last table")
    run(main, parser.parse_args())
