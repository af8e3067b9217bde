"""The grammar of a connection: records, and between them calls of the verbs of the half that reads them."""

from __future__ import annotations

from random import Random
from struct import pack

from fcgi_async.wire.spec import HEADER_LENGTH
from tests.fuzz.grammar import BORDERS, Grammar, spoil
from tests.wire import frames

# the version of a unit that is no record but the call of a verb: its type is the verb's number, its id the operand
VERB = 0x56
VERBS = 20
VALUES = (
    frames.pair(frames.MPXS, b"0"),
    frames.pair(frames.MPXS, b"1"),
    frames.pair(b"FCGI_MAX_REQS", b"100") + frames.pair(b"FCGI_MAX_CONNS", b"x"),
    frames.pair(b"A", bytes(127)),
    frames.pair(bytes(128), b""),
    b"\x80\0\0\1\x80\0\0\1ab",
    b"\xff\xff\xff\xff\1a",
    b"\x80",
    b"\1",
)


def verb(number: int, operand: int = 0) -> bytes:
    """A unit that calls a verb."""
    return pack(">BBHHBB", VERB, number, operand, 0, 0, 0)


def split(data: bytes) -> list[bytes]:
    """Cut at the borders of records and verbs; what is left of an incomplete one is the last unit."""
    units, position, end = [], 0, len(data)
    while end - position >= HEADER_LENGTH:
        following = position + HEADER_LENGTH
        if data[position] != VERB:
            following += (data[position + 4] << 8) + data[position + 5] + data[position + 6]
        if following > end:
            break
        units.append(data[position:following])
        position = following
    if position < end:
        units.append(data[position:])
    return units


def is_whole(unit: bytes) -> bool:
    """Whether a unit is a whole record, or a verb."""
    if len(unit) < HEADER_LENGTH or unit[0] == VERB:
        return len(unit) == HEADER_LENGTH
    return len(unit) == HEADER_LENGTH + (unit[4] << 8) + unit[5] + unit[6]


def fresh(rng: Random) -> bytes:
    """A verb, or a record whose content is such as its type has."""
    if rng.random() < 0.3:
        return verb(rng.randrange(VERBS), _request_id(rng))
    record_type = rng.choice((1, 2, 3, 3, 4, 4, 5, 5, 6, 6, 7, 8, 9, 10, 10, 11, 12, 0, 255))
    request_id = rng.choice((0, 0, 0, 1)) if record_type > 8 else _request_id(rng)
    padding = bytes(rng.choice((0, 0, 0, 1, 7, 255)))
    return frames.record(record_type, request_id, _content(rng, record_type), padding=padding)


def change(rng: Random, unit: bytes) -> bytes:
    """Alter a field of the header, or the content; mostly so that the framing stays whole."""
    if len(unit) < HEADER_LENGTH or rng.random() < 0.04:
        return spoil(rng, unit)
    head, rest = bytearray(unit[:HEADER_LENGTH]), unit[HEADER_LENGTH:]
    if head[0] == VERB:
        return verb(rng.randrange(VERBS), head[3]) if rng.random() < 0.5 else verb(head[1], _request_id(rng))
    length, what = head[4] << 8 | head[5], rng.random()
    if what < 0.2:
        head[1] = rng.choice((rng.randrange(13), 3, 6, 10, 255))
    elif what < 0.45:
        head[2:4] = _request_id(rng).to_bytes(2, "big")
    elif what < 0.75:
        content = _content(rng, head[1]) if rng.random() < 0.6 else spoil(rng, rest[:length])[:65_535]
        head[4:6] = len(content).to_bytes(2, "big")
        rest = content + rest[length:]
    elif what < 0.9:
        head[6] = rng.choice((*BORDERS, rng.randrange(256)))
        rest = rest[:length] + rng.randbytes(head[6])
    elif what < 0.95:
        head[4:6] = rng.choice((*BORDERS, max(0, length - 1), min(65_535, length + 1))).to_bytes(2, "big")
    elif what < 0.97:
        head[0] = rng.choice((0, 2, 255, rng.randrange(256)))
    else:
        head[7] = rng.randrange(256)
    return bytes(head) + rest


def _request_id(rng: Random) -> int:
    return rng.choice((1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 0, 5, 9, 255, 256, 65_535))


def _content(rng: Random, record_type: int) -> bytes:
    if rng.random() < 0.15:
        return b"" if rng.random() < 0.5 else rng.randbytes(rng.choice(BORDERS))
    if record_type == 1:
        return pack(">HB5x", rng.choice((1, 1, 1, 1, 2, 3, 3, 0, 4, 256)), rng.choice((0, 1, 1, 255)))
    if record_type == 3:
        status = rng.choice((0, 0, 0, 0, 0, 1, 2, 3, 4, 255))
        return pack(">IB", rng.choice((0, 0, 1, 0xFFFFFFFF)), status) + frames.GARBAGE
    if record_type == 11:
        return bytes((rng.choice((9, 9, 9, 0, 10, 255)),)) + bytes(7)
    if record_type in (4, 9, 10):
        return b"".join(rng.choices(VALUES[:-3] if rng.random() < 0.9 else VALUES, k=rng.choice((0, 1, 1, 2, 3))))
    sizes = (0, 0, 1, 5, 8, 100, 255) if rng.random() < 0.997 else (256, 4096, 65_528, 65_535)
    return rng.randbytes(1) * rng.choice(sizes)


RECORDS = Grammar(split, fresh, change)
