"""Properties that hold for every input: round trips, cuts at any place, and bytes from nowhere."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import ClientEvent, ServerEvent, Terminated
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.records import (
    MalformedPairs,
    decode_pairs,
    encode_pair,
    encode_params,
    encode_record,
    encode_stream,
    pack_pairs,
)
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import MAX_CONTENT, RecordType, Role
from tests.wire import frames

LONGEST_RECORD = 8 + 65_535 + 255

record_types = st.sampled_from(RecordType)
request_ids = st.integers(0, 65_535)
contents = st.binary(max_size=300)
# around the border between short and long lengths, and around that of a record
pair_parts = st.one_of(st.binary(max_size=4), st.integers(120, 135).map(bytes), st.integers(30_000, 32_760).map(bytes))
pairs = st.lists(st.tuples(pair_parts, pair_parts), max_size=8)


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """Cut `data` at the given places, wherever they lie."""
    places = sorted({0, len(data), *(cut % (len(data) + 1) for cut in cuts)})
    return [data[start:end] for start, end in pairwise(places)]


cut_places = st.lists(st.integers(0, 1 << 20), max_size=12)


# round trips


@given(st.lists(st.tuples(record_types, request_ids, contents), max_size=8), cut_places)
def test_records_round_trip(records: list[tuple[RecordType, int, bytes]], cuts: list[int]) -> None:
    """What was encoded as records is read as the same records, however it is cut."""
    parser = RecordParser()
    encoded = b"".join(encode_record(*record) for record in records)
    assert [record for piece in pieces(encoded, cuts) for record in parser.feed(piece)] == records
    assert not parser.mid_record


@given(st.binary(max_size=50), st.integers(0, 4000), record_types, st.booleans())
def test_streams_round_trip(pattern: bytes, repeat: int, record_type: RecordType, view: bool) -> None:
    """The contents of a stream's records, joined, are the stream; none of them is empty."""
    data = pattern * repeat
    encoded = b"".join(encode_stream(record_type, 5, memoryview(data) if view else data))
    records = list(RecordParser().feed(encoded))
    assert b"".join(content for _, _, content in records) == data
    assert all((kind, request_id) == (record_type, 5) and content for kind, request_id, content in records)
    assert len(records) == -(-len(data) // MAX_CONTENT)


@given(pairs)
def test_pairs_round_trip(given_pairs: list[tuple[bytes, bytes]]) -> None:
    """Packed pairs are read as the same pairs, each content by itself: no pair is cut."""
    packed = pack_pairs([encode_pair(name, value) for name, value in given_pairs])
    assert [pair for content in packed for pair in decode_pairs(content)] == given_pairs
    assert all(0 < len(content) <= MAX_CONTENT for content in packed)


@given(pairs)
def test_pairs_agree_with_the_specification(given_pairs: list[tuple[bytes, bytes]]) -> None:
    """A pair is encoded as the frame factory, which follows the specification's drawing, does."""
    assert [encode_pair(*pair) for pair in given_pairs] == [frames.pair(*pair) for pair in given_pairs]


parameters = st.dictionaries(
    st.one_of(st.text(max_size=6), pair_parts.map(lambda part: part.decode("utf-8", "surrogateescape"))),
    st.one_of(st.text(max_size=6), pair_parts.map(lambda part: part.decode("utf-8", "surrogateescape"))),
    max_size=6,
)


@given(parameters)
def test_parameters_are_pairs(given_params: dict[str, str]) -> None:
    """They are encoded as pairs of bytes are; text that came of bytes is the same bytes again."""
    expected = [
        (name.encode("utf-8", "surrogateescape"), value.encode("utf-8", "surrogateescape"))
        for name, value in given_params.items()
    ]
    assert encode_params(given_params) == b"".join(encode_pair(*pair) for pair in expected)


token = st.text("abcXYZ019-_!", min_size=1, max_size=8)
value = st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0"), max_size=12).map(
    lambda x: x.strip(" \t")
)
headers = st.lists(
    st.tuples(token, value).filter(lambda header: header[0].lower() not in ("status", "location", "content-length"))
)
line_ends = st.lists(st.sampled_from([b"\n", b"\r\n"]), min_size=1)


@given(headers, st.integers(200, 599), st.integers(0, 1 << 20), line_ends, st.binary(max_size=20), cut_places)
def test_heads_round_trip(
    given_headers: list[tuple[str, str]], status: int, place: int, ends: list[bytes], body: bytes, cuts: list[int]
) -> None:
    """A head is read as it was written, with `Status` anywhere, either line end, and however it is cut."""
    lines = [f"{name}: {text}".encode("latin-1") for name, text in given_headers]
    lines.insert(place % (len(lines) + 1), b"Status: %d" % status)
    head = b"".join(line + ends[number % len(ends)] for number, line in enumerate([*lines, b""]))
    parser, rest, result = HeadParser(), pieces(head + body, cuts), None
    while result is None:
        result = parser.feed(rest.pop(0))
    assert result[0] == CGIHead(status, tuple(given_headers))
    assert result[1] + b"".join(rest) == body


# cuts change nothing


def head_outcome(parts: list[bytes], limit: int) -> object:
    """What a head parser makes of the parts: the head and the whole body, what is pending, or its error."""
    parser = HeadParser(limit)
    for number, part in enumerate(parts):
        try:
            result = parser.feed(part)
        except (RemoteProtocolError, HeadTooLarge) as error:
            return type(error), str(error)
        if result is not None:
            return result[0], result[1] + b"".join(parts[number + 1 :])
    return parser.pending


@given(st.lists(st.sampled_from([b"\r", b"\n", b"A: 1", b" ", b"Status: 2", b"04", b":"])).map(b"".join), cut_places)
def test_cuts_change_no_head(data: bytes, cuts: list[int]) -> None:
    """Line ends in any disorder end the head at the same byte, in one part and in many."""
    assert head_outcome(pieces(data, cuts), 100_000) == head_outcome([data], 100_000)


@given(st.lists(st.sampled_from([b"\r\n", b"\n", b"A: 1"])).map(b"".join), st.integers(0, 12), cut_places)
def test_cuts_change_no_limit(data: bytes, limit: int, cuts: list[int]) -> None:
    """What completes a head within the limit in one part does so in many, and what is too long is so in many."""
    whole, parts = head_outcome([data], limit), head_outcome(pieces(data, cuts), limit)
    assert parts == whole


@st.composite
def likely_records(draw: st.DrawFn) -> bytes:
    """Bytes that are records as a rule: of the ids at hand, of contents that fit, and sometimes with a flaw."""
    chunks = []
    for _ in range(draw(st.integers(0, 8))):
        record_type = draw(st.sampled_from([*range(1, 12), 12, 0]))
        request_id = draw(st.sampled_from([1, 1, 1, 2, 0, 0, 9]))
        content = draw(
            st.one_of(
                st.sampled_from([b"", bytes(8), b"\0\x01\x01\0\0\0\0\0", b"\x09" + bytes(7), b"\0\0\0\1\0abc", b"x"]),
                st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), max_size=2).map(
                    lambda drawn: b"".join(frames.pair(*pair) for pair in drawn)
                ),
                st.binary(max_size=9),
            )
        )
        padding = draw(st.sampled_from([b"", b"", bytes(7), bytes(255)]))
        version = draw(st.sampled_from([1] * 20 + [0]))
        chunks.append(frames.record(record_type, request_id, content, padding=padding, version=version))
    return b"".join(chunks) + draw(st.sampled_from([b"", b"", b"", b"\x01", b"HTTP/1.1 400"]))


garbage = st.one_of(likely_records(), st.binary(max_size=100))


def busy_client(multiplexing: bool) -> ClientConnection:
    """A client with requests in several states and a probe on the way."""
    client = ClientConnection(multiplexing=multiplexing)
    client.get_values([frames.MPXS])
    for role in [Role.RESPONDER, Role.FILTER] if multiplexing else [Role.RESPONDER]:
        request_id = client.begin_request(role)
        client.send_params(request_id, [b"pairs"])
    client.data_to_send()
    return client


def plain(events: list[ClientEvent] | list[ServerEvent]) -> list[object]:
    """Events that compare by what they say, faults included."""
    return [(Terminated, str(event.error)) if isinstance(event, Terminated) else event for event in events]


def held(connection: ClientConnection | ServerConnection) -> int:
    """How many bytes of an incomplete record a connection keeps."""
    return sum(map(len, connection._parser._chunks))


@given(garbage, cut_places, st.booleans())
def test_anything_for_a_client(data: bytes, cuts: list[int], multiplexing: bool) -> None:
    """Any bytes become events and at most one fault, the last, however they are cut; memory is bounded."""
    whole, cut = busy_client(multiplexing), busy_client(multiplexing)
    events = whole.receive_data(data)
    assert plain(events) == plain([event for piece in pieces(data, cuts) for event in cut.receive_data(piece)])
    assert [isinstance(event, Terminated) for event in events[:-1]].count(True) == 0
    assert whole.open is cut.open is not (bool(events) and isinstance(events[-1], Terminated))
    assert held(whole) == held(cut) <= LONGEST_RECORD or not whole.open
    assert plain(whole.receive_eof()) == plain(cut.receive_eof())


@given(garbage, cut_places)
def test_anything_for_a_server(data: bytes, cuts: list[int]) -> None:
    """Any bytes become events and at most one fault, the last, however they are cut; memory is bounded."""
    whole, cut = ServerConnection(), ServerConnection()
    before = frames.begin(1) + frames.params(1)
    events = whole.receive_data(before + data)
    assert plain(events) == plain([event for piece in pieces(before + data, cuts) for event in cut.receive_data(piece)])
    assert [isinstance(event, Terminated) for event in events[:-1]].count(True) == 0
    assert whole.open is cut.open is not isinstance(events[-1], Terminated)
    assert whole.data_to_send() == cut.data_to_send()
    assert held(whole) == held(cut) <= LONGEST_RECORD or not whole.open
    assert plain(whole.receive_eof()) == plain(cut.receive_eof())


@given(st.one_of(st.binary(max_size=40), pairs.map(lambda drawn: b"".join(frames.pair(*pair) for pair in drawn)[:-1])))
def test_anything_as_pairs(data: bytes) -> None:
    """Any bytes are pairs, which account for every byte in some encoding, or malformed."""
    try:
        decoded = decode_pairs(data)
    except MalformedPairs:
        return
    assert sum(len(name) + len(text) for name, text in decoded) + 2 * len(decoded) <= len(data)


@given(st.binary(max_size=300), st.integers(0, 100), cut_places)
def test_anything_as_a_head(data: bytes, limit: int, cuts: list[int]) -> None:
    """Any bytes are a head, the beginning of one within its limit, or one of the two errors."""
    outcome = head_outcome(pieces(data, cuts), limit)
    assert not isinstance(outcome, bytes) or len(outcome) <= limit + 1


def test_memory_of_a_record_in_tiny_parts() -> None:
    """A connection keeps the record that is not complete, and nothing of those before it."""
    client = busy_client(False)
    record = frames.record(6, 1, bytes(65_535), padding=bytes(255))
    for _ in range(3):
        for start in range(0, len(record), 61):
            client.receive_data(record[start : start + 61])
            assert held(client) < LONGEST_RECORD
    assert held(client) == 0
