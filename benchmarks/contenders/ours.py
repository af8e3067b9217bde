"""fcgi_async with everything on: both probes, the queue, a deadline for every job, CGI heads, Response objects.

Usage: python -m benchmarks.contenders.ours SETTING WAY asyncio|uvloop|trio [plain|query|json]

- `run`: as many callers as jobs are at once, each awaiting run() in a loop. `stream`: the same with stream().
- `run_all`: one call with all jobs; it decides itself how many it holds, and keeps the responses.
- `submit`: all jobs by submit(), one after the other, then join().
- `bytes` and `iterable`: run() with a body that is in memory, or made of the same 256 KiB while it is sent.
- `cold`: run() on a connection of its own each. `dispatcher`: in a dispatcher of its own each.

`plain`, `query` and `json` say what a job has. Making the Job and checking the answer are counted, opening the
dispatcher and its first connections are not. Latencies are of the call for worker loops, else what the response tells.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter
from typing import TypeVarTuple

import anyio

from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch
from fcgi_async import Dispatcher, Endpoint, Job, KeepAlive, Timeouts

Arguments = TypeVarTuple("Arguments")
PART = bytes(256 * 1024)
BINARY = {"Content-Type": "application/octet-stream"}
FIELDS = {"n": 12, "name": "value"}


def run_on(name: str, main: Callable[[*Arguments], Awaitable[None]], *arguments: *Arguments) -> None:
    """Run a coroutine function on "asyncio", "uvloop" or "trio"."""
    if name == "trio":
        anyio.run(main, *arguments, backend="trio")
    else:
        anyio.run(main, *arguments, backend_options={"use_uvloop": name == "uvloop"})


def dispatcher(setting: Setting, *, kept: bool = True) -> Dispatcher:
    """Return a dispatcher for a setting; one whose connections are not kept has one for each job."""
    # what a message costs in a log is up to its handlers
    logging.disable(logging.WARNING)
    addresses = setting.endpoints or [setting.address]
    keepalive = KeepAlive() if kept else KeepAlive(idle=0, max_requests=1)
    share = setting.connections // len(addresses) or 1
    endpoints = [Endpoint(address, max_children=share, keepalive=keepalive) for address in addresses]
    return Dispatcher(endpoints, timeouts=Timeouts(total=300))


async def parts(size: int) -> AsyncIterator[bytes]:
    """Yield a body."""
    for at in range(0, size, len(PART)):
        yield PART[: size - at]


class Runner:
    """Runs the jobs of a setting in one of the ways; each method runs so many and returns their latencies."""

    def __init__(self, php: Dispatcher, setting: Setting, kind: str = "plain", *, body: bool = False) -> None:
        self.php, self.setting, self.kind = php, setting, kind
        self.expected = setting.expected.encode()
        self.body = bytes(setting.size) if body else b""

    def job(self) -> Job:
        setting = self.setting
        if self.kind == "query":
            return Job(setting.script, query=FIELDS)
        if self.kind == "json":
            return Job(setting.script, json=FIELDS)
        return Job(setting.script, query=setting.query or None)

    def check(self, content: bytes) -> None:
        """Compare an answer with what is expected, its size alone where that is all there is to it."""
        if len(content) != self.setting.size if self.expected == b"" else content != self.expected:
            raise RuntimeError(f"PHP answered {content[:100]!r}")

    async def run_all(self, count: int) -> list[float]:
        responses = await self.php.run_all(self.job() for _ in range(count))
        for response in responses:
            self.check(response.content)
        return [response.timing.total for response in responses]

    async def submit(self, count: int) -> list[float]:
        handles = [await self.php.submit(self.job()) for _ in range(count)]
        await self.php.join()
        for handle in handles:
            self.check(handle.result().content)
        return [handle.result().timing.total for handle in handles]

    async def run(self, count: int) -> list[float]:
        async def one() -> None:
            self.check((await self.php.run(self.job())).content)

        return await self._loops(count, one)

    async def stream(self, count: int) -> list[float]:
        async def one() -> None:
            received = 0
            async with self.php.stream(self.job()) as response:
                async for chunk in response:
                    received += len(chunk)
            if received != (self.setting.size or len(self.expected)):
                raise RuntimeError(f"{received} bytes came")

        return await self._loops(count, one)

    async def bytes(self, count: int) -> list[float]:
        return await self._loops(count, lambda: self._send(Job(self.setting.script, content=self.body, headers=BINARY)))

    async def iterable(self, count: int) -> list[float]:
        script, size = self.setting.script, self.setting.size

        def send() -> Awaitable[None]:
            return self._send(Job(script, content=parts(size), content_length=size, headers=BINARY))

        return await self._loops(count, send)

    async def _send(self, job: Job) -> None:
        if int((await self.php.run(job)).raise_for_status().content) != self.setting.size:
            raise RuntimeError("PHP counted something else")

    async def cold(self, count: int) -> list[float]:
        before = self.php.statistics().connections_opened
        latencies = await self.run(count)
        if self.php.statistics().connections_opened - before < count:
            raise RuntimeError("a connection was used again")
        return latencies

    async def dispatcher(self, count: int) -> list[float]:
        async def one() -> None:
            async with dispatcher(self.setting, kept=False) as php:
                self.check((await php.run(self.job())).content)

        return await self._loops(count, one)

    async def _loops(self, count: int, call: Callable[[], Awaitable[None]]) -> list[float]:
        left, latencies = iter(range(count)), list[float]()

        async def caller() -> None:
            for _ in left:
                begun = perf_counter()
                await call()
                latencies.append(perf_counter() - begun)

        async with anyio.create_task_group() as tasks:
            for _ in range(self.setting.at_once):
                tasks.start_soon(caller)
        return latencies


async def main(setting: Setting, way: str, kind: str) -> None:
    async with dispatcher(setting, kept=way not in ("cold", "dispatcher")) as php:
        # the body is made where it is sent alone: it is as large as what is measured
        runner = Runner(php, setting, kind, body=way == "bytes")
        run: Callable[[int], Awaitable[list[float]]] = getattr(runner, way)
        await run(setting.warm_up)
        with Stretch() as stretch:
            stretch.latencies = await run(setting.jobs)
    stretch.report(setting.jobs, size=setting.size)


if __name__ == "__main__":
    run_on(sys.argv[3], main, Setting.given(), sys.argv[2], sys.argv[4] if sys.argv[4:] else "plain")
