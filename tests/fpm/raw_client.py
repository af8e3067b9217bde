"""A FastCGI client in blocking standard library: a witness that shares no code with what it helps to test."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

HEADER = struct.Struct(">BBHHBx")
BEGIN_REQUEST, END_REQUEST, PARAMS, STDIN, STDOUT, STDERR = 1, 3, 4, 5, 6, 7
RESPONDER = 1
REQUEST_ID = 1


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
        connection.sendall(
            record(BEGIN_REQUEST, struct.pack(">HB5x", RESPONDER, 0))
            + record(PARAMS, b"".join(pair(name, value) for name, value in environment.items()))
            + record(PARAMS, b"")
            + (record(STDIN, body) if body else b"")
            + record(STDIN, b"")
        )
        streams = {STDOUT: bytearray(), STDERR: bytearray()}
        for kind, content in read_records(connection):
            if kind == END_REQUEST:
                break
            streams[kind] += content
        else:
            raise ConnectionError(f"{address} closed the connection before END_REQUEST")
    head, _, answer = bytes(streams[STDOUT]).partition(b"\r\n\r\n")
    return RawResponse(head.decode("latin-1"), answer, bytes(streams[STDERR]))


def record(kind: int, content: bytes) -> bytes:
    return HEADER.pack(1, kind, REQUEST_ID, len(content), 0) + content


def pair(name: str, value: str) -> bytes:
    encoded = name.encode(), value.encode()
    return b"".join(struct.pack(">I", len(text) | 0x80000000) for text in encoded) + b"".join(encoded)


def read_records(connection: socket.socket) -> Iterator[tuple[int, bytes]]:
    with connection.makefile("rb") as stream:
        while len(header := stream.read(HEADER.size)) == HEADER.size:
            _, kind, _, length, padding = HEADER.unpack(header)
            content = stream.read(length + padding)
            yield kind, content[:length]
