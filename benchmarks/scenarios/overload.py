"""What ten thousand jobs at once do on four workers: whether any fails, and the memory that each takes while it waits.

All jobs are in tasks of their own on a dispatcher before a listen queue of 511; reported is how many failed, and how
many were served in a second. The bytes of an entry are those of benchmarks/contenders/ours_queue.py.
"""

from __future__ import annotations

import argparse
from time import perf_counter

import anyio

from benchmarks.contenders.ours_queue import entry_bytes
from benchmarks.scenarios import make_parser, pool, row, run, script
from fcgi_async import Dispatcher, FastCGIError, Job

WORKERS = 4


async def at_once(address: str, path: str, count: int) -> tuple[int, float]:
    """Return how many jobs failed, and how many were served in a second."""
    failed = 0
    async with Dispatcher(address, max_children=WORKERS, max_queued=count) as php:

        async def one() -> None:
            nonlocal failed
            try:
                failed += not (await php.run(Job(path))).ok
            except FastCGIError:
                failed += 1

        start = perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(one)
        return failed, count / (perf_counter() - start)


async def main(options: argparse.Namespace) -> None:
    async with pool({"ok": "echo 'ok';"}, WORKERS) as fpm:
        path = script(fpm, "ok")
        failed, rate = await at_once(fpm.address, path, options.jobs)
        sizes = [await entry_bytes(fpm.address, WORKERS, through, path, options.jobs) for through in ("submit", "run")]
    head = ("jobs at once", "workers", "failed", "jobs/s", "bytes/entry, submit", "bytes/entry, run", "backend")
    row(head, head=True)
    row((options.jobs, WORKERS, failed, f"{rate:.0f}", *(f"{size:.0f}" for size in sizes), options.backend))


if __name__ == "__main__":
    parser = make_parser(__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    run(main, parser.parse_args())
