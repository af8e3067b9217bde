"""Decode the Content-Encoding of a response, up to a limit."""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Final

__all__ = ("ContentTooLong", "decode_content")

# a peer may name as many codings as its head has room for
_MAX_CODINGS: Final = 5
# each gzip member costs a copy of the rest; PHP writes one member
_MAX_MEMBERS: Final = 100


class ContentTooLong(Exception):
    """The decoded content is longer than its limit."""


def decode_content(content: bytes, codings: str, limit: int) -> bytes:
    """Return content as it was before its codings were applied.

    Args:
        content: as it was sent.
        codings: the value of the Content-Encoding header.
        limit: most bytes that each step may produce.

    Raises:
        ValueError: a coding is not known, or the content is not encoded with it.
        ContentTooLong: the decoded content exceeds the limit; no more than that was decoded.
    """
    names = [name for name in (part.strip().lower() for part in codings.split(",")) if name not in ("", "identity")]
    if len(names) > _MAX_CODINGS:
        raise ValueError(f"there are more than {_MAX_CODINGS} codings")
    for name in names:
        if name not in _DECODERS:
            raise ValueError(f"{name[:50]!r} is not known, only gzip and deflate are")
    for name in reversed(names):
        # HEAD and 304 have no content, even if they name a coding
        if content:
            try:
                content = _DECODERS[name](content, limit)
            except zlib.error as error:
                raise ValueError(f"the body is not {name}: {error}") from error
    return content


def _gzip(content: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    # there may be several members, and zeros after the last (RFC 1952, 2.2)
    while content:
        if len(parts) == _MAX_MEMBERS:
            raise zlib.error(f"it has more than {_MAX_MEMBERS} members")
        part, content = _inflate(content, zlib.MAX_WBITS + 16, limit - size)
        parts.append(part)
        size += len(part)
        content = content.lstrip(b"\0")
    return b"".join(parts)


def _deflate(content: bytes, limit: int) -> bytes:
    try:
        return _inflate(content, zlib.MAX_WBITS, limit)[0]
    except zlib.error:
        # some send it without zlib's header (RFC 9110, 8.4.1.2)
        return _inflate(content, -zlib.MAX_WBITS, limit)[0]


def _inflate(content: bytes, window: int, limit: int) -> tuple[bytes, bytes]:
    """Return the decompressed data, and the bytes after the compressed data."""
    decompressor = zlib.decompressobj(window)
    part = decompressor.decompress(content, limit + 1)
    if len(part) > limit:
        raise ContentTooLong
    if not decompressor.eof:
        raise zlib.error("it ends too early")
    return part, decompressor.unused_data


_DECODERS: dict[str, Callable[[bytes, int], bytes]] = {"gzip": _gzip, "x-gzip": _gzip, "deflate": _deflate}
