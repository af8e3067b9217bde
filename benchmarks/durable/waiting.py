"""What a claim costs with very many jobs waiting, beside what it costs in an empty table."""

from __future__ import annotations

from statistics import median
from time import perf_counter

from fcgi_async.jobs import Jobs, Task
from fcgi_async.jobs.record import Lane, Limits, Settlement

BATCH = 20_000
CLAIMS = 300
WORKER = "bench"


async def measure(url: str, task: Task, waiting: int) -> float:
    """Return the median of a claim of one job with so many waiting, by that with only those that are claimed."""
    lanes = [Lane(queue="default", weight=1, tasks=(Limits(task=task.name, on_loss="again", attempts=5),))]
    async with Jobs(url) as jobs:
        await jobs.store.register(WORKER, lanes)

        async def claims() -> float:
            taken = []
            for _ in range(CLAIMS):
                begun = perf_counter()
                claim = await jobs.store.claim(WORKER, lanes, 1, durable=False)
                taken.append(perf_counter() - begun)
                done = [
                    Settlement(
                        number=each.number, id=each.id, attempt=each.attempt, state="done", keep=0.0, durable=False
                    )
                    for each in claim.jobs
                ]
                await jobs.store.settle(WORKER, done)
            return median(taken)

        await jobs.enqueue_many((task, None) for _ in range(CLAIMS))
        few = await claims()
        for _ in range(0, waiting, BATCH):
            await jobs.enqueue_many((task, None) for _ in range(BATCH))
        return await claims() / few
