"""Callers that each await one job after the other, so that as many are open at once as there are callers."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter

from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch

__all__ = ("measure",)


async def measure(setting: Setting, job: Callable[[], Awaitable[object]]) -> tuple[Stretch, int]:
    """Warm up and run the jobs, asyncio only; return what was measured, and the number of jobs."""
    left = 0

    async def caller(latencies: list[float]) -> None:
        nonlocal left
        while left > 0:
            left -= setting.fan
            begun = perf_counter()
            if setting.fan == 1:
                await job()
            else:
                await asyncio.gather(*[job() for _ in range(setting.fan)])
            latencies.append(perf_counter() - begun)

    async def run(jobs: int, latencies: list[float]) -> None:
        nonlocal left
        left = jobs
        await asyncio.gather(*[caller(latencies) for _ in range(setting.at_once)])

    await run(setting.warm_up, [])
    with Stretch() as stretch:
        await run(setting.jobs, stretch.latencies)
    return stretch, setting.jobs - left
