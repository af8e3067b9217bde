"""How many jobs are put a second: one after the other, by several producers at once, and many in one transaction."""

from __future__ import annotations

from time import perf_counter

import anyio

from fcgi_async.jobs import Jobs, Task

PRODUCERS = 16
BATCH = 5_000


async def measure(url: str, task: Task, count: int) -> dict[str, float]:
    """Return jobs put a second, by the way they are put; each put is on disk when it returns."""
    async with Jobs(url) as jobs:

        async def put(count: int) -> None:
            for _ in range(count):
                await jobs.enqueue(task, {"to": "a@example.org"})

        begun = perf_counter()
        await put(count)
        one = count / (perf_counter() - begun)
        begun = perf_counter()
        async with anyio.create_task_group() as producers:
            for _ in range(PRODUCERS):
                producers.start_soon(put, count // 2)
        several = PRODUCERS * (count // 2) / (perf_counter() - begun)
        begun = perf_counter()
        for _ in range(4):
            await jobs.enqueue_many((task, {"to": "a@example.org"}) for _ in range(BATCH))
        return {
            "one awaited": one,
            f"{PRODUCERS} producers": several,
            f"batches of {BATCH:,}": 4 * BATCH / (perf_counter() - begun),
        }
