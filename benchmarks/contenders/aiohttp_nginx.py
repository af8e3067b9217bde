"""aiohttp through nginx to PHP-FPM: one session, kept connections, no more of them than PHP has workers.

Usage: python -m benchmarks.contenders.aiohttp_nginx SETTING [uvloop] [tcp]

More connections than workers would make it slower and not faster: nginx would open as many to PHP-FPM, where those
without a worker starve behind kept ones. Cookies, decompression and timeouts are off. nginx's own CPU time is not
counted: the client's alone is.
"""

from __future__ import annotations

import asyncio
import sys

import aiohttp
import uvloop

from benchmarks.contenders.setting import Setting
from benchmarks.contenders.worker_loops import measure


async def main(setting: Setting, tcp: bool) -> None:
    limit, expected = setting.connections, setting.expected.encode()
    connector: aiohttp.BaseConnector
    connector = aiohttp.TCPConnector(limit=limit) if tcp else aiohttp.UnixConnector(setting.http_socket, limit=limit)
    url = f"http://127.0.0.1:{setting.http_port}{setting.path}"
    options = {"cookie_jar": aiohttp.DummyCookieJar(), "timeout": aiohttp.ClientTimeout(), "auto_decompress": False}
    async with aiohttp.ClientSession(connector=connector, **options) as session:  # type: ignore[arg-type]

        async def job() -> None:
            async with session.get(url) as response:
                if await response.read() != expected:
                    raise RuntimeError(f"PHP answered something else: {response.status}")

        stretch, jobs = await measure(setting, job)
    stretch.report(jobs)


if __name__ == "__main__":
    runner = uvloop.run if "uvloop" in sys.argv[2:] else asyncio.run
    runner(main(Setting.given(), "tcp" in sys.argv[2:]))
