"""Records and name-value pairs: encode and decode.

Records are sent without padding. PHP-FPM refuses PARAMS whose content and padding together exceed 65535 bytes, and
never consumes the padding of an empty record, which corrupts the stream; without padding neither can happen. Padding
from the peer is skipped.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from struct import Struct

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.spec import MAX_CONTENT, VERSION, RecordType

__all__ = (
    "BEGIN_BODY",
    "END_BODY",
    "HEADER",
    "MalformedPairs",
    "decode_pairs",
    "encode_pair",
    "encode_params",
    "encode_record",
    "encode_stream",
    "pack_pairs",
)

# version, type, request id, content length, padding length, one reserved byte
HEADER = Struct(">BBHHBx")
# role, flags, five reserved bytes
BEGIN_BODY = Struct(">HB5x")
# app status, protocol status; the three reserved bytes are garbage in PHP-FPM's records, and ignored
END_BODY = Struct(">IB3x")

_LONG_LENGTH = Struct(">I")
_LONG_BIT = 0x80000000
_SHORT_LENGTHS = tuple(bytes((length,)) for length in range(128))
# the same as text
_SHORT_TEXTS = tuple(map(chr, range(128)))


class MalformedPairs(ValueError):
    """Name-value pairs that end in the middle of a pair."""


def encode_record(record_type: RecordType, request_id: int, content: bytes = b"") -> bytes:
    """Return one record.

    Raises:
        LocalProtocolError: `content` is longer than 65535 bytes.
    """
    if len(content) > MAX_CONTENT:
        raise LocalProtocolError(
            f"{record_type.name} with {len(content)} bytes of content; a record holds {MAX_CONTENT}"
        )
    return HEADER.pack(VERSION, record_type, request_id, len(content), 0) + content


def encode_stream(record_type: RecordType, request_id: int, data: bytes | memoryview) -> list[bytes | memoryview]:
    """Return the buffers that carry `data` on a stream, in order.

    There are none for empty data, because an empty record ends a stream. They may be views of `data`, so it must not
    change until they are joined.
    """
    if not data:
        return []
    if isinstance(data, bytes) and len(data) <= MAX_CONTENT:
        return [HEADER.pack(VERSION, record_type, request_id, len(data), 0), data]
    # a view of another format counts items, not bytes
    view = memoryview(data).cast("B")
    buffers: list[bytes | memoryview] = []
    for start in range(0, len(view), MAX_CONTENT):
        content = view[start : start + MAX_CONTENT]
        buffers.append(HEADER.pack(VERSION, record_type, request_id, len(content), 0))
        buffers.append(content)
    return buffers


def encode_pair(name: bytes, value: bytes) -> bytes:
    """Return one name-value pair (specification 3.4): lengths take one byte up to 127, otherwise four."""
    name_length, value_length = len(name), len(value)
    if name_length < 128 and value_length < 128:
        return _SHORT_LENGTHS[name_length] + _SHORT_LENGTHS[value_length] + name + value
    return b"".join((_encode_length(name_length), _encode_length(value_length), name, value))


def encode_params(params: Mapping[str, str]) -> bytes:
    """Return parameters as joined name-value pairs in UTF-8; surrogates represent other bytes."""
    if not ("".join(params).isascii() and "".join(params.values()).isascii()):
        return b"".join(
            encode_pair(name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
            for name, value in params.items()
        )
    # joined as text and encoded once: a web request has twenty
    parts: list[str] = []
    for name, value in params.items():
        name_length, value_length = len(name), len(value)
        if name_length < 128 and value_length < 128:
            parts += (_SHORT_TEXTS[name_length], _SHORT_TEXTS[value_length], name, value)
        else:
            parts += (_length_text(name_length), _length_text(value_length), name, value)
    return "".join(parts).encode("latin-1")


def _length_text(length: int) -> str:
    """Return an encoded length as text, a character for each byte."""
    return _encode_length(length).decode("latin-1")


def _encode_length(length: int) -> bytes:
    return _SHORT_LENGTHS[length] if length < 128 else _LONG_LENGTH.pack(length | _LONG_BIT)


def pack_pairs(pairs: Iterable[bytes]) -> list[bytes]:
    """Join encoded pairs into record contents, without splitting a pair between two records.

    PHP-FPM resets the connection if a pair is split between two records, although the specification allows it.

    Raises:
        LocalProtocolError: a single pair is longer than a record.
    """
    pairs = tuple(pairs)
    whole = b"".join(pairs)
    if len(whole) <= MAX_CONTENT:
        return [whole] if whole else []
    contents: list[bytes] = []
    current: list[bytes] = []
    size = 0
    for pair in pairs:
        length = len(pair)
        if length > MAX_CONTENT:
            raise LocalProtocolError(
                f"a name-value pair of {length} bytes does not fit into one record of {MAX_CONTENT}"
            )
        if size + length > MAX_CONTENT:
            contents.append(b"".join(current))
            current, size = [], 0
        current.append(pair)
        size += length
    contents.append(b"".join(current))
    return contents


def _decode_length(data: bytes, position: int) -> tuple[int, int]:
    if position >= len(data):
        raise MalformedPairs(f"no length at byte {position} of {len(data)}")
    length = data[position]
    if length < 128:
        return length, position + 1
    if position + 4 > len(data):
        raise MalformedPairs(f"a four-byte length is cut at byte {position} of {len(data)}")
    return int(_LONG_LENGTH.unpack_from(data, position)[0]) & ~_LONG_BIT, position + 4


def decode_pairs(data: bytes) -> list[tuple[bytes, bytes]]:
    """Return the pairs in `data` in order, including repeated names; non-minimal lengths are accepted.

    Raises:
        MalformedPairs: `data` ends in the middle of a pair.
    """
    pairs: list[tuple[bytes, bytes]] = []
    position = 0
    while position < len(data):
        name_length, position = _decode_length(data, position)
        value_length, position = _decode_length(data, position)
        value_start = position + name_length
        end = value_start + value_length
        if end > len(data):
            raise MalformedPairs(f"a pair of {name_length} + {value_length} bytes is cut after {len(data) - position}")
        pairs.append((data[position:value_start], data[value_start:end]))
        position = end
    return pairs
