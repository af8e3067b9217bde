"""The floor: blocking sockets, one sendall and one recv for each job, nothing parsed but END_REQUEST's header.

Usage: python -m benchmarks.contenders.blocking_sockets SETTING [cold]

The request is encoded once. All connections are written to, then all are read, so that every worker is busy. No probe,
no queue, no deadline, no response object: nobody would call this a client. With `cold` each job has a connection of its
own, which PHP-FPM closes behind it.
"""

from __future__ import annotations

import socket
import sys
from time import perf_counter

from benchmarks.contenders.fastcgi import connect, encode_request, ends
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch

__all__ = ("read_response",)


def read_response(sock: socket.socket) -> bytes:
    """Read until END_REQUEST."""
    data = sock.recv(65536)
    while not ends(data):
        more = sock.recv(65536)
        if not more:
            raise RuntimeError("PHP-FPM closed the connection")
        data += more
    return data


def exchange(connections: list[socket.socket], request: bytes, expected: bytes, latencies: list[float]) -> None:
    """Run one job on each connection."""
    begun = perf_counter()
    for connection in connections:
        connection.sendall(request)
    for connection in connections:
        if expected not in read_response(connection):
            raise RuntimeError("PHP answered something else")
        latencies.append(perf_counter() - begun)


def run_kept(setting: Setting) -> None:
    """Measure connections that are kept."""
    request, expected = encode_request(setting.params), setting.expected.encode()
    connections = [connect(setting.address) for _ in range(setting.connections)]
    for _ in range(max(setting.warm_up // len(connections), 1)):
        exchange(connections, request, expected, [])
    waves = max(setting.jobs // len(connections), 1)
    with Stretch() as stretch:
        for _ in range(waves):
            exchange(connections, request, expected, stretch.latencies)
    for connection in connections:
        connection.close()
    stretch.report(waves * len(connections))


def run_cold(setting: Setting) -> None:
    """Measure a connection for each job."""
    request, expected = encode_request(setting.params, keep=False), setting.expected.encode()

    def wave(latencies: list[float]) -> None:
        begun = perf_counter()
        connections = [connect(setting.address) for _ in range(setting.connections)]
        exchange(connections, request, expected, [])
        for connection in connections:
            connection.close()
        latencies.append(perf_counter() - begun)

    wave([])
    waves = max(setting.jobs // setting.connections, 1)
    with Stretch() as stretch:
        for _ in range(waves):
            wave(stretch.latencies)
    stretch.report(waves * setting.connections)


if __name__ == "__main__":
    (run_cold if "cold" in sys.argv[2:] else run_kept)(Setting.given())
