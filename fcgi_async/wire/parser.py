"""Parse bytes into records, incrementally; both halves of a connection use this."""

from __future__ import annotations

from collections.abc import Generator, Iterator

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

    # the chunks of an incomplete record, and their total length
    _chunks: list[bytes] = attrs.field(factory=list, init=False)
    held: int = attrs.field(default=0, init=False)
    # how many bytes must have come before parsing again is worthwhile: a record may come in any number of chunks
    _needed: int = attrs.field(default=HEADER_LENGTH, init=False)

    @property
    def mid_record(self) -> bool:
        """Whether the stream is in the middle of a record."""
        return self.held > 0

    def feed(self, data: bytes | memoryview) -> Iterator[tuple[int, int, bytes]]:
        """Yield record type, request id and content of each record completed by `data`.

        Iterate each call to its end before the next one, or discard the parser. `data` may be a view of a buffer that
        is reused: all that is yielded or kept is copied.

        Raises:
            RemoteProtocolError: a record has a version other than 1; the records before it have been yielded.
        """
        position, end = 0, len(data)
        if self.held:
            position = yield from self._complete(data)
        unpack = HEADER.unpack_from
        while end - position >= HEADER_LENGTH:
            version, record_type, request_id, length, padding = unpack(data, position)
            if version != VERSION:
                raise _wrong_version(data[position : position + HEADER_LENGTH])
            start = position + HEADER_LENGTH
            following = start + length + padding
            if following > end:
                self._needed = following - position
                break
            content = data[start : start + length]
            yield record_type, request_id, content if isinstance(content, bytes) else bytes(content)
            position = following
        if position < end:
            self.held = end - position
            self._chunks.append(bytes(data[position:]))

    def _complete(self, data: bytes | memoryview) -> Generator[tuple[int, int, bytes], None, int]:
        """Yield the record that began before `data`, if `data` completes it; return the offset of the next record."""
        position = 0
        while True:
            part = bytes(data[position : position + self._needed - self.held])
            if part:
                position += len(part)
                self._chunks.append(part)
                self.held += len(part)
            if self.held < self._needed:
                return position
            record = b"".join(self._chunks)
            version, record_type, request_id, length, padding = HEADER.unpack_from(record)
            if version != VERSION:
                raise _wrong_version(record)
            self._chunks.clear()
            self._needed = HEADER_LENGTH + length + padding
            if self._needed <= self.held:
                break
            # only the header had come; now the record's length is known
            self._chunks.append(record)
        self.held, self._needed = 0, HEADER_LENGTH
        yield record_type, request_id, record[HEADER_LENGTH : HEADER_LENGTH + length]
        return position


def _wrong_version(start: bytes | memoryview) -> RemoteProtocolError:
    return RemoteProtocolError(f"the peer does not speak FastCGI version 1: a record starts with {bytes(start)!r}")
