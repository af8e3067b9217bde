"""What ten thousand jobs at once do on four workers: whether any fails, and the memory that each takes while it waits.

Usage: python -m benchmarks.overload [--jobs N] [--backend NAME]

- `submit`: the memory of a queued entry, the caller's Job aside: the jobs are made first, then submitted to a paused
  dispatcher, and what Python's allocator gave meanwhile is divided by their number.
- `run`: the same with a task of the event loop for each job, everything included: Job, task, coroutine, entry.
- `at once`: all jobs in tasks of their own on a dispatcher that is not paused, behind a listen queue of 511, without
  the allocator's tracing, which is slow: how many failed, and how many were served in a second.

Not measured: what the responses take, which is the caller's to keep or not.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import tempfile
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import anyio
import sniffio
import trio

from fcgi_async import Dispatcher, FastCGIError, Job, LocalFPM

WORKERS = 4


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def memory_of_submit(address: str, script: str, count: int) -> float:
    """Return the bytes of a queued entry."""
    async with Dispatcher(address, max_children=WORKERS, max_queued=count) as php:
        php.pause()
        jobs = [Job(script) for _ in range(count)]
        tracemalloc.start()
        before = traced()
        handles = [await php.submit(job) for job in jobs]
        size = (traced() - before) / count
        tracemalloc.stop()
        php.resume()
        await php.join()
        assert all(handle.result().ok for handle in handles)
    return size


async def memory_of_run(address: str, script: str, count: int) -> float:
    """Return the bytes of a task in run(), with all that belongs to it."""
    async with Dispatcher(address, max_children=WORKERS, max_queued=count) as php:
        php.pause()
        tracemalloc.start()
        before = traced()

        async def run() -> None:
            await php.run(Job(script))

        async with plain_tasks() as start:
            for _ in range(count):
                start(run)
            while php.statistics().queued < count:
                await anyio.lowlevel.checkpoint()
            size = (traced() - before) / count
            tracemalloc.stop()
            php.resume()
    return size


@asynccontextmanager
async def plain_tasks() -> AsyncIterator[Callable[[Callable[[], Coroutine[Any, Any, None]]], object]]:
    """The event loop's own tasks: what a task group keeps for each is not the dispatcher's."""
    if sniffio.current_async_library() == "trio":
        async with trio.open_nursery() as nursery:
            yield nursery.start_soon
    else:
        async with asyncio.TaskGroup() as tasks:
            yield lambda function: tasks.create_task(function())


async def at_once(address: str, script: str, count: int) -> tuple[int, float]:
    """Return how many jobs failed, and how many were served in a second."""
    failed = 0
    async with Dispatcher(address, max_children=WORKERS, max_queued=count) as php:

        async def run() -> None:
            nonlocal failed
            try:
                failed += not (await php.run(Job(script))).ok
            except FastCGIError:
                failed += 1

        start = perf_counter()
        async with anyio.create_task_group() as tasks:
            for _ in range(count):
                tasks.start_soon(run)
        return failed, count / (perf_counter() - start)


async def main(options: argparse.Namespace) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "ok.php")
        path.write_text("<?php echo 'ok';")
        Path(folder).chmod(0o755)
        async with LocalFPM(max_children=WORKERS, backlog=511) as fpm:
            arguments = (fpm.address, str(path), options.jobs)
            failed, rate = await at_once(*arguments)
            submitted = await memory_of_submit(*arguments)
            run = await memory_of_run(*arguments)
    print("| jobs at once | workers | failed | jobs/s | bytes/entry, submit | bytes/entry, run | backend |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    figures = f"{options.jobs} | {WORKERS} | {failed} | {rate:.0f} | {submitted:.0f} | {run:.0f} | {options.backend}"
    print(f"| {figures} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--backend", choices=["asyncio", "uvloop", "trio"], default="asyncio")
    arguments = parser.parse_args()
    uvloop = {"use_uvloop": True} if arguments.backend == "uvloop" else {}
    anyio.run(main, arguments, backend="trio" if arguments.backend == "trio" else "asyncio", backend_options=uvloop)
