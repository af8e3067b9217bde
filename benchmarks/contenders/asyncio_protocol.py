"""A bare asyncio.Protocol: one future for each job, one task for each connection, records split and nothing more.

Usage: python -m benchmarks.contenders.asyncio_protocol SETTING [uvloop]

The request is encoded once. No probe, no queue, no deadline, no cancelling, no CGI head: what an event loop costs
before anybody is a client. It opens as many connections as are of use.
"""

from __future__ import annotations

import asyncio
import sys
from time import perf_counter
from typing import cast

import uvloop

from benchmarks.contenders.fastcgi import END_REQUEST, HEADER, encode_request
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch


class Connection(asyncio.Protocol):
    """One request at a time."""

    transport: asyncio.Transport
    response: asyncio.Future[bytes]

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.unread = b""
        self.content = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are none by inheritance
        self.transport = cast(asyncio.Transport, transport)

    def exchange(self, request: bytes) -> asyncio.Future[bytes]:
        self.response = self.loop.create_future()
        self.transport.write(request)
        return self.response

    def data_received(self, data: bytes) -> None:
        data = self.unread + data
        at = 0
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


async def open_connection(address: str) -> Connection:
    loop = asyncio.get_running_loop()
    scheme, _, place = address.partition("://")
    if scheme == "unix":
        return (await loop.create_unix_connection(Connection, place))[1]
    host, _, port = place.rpartition(":")
    return (await loop.create_connection(Connection, host, int(port)))[1]


async def main(setting: Setting) -> None:
    request, expected = encode_request(setting.params), setting.expected.encode()
    connections = [await open_connection(setting.address) for _ in range(setting.connections)]

    async def loop(connection: Connection, times: int, latencies: list[float]) -> None:
        for _ in range(times):
            begun = perf_counter()
            if not (await connection.exchange(request)).endswith(expected):
                raise RuntimeError("PHP answered something else")
            latencies.append(perf_counter() - begun)

    async def run(jobs: int, latencies: list[float]) -> int:
        each = max(jobs // len(connections), 1)
        await asyncio.gather(*[loop(connection, each, latencies) for connection in connections])
        return each * len(connections)

    await run(setting.warm_up, [])
    with Stretch() as stretch:
        jobs = await run(setting.jobs, stretch.latencies)
    for connection in connections:
        connection.transport.close()
    stretch.report(jobs)


if __name__ == "__main__":
    (uvloop.run if "uvloop" in sys.argv[2:] else asyncio.run)(main(Setting.given()))
