"""How long jobs are claimed and wait, beside an application's fan-out: `python -m benchmarks.durable.beside_web`.

Both use the four PHP workers of one dispatcher. The application submits twelve jobs of 10 ms at once, waits for all of
them, and does so again after 30 ms; the worker's jobs, of 10 ms too, are all put before. The worker tells its observers
the time from the answer of a claim to the start of a job. With `ahead=0` a job is claimed only for a PHP worker that is
held; the one that `ahead=1` claims besides waits for the next, and for the application's jobs if they come first.
"""

from __future__ import annotations

import argparse
from contextlib import AbstractContextManager, nullcontext

import anyio
import attrs

from benchmarks.durable.running import LOOK
from benchmarks.durable.surroundings import STORES, WORKERS, database, task, write_scripts
from benchmarks.measuring import percentile
from benchmarks.scenarios import make_parser, row, run
from fcgi_async import Dispatcher, Job, LocalFPM
from fcgi_async.jobs import Jobs, Task, Worker
from fcgi_async.jobs.record import Claimed, Settlement

AHEAD = (0, 1)
# how many of the application's jobs come at once, and seconds until the next come
BURST = 3 * WORKERS
PAUSE = 0.03


@attrs.define
class Waits:
    """Notes how long each job had been claimed when it began."""

    seconds: list[float] = attrs.field(factory=list)
    trace: str | None = None

    def attempt_began(self, claimed: Claimed, waited: float) -> Waits:
        self.seconds.append(waited)
        return self

    def running(self) -> AbstractContextManager[object]:
        return nullcontext()

    def done(self, settlement: Settlement) -> None:
        """Nothing is noted of an end."""


async def fan_out(php: Dispatcher, script: str) -> None:
    """Use all PHP workers, again and again, until cancelled."""
    while True:
        await php.run_all(Job(script) for _ in range(BURST))
        await anyio.sleep(PAUSE)


async def measure(php: Dispatcher, url: str, short: Task, count: int, ahead: int) -> list[float]:
    """Return the seconds from claim to start of each job."""
    waits = Waits()
    async with Jobs(url) as jobs, anyio.create_task_group() as group:
        await jobs.enqueue_many((short, None) for _ in range(count))
        worker = Worker(php, jobs, [short], ahead=ahead)
        worker.observe(waits)
        group.start_soon(fan_out, php, str(short.script))
        group.start_soon(worker.run)
        while worker.statistics().ended.get("done", 0) < count:  # noqa: ASYNC110 - nothing tells of the last
            await anyio.sleep(LOOK)
        worker.stop()
        group.cancel_scope.cancel()
    return waits.seconds


async def main(options: argparse.Namespace) -> None:
    async with LocalFPM(max_children=WORKERS) as fpm, Dispatcher(fpm.address, max_children=WORKERS) as php:
        scripts = write_scripts(fpm)
        row(("database", "ahead", "jobs", "p50 ms", "p99 ms", "max ms"), head=True)
        for kind in options.store:
            with database(kind) as make:
                for ahead in AHEAD:
                    waited = await measure(php, make(), task(scripts, "short"), options.jobs, ahead)
                    figures = (percentile(waited, 0.5), percentile(waited, 0.99), max(waited))
                    row((kind, ahead, len(waited), *(f"{1000 * seconds:.2f}" for seconds in figures)))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--store", nargs="+", choices=STORES, default=STORES)
    parser.add_argument("--jobs", type=int, default=1000)
    run(main, parser.parse_args())
