"""The least of FastCGI that bare contenders need: one request encoded once, and the end of a response recognised."""

from __future__ import annotations

import socket
import struct
from collections.abc import Mapping

HEADER = struct.Struct("!BBHHBx")
BEGIN_REQUEST, END_REQUEST, PARAMS, STDIN = 1, 3, 4, 5
RESPONDER, KEEP_CONN = 1, 1
END_LENGTH = 16
END_START = bytes((1, END_REQUEST))
# asks for nothing, and is answered when the worker has read it: what shows that it is free
GET_VALUES = HEADER.pack(1, 9, 0, 0, 0)


def encode_record(kind: int, content: bytes) -> bytes:
    """Return a record of request 1."""
    return HEADER.pack(1, kind, 1, len(content), 0) + content


def encode_length(length: int) -> bytes:
    return bytes((length,)) if length < 128 else struct.pack("!L", length | 1 << 31)


def encode_request(params: Mapping[str, str], *, keep: bool = True, end: bool = True) -> bytes:
    """Return a whole request without a body; without `end` its STDIN is still to come."""
    pairs = b""
    for name, value in params.items():
        key, text = name.encode(), value.encode()
        pairs += encode_length(len(key)) + encode_length(len(text)) + key + text
    begin = encode_record(BEGIN_REQUEST, struct.pack("!HB5x", RESPONDER, KEEP_CONN if keep else 0))
    head = begin + encode_record(PARAMS, pairs) + encode_record(PARAMS, b"")
    return head + encode_record(STDIN, b"") if end else head


def ends(data: bytes) -> bool:
    """Whether data ends in END_REQUEST, which is known by that record's header alone."""
    return data[-END_LENGTH:][:2] == END_START


def read_response(sock: socket.socket) -> bytes:
    """Read until END_REQUEST."""
    data = sock.recv(65536)
    while not ends(data):
        more = sock.recv(65536)
        if not more:
            raise RuntimeError("PHP-FPM closed the connection")
        data += more
    return data


def connect(address: str) -> socket.socket:
    """Return a blocking connection."""
    scheme, _, place = address.partition("://")
    if scheme == "unix":
        sock = socket.socket(socket.AF_UNIX)
        sock.connect(place)
        return sock
    host, _, port = place.rpartition(":")
    sock = socket.create_connection((host, int(port)))
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return sock
