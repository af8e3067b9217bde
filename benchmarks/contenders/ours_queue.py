"""Jobs that are all queued before the first begins.

Usage: python -m benchmarks.contenders.ours_queue SETTING submit|run|submit-bytes|run-bytes asyncio|uvloop|trio

- `submit` and `run`: as many entries as jobs are at once, through submit() or in a task of run() each, again and again
  until all jobs have run; counted is everything from making the jobs to the last answer.
- `submit-bytes`: what Python's allocator gave for an entry, the caller's Job aside; `run-bytes`: for a task in run(),
  everything included: Job, task, coroutine, entry. Tasks are the event loop's own.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import anyio
import sniffio
import trio

from benchmarks.contenders.ours import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch
from fcgi_async import Dispatcher, Job, Timeouts


@asynccontextmanager
async def plain_tasks() -> AsyncIterator[Callable[[Callable[[], Coroutine[Any, Any, None]]], object]]:
    """The event loop's own tasks: what a task group keeps for each is not the dispatcher's."""
    if sniffio.current_async_library() == "trio":
        async with trio.open_nursery() as nursery:
            yield nursery.start_soon
    else:
        async with asyncio.TaskGroup() as tasks:
            yield lambda function: tasks.create_task(function())


def traced() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


async def wave(php: Dispatcher, through: str, script: str, count: int, *, weigh: bool = False) -> float:
    """Queue so many jobs, let them run, and return the bytes of an entry where they are weighed."""
    php.pause()
    jobs = [Job(script) for _ in range(count)] if through == "submit" else []
    if weigh:
        tracemalloc.start()
    before, size = traced() if weigh else 0, 0.0

    async def caller() -> None:
        if not (await php.run(Job(script))).ok:
            raise RuntimeError("PHP answered something else")

    async with plain_tasks() as start:
        if through == "submit":
            handles = [await php.submit(job) for job in jobs]
        else:
            handles = []
            for _ in range(count):
                start(caller)
        while php.statistics().queued < count:
            await anyio.lowlevel.checkpoint()
        if weigh:
            size = (traced() - before) / count
            tracemalloc.stop()
        php.resume()
    await php.join()
    if not all(handle.result().ok for handle in handles):
        raise RuntimeError("PHP answered something else")
    return size


async def entry_bytes(address: str, workers: int, through: str, script: str, count: int) -> float:
    """Return the bytes that a queued entry takes."""
    async with Dispatcher(address, max_children=workers, max_queued=count) as php:
        return await wave(php, through, script, count, weigh=True)


async def queued(setting: Setting, through: str) -> None:
    entries = setting.at_once
    timeouts = Timeouts(total=600)
    async with Dispatcher(setting.address, max_children=setting.workers, max_queued=entries, timeouts=timeouts) as php:
        await wave(php, through, setting.script, min(setting.warm_up, entries))
        waves = max(setting.jobs // entries, 1)
        with Stretch() as stretch:
            for _ in range(waves):
                await wave(php, through, setting.script, entries)
    stretch.report(waves * entries)


async def main(setting: Setting, way: str) -> None:
    through, _, what = way.partition("-")
    if what == "bytes":
        size = await entry_bytes(setting.address, setting.workers, through, setting.script, setting.jobs)
        print(json.dumps({"jobs": setting.jobs, "entry_bytes": size}))
    else:
        await queued(setting, through)


if __name__ == "__main__":
    run_on(sys.argv[3], main, Setting.given(), sys.argv[2])
