"""The units of a connection's inputs: records, and between them calls of the verbs of the half that reads them."""

from __future__ import annotations

from collections.abc import Sequence
from struct import pack

from hypothesis import strategies as st

from fcgi_async.wire.spec import Role
from tests.wire import frames
from tests.wire.test_transcripts import TRANSCRIPTS

# the version of a unit that is not a record but the call of a verb: its type is the verb's number, its id the operand
VERB = 0x56
IDS = (1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 0, 5, 9, 255, 256, 65_535)
# what either half is sent, and what it is not
TO_CLIENT, TO_SERVER, TO_NOBODY = (3, 3, 6, 6, 6, 6, 7, 10, 10, 11), (1, 1, 2, 4, 4, 5, 5, 8, 9), (0, 12, 255)
VALUES = [frames.pair(frames.MPXS, b"0"), frames.pair(frames.MPXS, b"1"), frames.pair(b"FCGI_MAX_REQS", b"x"), b"", b""]
VALUES += [b"\x80\0\0\1\x80\0\0\1ab", frames.pair(b"A", bytes(127)), b"\xff\xff\xff\xff\1a", b"\x80", b"\1"]
STREAMS = [b"", b"", b"a", b"A: b\n\n", bytes(8), b"x" * 100, bytes(255)]
# what records of each type hold; of others, what streams do
CONTENTS: dict[int, Sequence[bytes]] = {
    1: [pack(">HB5x", role, flags) for role in (1, 1, 1, 2, 3, 0, 4, 256) for flags in (0, 1, 255)],
    3: [pack(">IB", app, said) + frames.GARBAGE for app in (0, 1, 2**32 - 1) for said in (0, 0, 0, 0, 1, 3, 4, 255)],
    11: [bytes((unknown,)) + bytes(7) for unknown in (9, 9, 0, 10, 255)],
    **dict.fromkeys((4, 9, 10), VALUES),
}


def verb(number: int, operand: int = 0) -> bytes:
    """Return a unit that calls a verb."""
    return pack(">BBHHBB", VERB, number, operand, 0, 0, 0)


def split_records(data: bytes) -> list[bytes]:
    """Cut at the borders of records and verbs; what is left of an incomplete one is the last unit."""
    units, place = list[bytes](), 0
    while place + 8 <= len(data):
        size = 0 if data[place] == VERB else (data[place + 4] << 8) + data[place + 5] + data[place + 6]
        if place + 8 + size > len(data):
            break
        units.append(data[place : place + 8 + size])
        place += 8 + size
    return [*units, data[place:]] if place < len(data) else units


def is_whole(unit: bytes) -> bool:
    """Return whether a unit is a whole record, or a verb."""
    return len(unit) >= 8 and len(unit) == (8 if unit[0] == VERB else 8 + (unit[4] << 8) + unit[5] + unit[6])


@st.composite
def _records(draw: st.DrawFn, usual_types: tuple[int, ...]) -> bytes:
    odd = draw(st.integers(0, 30))
    record_type = draw(st.sampled_from(usual_types if odd > 2 else TO_CLIENT + TO_SERVER + TO_NOBODY))
    usual, large = st.sampled_from(CONTENTS.get(record_type, STREAMS)), st.sampled_from((bytes(4096), bytes(65_535)))
    content = draw(large if odd == 30 else st.binary(max_size=20) if odd > 25 else usual)
    request_id = draw(st.sampled_from((0, 0, 0, 1) if record_type > 8 else IDS))
    return frames.record(record_type, request_id, content, padding=bytes(draw(st.sampled_from((0, 0, 0, 1, 7, 255)))))


def units(types: tuple[int, ...]) -> st.SearchStrategy[bytes]:
    """Return a strategy of records, mostly of these types, and of verbs."""
    verbs = st.builds(verb, st.integers(0, 19), st.sampled_from(IDS))
    return st.one_of(_records(types), _records(types), verbs)


# numbers in ClientHalf.verbs
ASK_MPXS, ASK, BEGIN, BEGIN_FILTER, BEGIN_LAST, BEGIN_AUTHORIZER, PARAMS, STDIN, STDIN_END, DATA_END, ABORT = range(11)
AHEAD, TAKE, WHOLE, WHOLE_LAST = 11, 12, 17, 18
# numbers in ServerHalf.verbs
STDOUT, STDERR, END_STDOUT, END, END_REFUSED, SEND_VALUES = range(6)


def client_seeds(multiplexing: bool) -> list[list[bytes]]:
    """Return what real servers have answered, after the verbs that asked for it, and requests of other kinds."""
    answer, begun = frames.stdout(1, b"x") + frames.end(1), verb(BEGIN) + verb(PARAMS, 1)
    filtered = verb(BEGIN_FILTER) + verb(PARAMS, 1)
    seeds = [
        filtered + verb(STDIN, 1) + verb(STDIN_END, 1) + verb(DATA_END, 1) + answer,
        filtered + answer + verb(STDIN_END, 1) + verb(DATA_END, 1) + verb(BEGIN),
        verb(BEGIN_LAST) + verb(PARAMS, 1) + verb(STDIN_END, 1) + answer + verb(BEGIN),
        begun + verb(ABORT, 1) + answer + frames.end(1) + verb(BEGIN),
        (begun + verb(STDIN_END, 1) + answer) * 2,
        (verb(WHOLE, 1) + verb(ASK) + answer) * 2 + verb(WHOLE_LAST, 1) + frames.end(1),
        (verb(BEGIN_AUTHORIZER) + verb(PARAMS, 1)) * 2 + frames.end(1) + frames.end(2) + verb(BEGIN) * 2,
        (verb(AHEAD) + verb(TAKE)) * 2 + verb(BEGIN) + verb(TAKE) + verb(PARAMS, 1) + answer,
    ]
    for transcript in TRANSCRIPTS.values():
        ids = (1, 2) if transcript.multiplexing else (1,)
        begun = b"".join(verb(BEGIN) + verb(PARAMS, i) + verb(STDIN_END, i) for i in ids)
        tail = verb(ASK_MPXS if transcript.tail_names else ASK)
        if transcript.multiplexing <= multiplexing:
            seeds.append(b"".join((verb(ASK_MPXS), begun, tail, *transcript.sent)))
    return [split_records(seed) for seed in seeds]


def server_seeds() -> list[list[bytes]]:
    """Return requests, and when the responder says what about them."""
    pairs = frames.pair(b"SCRIPT_FILENAME", b"/srv/index.php") + frames.pair(b"QUERY_STRING", b"")
    params, cut = (frames.params(1, part) + frames.params(1, pairs[len(part) :]) for part in (pairs, pairs[:9]))
    opening = frames.begin(1) + params
    filtered = frames.begin(2, Role.FILTER) + frames.params(2, pairs) + frames.params(2)
    body, late = frames.stdin(1, b"body") + frames.stdin(1), frames.stdin(2, b"rest") + frames.stdin(2)
    file = frames.data(2, b"file") + frames.data(2)
    seeds = [
        opening + verb(STDERR, 1) + body + verb(STDOUT, 1) + verb(END_STDOUT, 1) + verb(END, 1) + opening,
        frames.begin(1) + cut + frames.params(1) + frames.stdin(1),
        frames.begin(1, Role.AUTHORIZER) + params + verb(END, 1),
        filtered + late + file + verb(END, 2),
        filtered + verb(END, 2) + late + file,
        opening + verb(END, 1) + body,
        opening + verb(END, 1) + frames.stdin(1, b"rest") + frames.abort(1),
        opening + frames.abort(1) + frames.stdin(1, b"late") + verb(END, 1),
        opening + filtered + frames.stdin(2, b"of 2") + body + verb(END, 1),
        frames.begin(1) + verb(END_REFUSED, 1) + params + frames.stdin(1),
        frames.begin(1, 9) + frames.params(1, pairs) + opening,
        frames.get_values(frames.MPXS, b"FCGI_MAX_REQS") + verb(SEND_VALUES) + opening,
        frames.record(12, 0) + frames.record(255, 0, bytes(8)) + opening,
        frames.begin(1) + frames.params(1, bytes(200)) * 2,
        frames.record(5, 1, b"body", padding=bytes(255)) + opening,
    ]
    return [split_records(seed) for seed in seeds]
