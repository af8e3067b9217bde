"""fcgi_async where no connection is kept.

Usage: python -m benchmarks.contenders.ours_cold SETTING connection|dispatcher asyncio|uvloop|trio

`connection`: one dispatcher with `KeepAlive(idle=0, max_requests=1)`, one job after the other, so that each opens a
connection, head probe included. `dispatcher`: a dispatcher for each job, as a program that runs one job and ends.
"""

from __future__ import annotations

import sys
from time import perf_counter

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch
from fcgi_async import Dispatcher, Endpoint, Job, KeepAlive, Timeouts


async def main(setting: Setting, what: str) -> None:
    expected = setting.expected.encode()
    endpoint = Endpoint(setting.address, max_children=1, keepalive=KeepAlive(idle=0, max_requests=1))

    async def run(php: Dispatcher) -> None:
        if (await php.run(Job(setting.script))).content != expected:
            raise RuntimeError("PHP answered something else")

    async def run_apart() -> None:
        async with Dispatcher(endpoint, timeouts=Timeouts(total=300)) as php:
            await run(php)

    async with Dispatcher(endpoint, timeouts=Timeouts(total=300)) as shared:
        await run(shared)
        with Stretch() as stretch:
            for _ in range(setting.jobs):
                begun = perf_counter()
                await (run(shared) if what == "connection" else run_apart())
                stretch.latencies.append(perf_counter() - begun)
        opened = shared.statistics().connections_opened
    if what == "connection" and opened <= setting.jobs:
        raise RuntimeError(f"{opened} connections for {setting.jobs} jobs")
    stretch.report(setting.jobs)


if __name__ == "__main__":
    run_on(sys.argv[3], main, Setting.given(), sys.argv[2])
