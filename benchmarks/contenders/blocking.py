"""The floors: blocking sockets that parse nothing but END_REQUEST's header.

Usage: python -m benchmarks.contenders.blocking SETTING kept|tail|cold|download|upload

The request is encoded once, and no response object is made: nobody would call this a client.

- `kept`: all connections are written to, then all are read, so that every worker is busy; again and again.
- `tail`: the same, and each request is followed by a tail probe, whose answer is read as well: what it costs to know
  that the worker is free, which fcgi_async asks and no other contender does.
- `cold`: a connection for each job, which PHP-FPM closes after it.
- `download`: a bare `recv` loop into one buffer, which looks at nothing but the last 16 bytes.
- `upload`: a bare `sendall` loop over records that were encoded before. Neither keeps the body.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from time import perf_counter

from benchmarks.contenders.fastcgi import (
    END_LENGTH,
    GET_VALUES,
    STDIN,
    connect,
    encode_record,
    encode_request,
    ends,
    read_response,
)
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch

RECORD, BUFFER = 65528, 256 * 1024
TAIL_ANSWER = 8


def read_with_tail(sock: socket.socket) -> bytes:
    """Read a response and the answer to the tail probe after it."""
    data = sock.recv(65536)
    while not ends(data[:-TAIL_ANSWER]):
        data += sock.recv(65536)
    return data


def exchange(
    connections: list[socket.socket], request: bytes, setting: Setting, read: Callable[[socket.socket], bytes]
) -> list[float]:
    """Run one job on each connection, and return how long each took."""
    begun, latencies = perf_counter(), []
    for connection in connections:
        connection.sendall(request)
    expected = setting.expected.encode()
    for connection in connections:
        if expected not in read(connection):
            raise RuntimeError("PHP answered something else")
        latencies.append(perf_counter() - begun)
    return latencies


def kept(setting: Setting, tail: bool) -> Callable[[], list[float]]:
    request = encode_request(setting.params) + (GET_VALUES if tail else b"")
    connections = [connect(setting.address) for _ in range(setting.connections)]
    read = read_with_tail if tail else read_response
    return lambda: exchange(connections, request, setting, read)


def cold(setting: Setting) -> Callable[[], list[float]]:
    request = encode_request(setting.params, keep=False)

    def wave() -> list[float]:
        connections = [connect(setting.address) for _ in range(setting.connections)]
        latencies = exchange(connections, request, setting, read_response)
        for connection in connections:
            connection.close()
        return latencies

    return wave


def download(setting: Setting) -> Callable[[], list[float]]:
    sock, request, buffer = connect(setting.address), encode_request(setting.params), bytearray(BUFFER)
    view = memoryview(buffer)

    def receive() -> list[float]:
        begun, received, tail = perf_counter(), 0, b""
        sock.sendall(request)
        while not ends(tail):
            count = sock.recv_into(buffer)
            if not count:
                raise RuntimeError("PHP-FPM closed the connection")
            received += count
            tail = (tail + bytes(view[max(count - END_LENGTH, 0) : count]))[-END_LENGTH:]
        if received < setting.size:
            raise RuntimeError(f"{received} bytes came")
        return [perf_counter() - begun]

    return receive


def upload(setting: Setting) -> Callable[[], list[float]]:
    sock, (whole, rest) = connect(setting.address), divmod(setting.size, RECORD)
    record, first = encode_record(STDIN, bytes(RECORD)), encode_request(setting.params, end=False)
    last = (encode_record(STDIN, bytes(rest)) if rest else b"") + encode_record(STDIN, b"")

    def send() -> list[float]:
        begun = perf_counter()
        sock.sendall(first)
        for _ in range(whole):
            sock.sendall(record)
        sock.sendall(last)
        if f"\r\n\r\n{setting.size}".encode() not in read_response(sock):
            raise RuntimeError("PHP counted something else")
        return [perf_counter() - begun]

    return send


def main(setting: Setting, way: str) -> None:
    ways = {"cold": cold, "download": download, "upload": upload}
    run = ways[way](setting) if way in ways else kept(setting, way == "tail")
    for _ in range(setting.warm_up // setting.connections):
        run()
    waves = max(setting.jobs // setting.connections, 1)
    with Stretch() as stretch:
        for _ in range(waves):
            stretch.latencies += run()
    stretch.report(waves * setting.connections, size=setting.size)


if __name__ == "__main__":
    main(Setting.given(), sys.argv[2])
