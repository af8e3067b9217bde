"""Target: the decoder of name-value pairs, beside one that was written for this."""

from __future__ import annotations

from itertools import pairwise
from random import Random

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.records import MalformedPairs, decode_pairs, encode_pair, pack_pairs
from tests.fuzz.grammar import BORDERS, Grammar, spoil
from tests.fuzz.target import Outcome, Target
from tests.wire import frames


def read_pair(data: bytes, place: int) -> tuple[bytes, bytes, int] | None:
    """Read the pair at a place, as the specification draws it: name, value and where it ends; None where it is cut."""
    lengths = []
    for _ in range(2):
        size = 4 if data[place : place + 1] >= b"\x80" else 1
        encoded = data[place : place + size]
        if len(encoded) < size:
            return None
        lengths.append(int.from_bytes(encoded, "big") & (0x7FFFFFFF if size == 4 else 0x7F))
        place += size
    middle = place + lengths[0]
    end = middle + lengths[1]
    return (data[place:middle], data[middle:end], end) if end <= len(data) else None


def read_pairs(data: bytes) -> tuple[list[tuple[bytes, bytes]], list[int]]:
    """Read pairs up to the first that is cut: the pairs, and where each ends."""
    pairs: list[tuple[bytes, bytes]] = []
    ends: list[int] = []
    place = 0
    while place < len(data) and (read := read_pair(data, place)) is not None:
        name, value, place = read
        pairs.append((name, value))
        ends.append(place)
    return pairs, ends


def split(data: bytes) -> list[bytes]:
    """Cut between pairs; what is no whole pair is the last unit."""
    places = [0, *read_pairs(data)[1]]
    units = [data[start:end] for start, end in pairwise(places)]
    return [*units, data[places[-1] :]] if places[-1] < len(data) else units


def fresh(rng: Random) -> bytes:
    """A pair, with lengths around the border between one byte and four, or four bytes where one would do."""
    sizes = (*BORDERS, 300) if rng.random() < 0.997 else (32_767, 65_528, 65_535)
    name, value = (bytes((rng.randrange(256),)) * rng.choice(sizes) for _ in range(2))
    if rng.random() < 0.2:
        return b"".join((len(part) | 1 << 31).to_bytes(4, "big") for part in (name, value)) + name + value
    return frames.pair(name, value)


def change(rng: Random, unit: bytes) -> bytes:
    """Alter a length, or any bytes."""
    if not unit or rng.random() < 0.4:
        return spoil(rng, unit)
    place = rng.choice((0, 0, 1, 4))
    length = rng.choice((*BORDERS, 1 << 31, 1 << 31 | 1, 0xFFFFFFFF, 0x7FFFFFFF, 0x80010000))
    long = length > 127 or rng.random() < 0.3
    encoded = (length | 1 << 31).to_bytes(4, "big") if long else bytes((length,))
    return unit[:place] + encoded + unit[place + len(encoded) * rng.randrange(2) :]


def drive_pairs(data: bytes) -> Outcome:
    """Decode an input, and compare with the other decoder and with what encoding the pairs again gives."""
    expected, ends = read_pairs(data)
    rest = data[ends[-1] if ends else 0 :]
    # how long the parts are, roughly: by the bits that their lengths have
    sizes = [(len(name).bit_length(), len(value).bit_length()) for name, value in expected[:4]]
    outcome = Outcome(bool(expected), frozenset((*sizes, len(sizes))))
    try:
        decoded = decode_pairs(data)
    except MalformedPairs:
        assert rest, "whole pairs were refused"
        return outcome
    assert not rest, "half a pair was taken"
    assert decoded == expected
    encoded = [encode_pair(name, value) for name, value in decoded]
    assert sum(map(len, encoded)) <= len(data)
    try:
        contents = pack_pairs(encoded)
    except LocalProtocolError:
        assert max(map(len, encoded)) > 65_535
        return outcome
    assert all(0 < len(content) <= 65_535 for content in contents)
    assert [pair for content in contents for pair in decode_pairs(content)] == decoded
    return outcome


SEEDS = (
    b"",
    frames.pair(b"", b""),
    frames.pair(b"SCRIPT_FILENAME", b"/srv/index.php") + frames.pair(b"QUERY_STRING", b""),
    frames.pair(bytes(127), bytes(128)) + frames.pair(bytes(128), bytes(127)),
    frames.pair(b"A", bytes(70_000)),
    frames.pair(b"A", bytes(40_000)) + frames.pair(b"B", bytes(40_000)),
    b"\x80\0\0\1\x80\0\0\1ab",
)
PAIRS = Target(
    "name-value pairs",
    "pair",
    drive_pairs,
    Grammar(split, fresh, change),
    SEEDS,
    ("records.py:decode_pairs", "records.py:_decode_length"),
)
