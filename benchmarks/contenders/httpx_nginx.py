"""httpx through nginx to PHP-FPM: one client, kept connections, no more of them than PHP has workers.

Usage: python -m benchmarks.contenders.httpx_nginx SETTING

On asyncio, over nginx's unix socket; proxies and other settings of the environment are not looked up, timeouts are off.
nginx's own CPU time is not counted.
"""

from __future__ import annotations

import asyncio

import httpx

from benchmarks.contenders.setting import Setting
from benchmarks.contenders.worker_loops import measure


async def main(setting: Setting) -> None:
    limits = httpx.Limits(max_connections=setting.connections, max_keepalive_connections=setting.connections)
    transport = httpx.AsyncHTTPTransport(uds=setting.http_socket, limits=limits)
    expected, url = setting.expected.encode(), f"http://localhost{setting.path}"
    async with httpx.AsyncClient(transport=transport, timeout=None, trust_env=False) as client:

        async def job() -> None:
            response = await client.get(url)
            if response.content != expected:
                raise RuntimeError(f"PHP answered something else: {response.status_code}")

        stretch, jobs = await measure(setting, job)
    stretch.report(jobs)


if __name__ == "__main__":
    asyncio.run(main(Setting.given()))
