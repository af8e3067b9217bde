"""Callers on asyncio that each await one job after the other: a bare Protocol, aiohttp, processes of PHP.

Usage: python -m benchmarks.contenders.through_asyncio SETTING protocol|aiohttp|php asyncio|uvloop

- `protocol`: an asyncio.Protocol that splits records, one future for each job: no probe, no queue, no deadline, no
  cancelling, no CGI head. What an event loop costs before anybody is a client.
- `aiohttp`: through nginx over its unix socket: one session, kept connections, cookies, decompression and timeouts off.
  More connections than workers would make it slower: nginx would open as many to PHP-FPM, where those without a worker
  starve behind kept ones. nginx's own CPU time is not counted.
- `php`: a process of `php -n` for each job; what the processes take is reported apart from the client's CPU time.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import DEVNULL, PIPE
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import cast

import aiohttp
import uvloop

from benchmarks.contenders.fastcgi import END_REQUEST, HEADER, encode_request
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch

# runs a job on the connection of that number, and returns what came
Exchange = Callable[[int], Awaitable[bytes]]


class Connection(asyncio.Protocol):
    """One request at a time."""

    transport: asyncio.Transport
    response: asyncio.Future[bytes]

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.unread = self.content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance
        self.transport = cast(asyncio.Transport, transport)

    def exchange(self, request: bytes) -> asyncio.Future[bytes]:
        self.response = self.loop.create_future()
        self.transport.write(request)
        return self.response

    def data_received(self, data: bytes) -> None:
        data, at = self.unread + data, 0
        while len(data) - at >= HEADER.size:
            _, kind, _, length, padding = HEADER.unpack_from(data, at)
            begin = at + HEADER.size
            if len(data) < begin + length + padding:
                break
            if kind == END_REQUEST:
                self.response.set_result(self.content)
                self.content = b""
            else:
                self.content += data[begin : begin + length]
            at = begin + length + padding
        self.unread = data[at:]


@asynccontextmanager
async def protocol(setting: Setting) -> AsyncIterator[Exchange]:
    loop, request = asyncio.get_running_loop(), encode_request(setting.params)
    scheme, _, place = setting.address.partition("://")
    host, _, port = place.rpartition(":")
    connections = [
        (
            await loop.create_unix_connection(Connection, place)
            if scheme == "unix"
            else await loop.create_connection(Connection, host, int(port))
        )[1]
        for _ in range(setting.connections)
    ]
    yield lambda number: connections[number].exchange(request)
    for connection in connections:
        connection.transport.close()


@asynccontextmanager
async def through_aiohttp(setting: Setting) -> AsyncIterator[Exchange]:
    connector = aiohttp.UnixConnector(setting.http_socket, limit=setting.connections)
    options = {"cookie_jar": aiohttp.DummyCookieJar(), "timeout": aiohttp.ClientTimeout(), "auto_decompress": False}
    async with aiohttp.ClientSession(connector=connector, **options) as session:  # type: ignore[arg-type]

        async def exchange(number: int) -> bytes:
            async with session.get(f"http://localhost{setting.path}") as response:
                return await response.read()

        yield exchange


@asynccontextmanager
async def processes(setting: Setting) -> AsyncIterator[Exchange]:
    async def exchange(number: int) -> bytes:
        process = await asyncio.create_subprocess_exec("php", "-n", setting.script, stdin=DEVNULL, stdout=PIPE)
        return (await process.communicate())[0]

    yield exchange


WAYS = {"protocol": protocol, "aiohttp": through_aiohttp, "php": processes}


async def main(setting: Setting, way: str) -> None:
    expected = setting.expected.encode()
    # aiohttp has a queue of its own
    callers = setting.at_once if way == "aiohttp" else setting.connections
    async with WAYS[way](setting) as exchange:

        async def run(jobs: int, latencies: list[float]) -> int:
            each = max(jobs // callers, 1)

            async def caller(number: int) -> None:
                for _ in range(each):
                    begun = perf_counter()
                    if not (await exchange(number)).endswith(expected):
                        raise RuntimeError("PHP answered something else")
                    latencies.append(perf_counter() - begun)

            await asyncio.gather(*map(caller, range(callers)))
            return each * callers

        await run(setting.warm_up, [])
        with Stretch() as stretch:
            jobs = await run(setting.jobs, stretch.latencies)
    stretch.report(jobs)


if __name__ == "__main__":
    (uvloop.run if sys.argv[3] == "uvloop" else asyncio.run)(main(Setting.given(), sys.argv[2]))
