"""The floor of bodies: a bare `recv` loop, and a bare `sendall` loop, on one blocking connection.

Usage: python -m benchmarks.contenders.blocking_bodies SETTING download|upload

`download` receives into one buffer and looks at nothing but the last 16 bytes, which END_REQUEST's header tells.
`upload` sends records that were encoded before: those of a body of up to 1 MiB in one call, else the same record again
and again. Neither keeps the body.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from time import perf_counter

from benchmarks.contenders.blocking_sockets import read_response
from benchmarks.contenders.fastcgi import END_LENGTH, STDIN, connect, encode_record, encode_request, ends
from benchmarks.contenders.setting import Setting
from benchmarks.measuring import Stretch

RECORD = 65528
BUFFER = 256 * 1024
ONE_CALL = 1024 * 1024


def download(sock: socket.socket, setting: Setting, request: bytes, buffer: bytearray) -> None:
    """Ask for a body and throw it away."""
    sock.sendall(request)
    view, received, tail = memoryview(buffer), 0, b""
    while not ends(tail):
        count = sock.recv_into(buffer)
        if not count:
            raise RuntimeError("PHP-FPM closed the connection")
        received += count
        tail = (tail + bytes(view[max(count - END_LENGTH, 0) : count]))[-END_LENGTH:]
    if received < setting.size:
        raise RuntimeError(f"{received} bytes came")


def upload_parts(setting: Setting) -> list[tuple[bytes, int]]:
    """Return what is sent, and how many times."""
    whole, rest = divmod(setting.size, RECORD)
    record = encode_record(STDIN, bytes(RECORD))
    first = encode_request(setting.params, end=False)
    last = (encode_record(STDIN, bytes(rest)) if rest else b"") + encode_record(STDIN, b"")
    if setting.size <= ONE_CALL:
        return [(first + record * whole + last, 1)]
    return [(first, 1), (record, whole), (last, 1)]


def upload(sock: socket.socket, setting: Setting, parts: list[tuple[bytes, int]]) -> None:
    """Send a body; the script says how many bytes came."""
    for part, times in parts:
        for _ in range(times):
            sock.sendall(part)
    if f"\r\n\r\n{setting.size}".encode() not in read_response(sock):
        raise RuntimeError("PHP counted something else")


def measure(setting: Setting, direction: str) -> None:
    """Run the jobs one after the other."""
    sock = connect(setting.address)
    request, parts, buffer = encode_request(setting.params), upload_parts(setting), bytearray(BUFFER)

    def run(times: int) -> Iterator[float]:
        for _ in range(times):
            begun = perf_counter()
            if direction == "download":
                download(sock, setting, request, buffer)
            else:
                upload(sock, setting, parts)
            yield perf_counter() - begun

    list(run(setting.warm_up))
    with Stretch() as stretch:
        stretch.latencies.extend(run(setting.jobs))
    sock.close()
    stretch.report(setting.jobs, size=setting.size)


if __name__ == "__main__":
    measure(Setting.given(), sys.argv[2])
