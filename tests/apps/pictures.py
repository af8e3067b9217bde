"""A picture to upload."""

from __future__ import annotations

import struct
import zlib

__all__ = ("PNG",)

_WIDTH, _HEIGHT = 400, 300


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _rows() -> bytes:
    return b"".join(b"\0" + bytes((x * y) % 251 for x in range(_WIDTH) for _ in range(3)) for y in range(_HEIGHT))


PNG = b"".join(
    (
        b"\x89PNG\r\n\x1a\n",
        _chunk(b"IHDR", struct.pack(">IIBBBBB", _WIDTH, _HEIGHT, 8, 2, 0, 0, 0)),
        _chunk(b"IDAT", zlib.compress(_rows())),
        _chunk(b"IEND", b""),
    )
)
