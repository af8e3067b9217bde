"""A FastCGI client in blocking standard library: a witness whose bytes are not those of the code that it tests."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.wire import frames

HEADER = struct.Struct(">BBHHBx")
END_REQUEST, STDOUT, STDERR = 3, 6, 7


@dataclass(frozen=True)
class RawResponse:
    """What came back before END_REQUEST: the head's lines as they stand, the body, and STDERR."""

    head: str
    body: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


def raw_connect(address: str, *, timeout: float = 10.0) -> socket.socket:
    """Connect a blocking socket to `unix:///path` or `tcp://host:port`."""
    scheme, _, place = address.partition("://")
    if scheme == "unix":
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(timeout)
        try:
            connection.connect(place)
        except BaseException:
            connection.close()
            raise
        return connection
    host, _, port = place.rpartition(":")
    return socket.create_connection((host, int(port)), timeout=timeout)


def raw_request(
    address: str,
    script: Path | str,
    *,
    params: Mapping[str, str] | None = None,
    body: bytes = b"",
    timeout: float = 10.0,
) -> RawResponse:
    """Run one script over a connection of its own; at most 65,535 bytes of parameters and of body.

    Raises:
        ConnectionError: the peer closed before END_REQUEST.
        TimeoutError: a read took longer than `timeout` seconds.
    """
    environment = {
        "SCRIPT_FILENAME": str(script),
        "REQUEST_METHOD": "POST" if body else "GET",
        "CONTENT_LENGTH": str(len(body)),
        **(params or {}),
    }
    with raw_connect(address, timeout=timeout) as connection:
        connection.sendall(raw_bytes(environment, body))
        streams = {STDOUT: bytearray(), STDERR: bytearray()}
        for kind, content in read_records(connection):
            if kind == END_REQUEST:
                break
            streams[kind] += content
        else:
            raise ConnectionError(f"{address} closed the connection before END_REQUEST")
    head, _, answer = bytes(streams[STDOUT]).partition(b"\r\n\r\n")
    return RawResponse(head.decode("latin-1"), answer, bytes(streams[STDERR]))


def raw_bytes(params: Mapping[str, str], body: bytes = b"") -> bytes:
    """A whole request, of which the connection is not kept."""
    pairs = b"".join(frames.pair(name.encode(), value.encode()) for name, value in params.items())
    stdin = frames.stdin(1, body) if body else b""
    return b"".join((frames.begin(1, flags=0), frames.params(1, pairs), frames.params(1), stdin, frames.stdin(1)))


def read_records(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    with connection.makefile("rb") as stream:
        while len(header := stream.read(HEADER.size)) == HEADER.size:
            _, kind, _, length, padding = HEADER.unpack(header)
            content = stream.read(length + padding)
            yield kind, content[:length]
