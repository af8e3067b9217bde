"""The incremental parser of records."""

from __future__ import annotations

import pytest

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.parser import RecordParser
from tests.wire import frames


def test_records_of_one_chunk() -> None:
    """All records that a chunk completes come out, their padding skipped and their reserved byte ignored."""
    parser = RecordParser()
    chunk = frames.stdout(1, b"hello") + frames.record(7, 2, b"x", reserved=255) + frames.record(6, 1)
    assert list(parser.feed(chunk)) == [(6, 1, b"hello"), (7, 2, b"x"), (6, 1, b"")]
    assert not parser.mid_record


def test_record_in_many_chunks() -> None:
    """Half a header, half a content and half a padding are waited for, and are no end."""
    parser = RecordParser()
    whole = frames.record(6, 258, b"content", padding=b"pad")
    for byte in whole[:-1]:
        assert list(parser.feed(bytes((byte,)))) == []
        assert parser.mid_record
    assert list(parser.feed(whole[-1:])) == [(6, 258, b"content")]
    assert not parser.mid_record


def test_chunks_are_joined_once() -> None:
    """The chunks of a record are kept as they came until it is complete: joining them each time would be quadratic."""
    parser = RecordParser()
    whole = frames.stdout(1, bytes(8000))
    for start in range(0, 8000, 100):
        assert list(parser.feed(whole[start : start + 100])) == []
        assert len(parser._chunks) == start // 100 + 1
    assert list(parser.feed(whole[8000:])) == [(6, 1, bytes(8000))]


def test_chunk_that_ends_one_record_and_begins_another() -> None:
    """What follows a completed record is kept for the next call."""
    parser = RecordParser()
    first, second = frames.stdout(1, b"first"), frames.stdout(1, b"second")
    assert list(parser.feed(first[:5])) == []
    assert list(parser.feed(first[5:] + second[:3])) == [(6, 1, b"first")]
    assert parser.mid_record
    assert list(parser.feed(second[3:])) == [(6, 1, b"second")]


def test_longest_record_of_the_format() -> None:
    """65535 bytes with 255 bytes of padding are one record."""
    parser = RecordParser()
    assert list(parser.feed(frames.record(6, 1, bytes(65535), padding=bytes(255)))) == [(6, 1, bytes(65535))]


def test_content_is_bytes() -> None:
    """Content is a copy, so that keeping it does not keep the whole chunk."""
    ((_, _, content),) = RecordParser().feed(frames.stdout(1, b"hello"))
    assert type(content) is bytes


def test_view_of_a_buffer_that_is_used_again() -> None:
    """Of a view nothing is kept but copies: not the content, not the beginning of the next record."""
    parser = RecordParser()
    buffer = bytearray(frames.stdout(1, b"first") + frames.stdout(2, b"second")[:11])
    (first,) = parser.feed(memoryview(buffer))
    assert type(first[2]) is bytes
    buffer[:] = bytes(len(buffer))
    assert list(parser.feed(memoryview(frames.stdout(2, b"second")[11:]))) == [(6, 2, b"second")]
    assert first == (6, 1, b"first")


def test_little_of_a_chunk_is_joined() -> None:
    """A chunk that completes a record is joined with what came before only as far as that record goes."""
    parser = RecordParser()
    record, many = frames.stdout(1, b"first"), frames.stdout(1, b"x") * 1000
    assert list(parser.feed(record[:9])) == []
    assert list(parser.feed(record[9:] + many)) == [(6, 1, b"first")] + [(6, 1, b"x")] * 1000


def test_nothing_fed() -> None:
    """An empty chunk completes nothing and changes nothing."""
    parser = RecordParser()
    assert list(parser.feed(b"")) == []
    assert not parser.mid_record


def test_wrong_version() -> None:
    """A record of another version is refused, after the records before it."""
    records = RecordParser().feed(frames.stdout(1, b"hello") + frames.record(6, 1, b"x", version=2))
    assert next(records) == (6, 1, b"hello")
    with pytest.raises(RemoteProtocolError, match="does not speak FastCGI version 1"):
        next(records)


def test_http_server_on_the_port() -> None:
    """An HTTP answer is recognised by its first eight bytes, which the error shows."""
    with pytest.raises(RemoteProtocolError, match=r"HTTP/1\.1"):
        list(RecordParser().feed(b"HTTP/1.1 400 Bad Request\r\n\r\n"))
