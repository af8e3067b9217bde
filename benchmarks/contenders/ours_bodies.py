"""Bodies through fcgi_async, one job after the other.

Usage: python -m benchmarks.contenders.ours_bodies SETTING run|stream|bytes|iterable asyncio|uvloop|trio

`run` collects the response, `stream` throws its chunks away as they come; `bytes` sends a body that is in memory before
anything is measured, `iterable` one that is made of the same 256 KiB again and again.
"""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from time import perf_counter

from benchmarks.contenders.on_backend import run_on
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch
from fcgi_async import Dispatcher, Job, Response, Timeouts

PART = bytes(256 * 1024)
HEADERS = {"Content-Type": "application/octet-stream"}


async def parts(size: int) -> AsyncIterator[bytes]:
    """Yield a body."""
    whole, rest = divmod(size, len(PART))
    for _ in range(whole):
        yield PART
    if rest:
        yield PART[:rest]


def exchanges(php: Dispatcher, setting: Setting) -> dict[str, Callable[[], Awaitable[int]]]:
    """Return what runs a job and tells how many bytes its body had."""
    # only where it is wanted: it is as large as what is measured
    body = bytes(setting.size) if "bytes" in sys.argv else b""
    query = str(setting.size)

    def counted(response: Response) -> int:
        return int(response.raise_for_status().content)

    async def run() -> int:
        return len((await php.run(Job(setting.script, query=query))).content)

    async def stream() -> int:
        received = 0
        async with php.stream(Job(setting.script, query=query)) as response:
            async for chunk in response:
                received += len(chunk)
        return received

    async def send_bytes() -> int:
        return counted(await php.run(Job(setting.script, content=body, headers=HEADERS)))

    async def send_iterable() -> int:
        content = parts(setting.size)
        job = Job(setting.script, content=content, content_length=setting.size, headers=HEADERS)
        return counted(await php.run(job))

    return {"run": run, "stream": stream, "bytes": send_bytes, "iterable": send_iterable}


async def main(setting: Setting, way: str) -> None:
    async with Dispatcher(setting.address, max_children=1, timeouts=Timeouts(total=300)) as php:
        exchange = exchanges(php, setting)[way]
        for _ in range(setting.warm_up):
            await exchange()
        with Stretch() as stretch:
            for _ in range(setting.jobs):
                begun = perf_counter()
                if await exchange() != setting.size:
                    raise RuntimeError("the body has another size")
                stretch.latencies.append(perf_counter() - begun)
    stretch.report(setting.jobs, size=setting.size)


if __name__ == "__main__":
    run_on(sys.argv[3], main, Setting.given(), sys.argv[2])
