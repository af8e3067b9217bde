"""Records and name-value pairs, against bytes written by hand."""

from __future__ import annotations

from array import array

import pytest

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.records import (
    MalformedPairs,
    decode_pairs,
    encode_pair,
    encode_record,
    encode_stream,
    pack_pairs,
)
from fcgi_async.wire.spec import MAX_CONTENT, RecordType
from tests.wire import frames


def test_record_layout() -> None:
    """A record is version, type, id, length, padding length, a reserved byte, and its content."""
    assert encode_record(RecordType.STDOUT, 0x1234, b"hello") == b"\x01\x06\x12\x34\x00\x05\x00\x00hello"


def test_empty_record_is_never_padded() -> None:
    """An empty record is eight bytes: PHP-FPM would take padding behind it for the next record."""
    assert encode_record(RecordType.STDIN, 1) == b"\x01\x05\x00\x01\x00\x00\x00\x00"


def test_longest_record() -> None:
    """65535 bytes of content fit and are not padded, for PHP-FPM refuses PARAMS over 65535 with their padding."""
    encoded = encode_record(RecordType.PARAMS, 1, bytes(MAX_CONTENT))
    assert encoded[:8] == b"\x01\x04\x00\x01\xff\xff\x00\x00"
    assert len(encoded) == 8 + MAX_CONTENT


def test_record_too_long() -> None:
    """One byte more than a record can hold is refused by a typed error."""
    with pytest.raises(LocalProtocolError, match="STDOUT with 65536 bytes"):
        encode_record(RecordType.STDOUT, 1, bytes(MAX_CONTENT + 1))


@pytest.mark.parametrize("size", [0, 1, 65534, 65535, 65536, 131070, 131071, 200_000])
@pytest.mark.parametrize("kind", [bytes, memoryview])
def test_stream_is_cut_into_records(size: int, kind: type[bytes] | type[memoryview]) -> None:
    """A stream of any length becomes full records and a rest; an empty one none, for that would end the stream."""
    content = bytes(range(256)) * (size // 256 + 1)
    content = content[:size]
    expected = b"".join(frames.stdin(7, content[start : start + MAX_CONTENT]) for start in range(0, size, MAX_CONTENT))
    assert b"".join(encode_stream(RecordType.STDIN, 7, kind(content))) == expected


def test_body_of_zero_character() -> None:
    """A body of the single character 0 is not taken for no body."""
    assert b"".join(encode_stream(RecordType.STDIN, 1, b"0")) == frames.stdin(1, b"0")


def test_view_of_items_larger_than_a_byte() -> None:
    """The length of a view is counted in bytes, whatever its items are."""
    numbers = array("I", range(5))
    assert b"".join(encode_stream(RecordType.STDIN, 1, memoryview(numbers))) == frames.stdin(1, numbers.tobytes())


@pytest.mark.parametrize(
    ("name_length", "value_length", "lengths"),
    [
        (0, 0, b"\x00\x00"),
        (127, 127, b"\x7f\x7f"),
        (128, 5, b"\x80\x00\x00\x80\x05"),
        (5, 128, b"\x05\x80\x00\x00\x80"),
        (200, 40_000, b"\x80\x00\x00\xc8\x80\x00\x9c\x40"),
    ],
)
def test_pair_layout(name_length: int, value_length: int, lengths: bytes) -> None:
    """Lengths take one byte up to 127, and four with the highest bit set from there on."""
    name, value = b"n" * name_length, b"v" * value_length
    assert encode_pair(name, value) == lengths + name + value
    assert decode_pairs(encode_pair(name, value)) == [(name, value)]


def test_non_minimal_lengths_are_read() -> None:
    """A four-byte length of a short name or value is unusual but legal."""
    assert decode_pairs(b"\x80\x00\x00\x01\x80\x00\x00\x02aBB") == [(b"a", b"BB")]


def test_repeated_names_are_kept() -> None:
    """Decoding keeps repeated and empty names, in their order."""
    content = frames.pair(b"A", b"1") + frames.pair(b"", b"2") + frames.pair(b"A", b"3")
    assert decode_pairs(content) == [(b"A", b"1"), (b"", b"2"), (b"A", b"3")]


@pytest.mark.parametrize("cut", range(1, len(frames.pair(b"N" * 128, b"V" * 128))))
def test_pair_cut_anywhere(cut: int) -> None:
    """Pairs that end in the middle of a pair are refused, wherever the cut is."""
    with pytest.raises(MalformedPairs):
        decode_pairs(frames.pair(b"N" * 128, b"V" * 128)[:cut])


def test_length_larger_than_memory() -> None:
    """A length of 2 GiB is refused by looking at what is there, without allocating it."""
    with pytest.raises(MalformedPairs, match="cut after 1"):
        decode_pairs(b"\xff\xff\xff\xff\xff\xff\xff\xffx")


def test_pairs_share_a_record() -> None:
    """Pairs that fit go into one record's content; none make none."""
    assert pack_pairs(iter([b"aa", b"bb"])) == [b"aabb"]
    assert pack_pairs([]) == []


def test_pair_is_never_cut_at_a_border() -> None:
    """A pair that does not fit into what is left of a record begins the next: PHP-FPM resets at a pair cut in two."""
    pairs = [encode_pair(b"N%d" % number, bytes(size)) for number, size in enumerate([40_000, 30_000, 35_000, 65_000])]
    contents = pack_pairs(pairs)
    assert contents == [pairs[0], pairs[1] + pairs[2], pairs[3]]
    assert b"".join(contents) == b"".join(pairs)


@pytest.mark.parametrize("excess", [0, 1])
def test_pairs_that_fill_a_record(excess: int) -> None:
    """Pairs of 65535 bytes together share a record, and of one more do not."""
    pairs = [bytes(30_000), bytes(MAX_CONTENT - 30_000), bytes(40_000), bytes(MAX_CONTENT - 40_000 + excess)]
    contents = pack_pairs(pairs)
    assert [len(content) for content in contents] == ([65_535, 65_535] if not excess else [65_535, 40_000, 25_536])


def test_pairs_of_one_full_record() -> None:
    """A pair of exactly 65535 bytes is sent, and one more byte is refused instead of being cut off."""
    longest = encode_pair(b"N", bytes(MAX_CONTENT - 6))
    assert pack_pairs([longest]) == [longest]
    assert pack_pairs([longest, b"\0\0"]) == [longest, b"\0\0"]
    with pytest.raises(LocalProtocolError, match="65536 bytes"):
        pack_pairs([encode_pair(b"N", bytes(MAX_CONTENT - 5))])
    with pytest.raises(LocalProtocolError, match="70006 bytes"):
        pack_pairs([b"\0\0", encode_pair(b"N", bytes(70_000))])
