"""How many jobs run a second, how soon one starts, and what a worker's memory takes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import perf_counter

import anyio

from benchmarks.durable.surroundings import WORKERS
from benchmarks.measuring import Memory
from fcgi_async import Dispatcher, Job
from fcgi_async.jobs import Jobs, Task, Worker

# of the script that is not empty
JOB_SECONDS = 0.01
# seconds between looks at whether all are done, and between jobs whose start is waited for
LOOK = 0.002
PAUSE = 0.005


@asynccontextmanager
async def working(php: Dispatcher, jobs: Jobs, task: Task, ahead: int) -> AsyncIterator[Worker]:
    """Run a worker within the block."""
    worker = Worker(php, jobs, [task], ahead=ahead)
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        yield worker
        worker.stop()


async def in_memory(php: Dispatcher, task: Task, count: int) -> tuple[float, int]:
    """Return how many jobs run a second without any database, and by how many KiB memory grows."""
    memory, begun = Memory(), perf_counter()
    await php.run_all(Job(task.script) for _ in range(count))
    return count / (perf_counter() - begun), memory.growth()


async def durable(php: Dispatcher, url: str, task: Task, count: int, ahead: int) -> tuple[float, int]:
    """Return how many jobs that wait in a database run a second, and by how many KiB memory grows meanwhile."""
    async with Jobs(url) as jobs:
        await jobs.enqueue_many((task, None) for _ in range(count))
        memory, begun = Memory(), perf_counter()
        async with working(php, jobs, task, ahead) as worker:
            while worker.statistics().ended.get("done", 0) < count:  # noqa: ASYNC110 - nothing tells of the last
                await anyio.sleep(LOOK)
            seconds = perf_counter() - begun
        return count / seconds, memory.growth()


async def beside_ideal(php: Dispatcher, url: str, task: Task, count: int) -> float:
    """Return the time that jobs of 10 ms take, `ahead=1`, as a multiple of what they sleep on all workers."""
    rate, _ = await durable(php, url, task, count, ahead=1)
    return WORKERS / JOB_SECONDS / rate


async def to_start(php: Dispatcher, url: str, task: Task, count: int) -> list[float]:
    """Return the seconds from each put's return to the script's start, for an idle worker."""
    waited = []
    async with Jobs(url) as jobs, working(php, jobs, task, ahead=1):
        for _ in range(count):
            await anyio.sleep(PAUSE)
            handle = await jobs.enqueue(task)
            stored = time.time()
            result = await handle.result(timeout=30)
            waited.append(max(float(result.text) - stored, 0.0))
    return waited
