"""Jobs that are all queued before the first begins, through submit() or in a task of run() each.

Usage: python -m benchmarks.contenders.ours_queue SETTING submit|run asyncio|uvloop|trio

As many entries as jobs are at once; again and again until all jobs have run. Counted is everything from making the jobs
to the last answer. With run() the tasks are the event loop's own.
"""

from __future__ import annotations

import sys

import anyio

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch
from benchmarks.overload import plain_tasks
from fcgi_async import Dispatcher, Endpoint, Job, Timeouts


async def submit(php: Dispatcher, setting: Setting, entries: int) -> None:
    expected = setting.expected.encode()
    php.pause()
    handles = [await php.submit(Job(setting.script)) for _ in range(entries)]
    php.resume()
    await php.join()
    if any(handle.result().content != expected for handle in handles):
        raise RuntimeError("PHP answered something else")


async def run(php: Dispatcher, setting: Setting, entries: int) -> None:
    expected = setting.expected.encode()

    async def caller() -> None:
        if (await php.run(Job(setting.script))).content != expected:
            raise RuntimeError("PHP answered something else")

    php.pause()
    async with plain_tasks() as start:
        for _ in range(entries):
            start(caller)
        while php.statistics().queued < entries:
            await anyio.lowlevel.checkpoint()
        php.resume()


WAYS = {"submit": submit, "run": run}


async def main(setting: Setting, through: str) -> None:
    entries = setting.at_once
    endpoint = Endpoint(setting.address, max_children=setting.workers)
    async with Dispatcher(endpoint, max_queued=entries, timeouts=Timeouts(total=600)) as php:
        await WAYS[through](php, setting, min(setting.warm_up, entries))
        waves = max(setting.jobs // entries, 1)
        with Stretch() as stretch:
            for _ in range(waves):
                await WAYS[through](php, setting, entries)
    stretch.report(waves * entries)


if __name__ == "__main__":
    run_on(sys.argv[3], main, Setting.given(), sys.argv[2])
