"""fcgi_async with everything on: both probes, the queue, a deadline for every job, CGI heads, Response objects.

Usage: python -m benchmarks.contenders.ours SETTING run|run_all|map|group asyncio|uvloop|trio [ADDRESS ...]

- `run`: as many callers as jobs are at once, each awaiting run() in a loop.
- `run_all`: one call with all jobs; it decides itself how many it holds.
- `map`: its outcomes as they come, `limit` being the jobs at once. `group`: the same with submit() and results.

Where callers fan out, each of them makes one such call with its share of the jobs, again and again. Making the Job and
checking the answer are counted, opening the dispatcher and its first connections are not. Latencies are of the call
for `run` and for fan-outs, and else those that the response tells. `run_all` keeps its responses: its memory has them.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator
from time import perf_counter

import anyio

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch
from fcgi_async import Dispatcher, Endpoint, Job, Response, Timeouts

Method = Callable[[Iterable[Job], int], Awaitable[list[Response]]]


def methods(php: Dispatcher) -> dict[str, Method]:
    """Return what runs jobs, so many at once, and gives the responses."""

    async def run_all(jobs: Iterable[Job], limit: int) -> list[Response]:
        return await php.run_all(jobs)

    async def through_map(jobs: Iterable[Job], limit: int) -> list[Response]:
        async with php.map(jobs, limit=limit) as outcomes:
            return [outcome.result() async for outcome in outcomes]

    async def group(jobs: Iterable[Job], limit: int) -> list[Response]:
        async with php.group(limit=limit) as group:
            handles = [await group.submit(job) for job in jobs]
        return [handle.result() for handle in handles]

    return {"run_all": run_all, "map": through_map, "group": group}


class Callers:
    """Runs the jobs of a setting through one of the dispatcher's methods."""

    def __init__(self, php: Dispatcher, setting: Setting, through: str) -> None:
        self.php, self.setting, self.through = php, setting, through
        self.expected = setting.expected.encode()
        self.query = setting.params.get("QUERY_STRING") or None

    def jobs(self, count: int) -> Iterator[Job]:
        return (Job(self.setting.script, query=self.query) for _ in range(count))

    def check(self, response: Response) -> None:
        if response.content != self.expected:
            raise RuntimeError(f"PHP answered {response.content!r}")

    async def run(self, count: int, latencies: list[float]) -> int:
        """Run so many jobs; return how many it were."""
        if self.through == "run":
            return await self.loops(count, 1, self.one, latencies)
        method = methods(self.php)[self.through]
        if self.setting.fan > 1:

            async def fan_out() -> None:
                for response in await method(self.jobs(self.setting.fan), self.setting.fan):
                    self.check(response)

            return await self.loops(count, self.setting.fan, fan_out, latencies)
        for response in await method(self.jobs(count), self.setting.at_once):
            self.check(response)
            latencies.append(response.timing.total)
        return count

    async def one(self) -> None:
        self.check(await self.php.run(Job(self.setting.script, query=self.query)))

    async def loops(self, count: int, each: int, call: Callable[[], Awaitable[None]], latencies: list[float]) -> int:
        left = count

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= each
                begun = perf_counter()
                await call()
                latencies.append(perf_counter() - begun)

        async with anyio.create_task_group() as tasks:
            for _ in range(self.setting.at_once):
                tasks.start_soon(caller)
        return count - left


async def main(setting: Setting, through: str, addresses: list[str]) -> None:
    share = setting.connections // len(addresses) or 1
    endpoints = [Endpoint(address, max_children=share) for address in addresses]
    async with Dispatcher(endpoints, timeouts=Timeouts(total=300)) as php:
        callers = Callers(php, setting, through)
        await callers.run(setting.warm_up, [])
        with Stretch() as stretch:
            jobs = await callers.run(setting.jobs, stretch.latencies)
    stretch.report(jobs)


if __name__ == "__main__":
    given = Setting.given()
    run_on(sys.argv[3], main, given, sys.argv[2], sys.argv[4:] or [given.address])
