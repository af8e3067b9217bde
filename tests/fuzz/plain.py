"""The parsers without a connection: records, name-value pairs, CGI heads, and the answer that came whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import takewhile
from zlib import crc32

import attrs
from hypothesis import strategies as st

from fcgi_async.errors import LocalProtocolError, RemoteProtocolError
from fcgi_async.wire import cgi
from fcgi_async.wire.cgi import CGIHead, HeadParser
from fcgi_async.wire.events import ClientEvent, Terminated
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.records import MalformedPairs, decode_pairs, encode_pair, pack_pairs
from fcgi_async.wire.whole import whole_answer
from tests.fuzz.inputs import BORDERS, pieces
from tests.fuzz.records import is_whole, split_records
from tests.wire import frames, test_whole
from tests.wire.test_properties import head_outcome


def drive_parser(data: bytes) -> tuple[bool, str]:
    """Read records whole, in pieces and from a view, and compare with a plain reader."""
    units = split_records(data)
    whole = list(takewhile(lambda unit: unit[0] == 1 and is_whole(unit), units))
    expected = [(unit[1], unit[2] << 8 | unit[3], unit[8 : 8 + (unit[4] << 8 | unit[5])]) for unit in whole]
    rest = b"".join(units[len(whole) :])
    refused = len(rest) >= 8 and rest[0] != 1
    for parts in ([data], pieces(data, crc32(data)), [memoryview(data)]):
        parser, found, failed = RecordParser(), list[tuple[int, int, bytes]](), False
        try:
            for part in parts:
                found.extend(parser.feed(part))
                assert sum(map(len, parser._chunks)) < 8 + 65_535 + 255, "too much is held"
        except RemoteProtocolError:
            failed = True
        assert (found, failed) == (expected, refused)
        assert failed or parser.mid_record == (len(rest) > 0)
    return bool(expected), "refused" if refused else "cut in a record" if rest else "read to the end"


def read_pairs(data: bytes) -> tuple[list[tuple[bytes, bytes]], int]:
    """Return the pairs up to the first that is cut, as the specification draws them, and how many bytes are left."""
    pairs, start = list[tuple[bytes, bytes]](), 0
    while True:
        lengths, place = list[int](), start
        for _ in range(2):
            size = 4 if data[place : place + 1] >= b"\x80" else 1
            lengths.append(int.from_bytes(data[place : place + size], "big") & (0x7FFFFFFF if size == 4 else 0x7F))
            place += size
        middle, end = place + lengths[0], place + sum(lengths)
        if end > len(data):
            return pairs, len(data) - start
        pairs.append((data[place:middle], data[middle:end]))
        start = end


def drive_pairs(data: bytes) -> tuple[bool, str]:
    """Decode pairs, and compare with the plain reader and with what encoding the pairs again gives."""
    expected, rest = read_pairs(data)
    try:
        decoded = decode_pairs(data)
    except MalformedPairs:
        assert rest, "whole pairs were refused"
        return bool(expected), "refused"
    assert not rest, "half a pair was taken"
    assert decoded == expected
    encoded = [encode_pair(name, value) for name, value in decoded]
    assert sum(map(len, encoded)) <= len(data)
    try:
        contents = pack_pairs(encoded)
    except LocalProtocolError:
        assert max(map(len, encoded)) > 65_535
    else:
        assert all(0 < len(content) <= 65_535 for content in contents)
        assert [pair for content in contents for pair in decode_pairs(content)] == decoded
    return bool(expected), "read to the end"


SIZES = st.sampled_from((*BORDERS * 20, 300, 32_767, 65_535))
PAIR_SEEDS = [
    [frames.pair(b"SCRIPT_FILENAME", b"/srv/index.php"), frames.pair(b"QUERY_STRING", b"")],
    [frames.pair(bytes(127), bytes(128)), frames.pair(bytes(128), bytes(127)), frames.pair(b"", b"")],
    [frames.pair(b"A", b"x" * 40_000), frames.pair(b"B", b"y" * 30_000)],
    [b"\x80\0\0\1\x80\0\0\1ab", b"\x80\0\0\0\1a", b"\xff\xff\xff\xff\1a"],
]
PAIRS = st.builds(lambda name, value: frames.pair(b"a" * name, b"b" * value), SIZES, SIZES)

LIMIT = 512
# the head ends at the first empty line, whichever way its lines end
END = re.compile(rb"(?:[^\n]*\n)*?\r?\n")
STATUS = re.compile(rb"^status:[ \t]*([0-9]{3})", re.IGNORECASE | re.MULTILINE)
NAME = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


def drive_head(data: bytes) -> tuple[bool, str]:
    """Parse a head whole and in pieces, and check what comes of it."""
    # a head that was seen before would not be parsed again
    cgi._remembered.clear()
    outcome = head_outcome([data], LIMIT)
    cgi._remembered.clear()
    assert outcome == head_outcome(pieces(data, crc32(data)), LIMIT), "the cuts make a difference"
    end = END.match(data)
    if isinstance(outcome, bytes):
        assert end is None
        assert outcome == data
        assert len(data) <= LIMIT + 1, "too much is held"
        return b"\n" in data, "incomplete"
    assert isinstance(outcome, tuple)
    head, body = outcome
    if not isinstance(head, CGIHead):
        return b":" in data.partition(b"\n")[0], "refused"
    assert end is not None
    assert body == data[end.end() :]
    assert 200 <= head.status <= 599
    # one code, however often it is said
    assert {int(code) for code in STATUS.findall(data[: end.end()])} <= {head.status}
    for name, value in head.headers:
        assert NAME.fullmatch(name)
        assert name.lower() != "status"
        assert not set(value) & set("\r\n\0")
        assert value == value.strip(" \t")
    lines = [f"Status: {head.status}", *(f"{name}: {value}" for name, value in head.headers), "", ""]
    again = HeadParser(10 * LIMIT).feed("\r\n".join(lines).encode("latin-1"))
    assert again == (attrs.evolve(head, dropped=()), b"")
    return True, "read to the end"


NAMES = (b"Status", b"status", b"Location", b"Content-type", b"X", b"X", b"", b" ", b"X Y", b"X\xe4", b"\0")
TEXTS = (b"200 OK", b"404", b"99", b"2\xb24", b"\xb2\xb2\xb2", b"-10", b"", b" ", b"a: b", b"\xff", b"x" * 505)
ENDS = (*(b"\n", b"\r\n") * 4, b"\n ", b"\r\n\t", b"\r", b"\r\r\n", b"\n\n", b"\0\n", b"")
COLONS = (b": ", b": ", b":", b": \t", b"")
LINES = st.tuples(*map(st.sampled_from, (NAMES, COLONS, TEXTS, ENDS))).map(b"".join)
HEADS = (
    b"Content-type: text/html; charset=UTF-8\r\n\r\nhello",
    b"Status: 404 Not Found\r\nContent-type: text/html\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n\r\nbody",
    b"HTTP/1.1 302 Found\nStatus: 302\nLocation: /elsewhere\nX: folded\n line\n\tand more\nstatus: 302\n\n",
    b"\r\nonly a body",
)
HEAD_SEEDS = [re.findall(rb"[^\n]*\n|[^\n]+", head) for head in HEADS]


def drive_whole(data: bytes) -> tuple[bool, str]:
    """Give a client an answer in two parts, by the shortcuts where they take it, and one whose every byte is parsed.

    The first byte says what was asked besides, the next two where the answer is cut.
    """
    besides, cut, answer = data[0], int.from_bytes(data[1:3], "big"), data[3:]
    quick, parsed = test_whole.asked(), test_whole.asked()
    for connection in (quick, parsed):
        if besides & 1:
            connection.get_values((frames.MPXS,) if besides & 2 else ())
        if besides & 4:
            connection.abort_request(1)
    events = list[ClientEvent]()
    for part in (answer[:cut], answer[cut:]):
        mine, theirs = test_whole.receive(quick, part), parsed.receive_data(part)
        assert test_whole.joined(mine) == test_whole.joined(theirs)
        assert test_whole.facts(quick) == test_whole.facts(parsed)
        events += mine
    taken = any(not isinstance(event, Terminated) for event in events)
    return taken, "not whole" if whole_answer(answer, 1) is None else "whole answers"


def _cuts(answer: bytes, place: int, value: int, asked: int) -> Iterator[bytes]:
    # one byte of the headers is another, in about half of them
    answer = answer[:place] + bytes((value,)) + answer[place:][1:] if value < 128 else answer
    for cut in range(len(answer) + 1):
        yield bytes((asked,)) + cut.to_bytes(2, "big") + answer


CONTENT = st.sampled_from((b"A: b\n\nok", b"A: b\n\nok", b"x" * 200, b""))
OUTPUT = st.builds(test_whole.record, st.just(6), st.just(1), CONTENT, st.integers(0, 8))
ENDED = st.sampled_from((test_whole.end(1), test_whole.end(1, 7, reserved=frames.GARBAGE), test_whole.end(1, 0, 1)))
TAIL = st.sampled_from((test_whole.ANSWER, test_whole.ANSWER, b"", b"\1"))
LIKELY = st.tuples(OUTPUT, ENDED, TAIL).map(b"".join)
ANY = st.lists(test_whole.records, max_size=4).map(b"".join)
PLACES = st.sampled_from((*range(8), *range(-24, 0)))
VALUES = st.sampled_from((*BORDERS, *(255,) * 7))
# a request with a body, mostly, whose answer is awaited
ASKED = st.sampled_from((*range(8), *(4,) * 8))
ANSWERS = st.builds(_cuts, st.one_of(LIKELY, LIKELY, LIKELY, ANY), PLACES, VALUES, ASKED)
