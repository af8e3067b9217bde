"""Bytes to records, incrementally; what both halves of a connection read with."""

from __future__ import annotations

from collections.abc import Iterator

import attrs

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.records import HEADER
from fcgi_async.wire.spec import HEADER_LENGTH, VERSION

__all__ = ("RecordParser",)


@attrs.define(eq=False)
class RecordParser:
    """Cuts a byte stream into records.

    Between two calls it holds at most one incomplete record: 8 + 65535 + 255 bytes.
    """

    # the beginning of one record, as it came, and how many bytes that is
    _chunks: list[bytes] = attrs.field(factory=list, init=False)
    _held: int = attrs.field(default=0, init=False)
    # how many bytes must be held before it is worth looking again: a record may come in any number of chunks
    _needed: int = attrs.field(default=HEADER_LENGTH, init=False)

    @property
    def mid_record(self) -> bool:
        """Whether the stream stands in the middle of a record."""
        return self._held > 0

    def feed(self, data: bytes) -> Iterator[tuple[int, int, bytes]]:
        """Yield record type, request id and content of each record completed by `data`.

        Each call must be iterated to its end before the next one, or the parser be thrown away.

        Raises:
            RemoteProtocolError: a record has a version other than 1; the records before it have been yielded.
        """
        if self._held:
            self._chunks.append(data)
            self._held += len(data)
            if self._held < self._needed:
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
        position, end, needed = 0, len(data), HEADER_LENGTH
        while end - position >= HEADER_LENGTH:
            version, record_type, request_id, length, padding = HEADER.unpack_from(data, position)
            if version != VERSION:
                start = data[position : position + HEADER_LENGTH]
                raise RemoteProtocolError(f"the peer does not speak FastCGI version 1: a record starts with {start!r}")
            content_start = position + HEADER_LENGTH
            content_end = content_start + length
            following = content_end + padding
            if following > end:
                needed = following - position
                break
            yield record_type, request_id, data[content_start:content_end]
            position = following
        self._held, self._needed = end - position, needed
        if self._held:
            self._chunks.append(data[position:])
