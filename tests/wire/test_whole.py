"""An answer that came whole is recognised in one step, which must say what the parser says, whatever comes."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from struct import pack

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import ClientEvent, RequestEnded, Stderr, Stdout, ValuesReceived
from fcgi_async.wire.request import request_pieces
from fcgi_async.wire.spec import RecordType


def record(record_type: int, request_id: int, content: bytes = b"", padding: int = 0, version: int = 1) -> bytes:
    return pack(">BBHHBx", version, record_type, request_id, len(content), padding) + content + bytes(padding)


def end(request_id: int, app_status: int = 0, protocol_status: int = 0, reserved: bytes = b"\0\0\0") -> bytes:
    return record(RecordType.END_REQUEST, request_id, pack(">IB", app_status, protocol_status) + reserved)


ANSWER = record(RecordType.GET_VALUES_RESULT, 0)
WHOLE = record(RecordType.STDOUT, 1, b"A: b\r\n\r\nok") + end(1)
MESSAGE = record(RecordType.STDERR, 1, b"PHP message: no", padding=1)


def asked() -> ClientConnection:
    """Return a connection that has asked what most jobs ask."""
    connection = ClientConnection()
    connection.request_and_probe(request_pieces(b"\1\1ab", b"", keep_conn=True))
    return connection


def receive(connection: ClientConnection, data: bytes) -> list[ClientEvent]:
    """Take what comes by the shortcuts if they take it, as events, and by the parser if not."""
    whole = connection.receive_whole(data)
    if whole is not None:
        stdout, stderr, answered = whole
        events: list[ClientEvent] = [Stdout(1, stdout), *([Stderr(1, stderr)] if stderr else []), RequestEnded(1, 0, 0)]
        return [*events, ValuesReceived({})] if answered else events
    if connection.receive_answer(data):
        return [ValuesReceived({})]
    return connection.receive_data(data)


def joined(events: list[ClientEvent]) -> tuple[bytes, bytes, list[str]]:
    """What came of each stream in all, and the other events: how many records it took means nothing."""
    stdout = b"".join(event.data for event in events if isinstance(event, Stdout))
    stderr = b"".join(event.data for event in events if isinstance(event, Stderr))
    return stdout, stderr, [str(event) for event in events if not isinstance(event, Stdout | Stderr)]


def facts(connection: ClientConnection) -> tuple[object, ...]:
    """What can be seen of a connection."""
    return (
        connection.open,
        connection.unfinished,
        connection.probes_outstanding,
        connection._worker_free,
        connection._parser.mid_record,
        [connection.state(request_id) for request_id in range(4)],
    )


records = st.one_of(
    st.builds(
        record,
        st.sampled_from([6, 6, 6, 7, 10, 3, 99]),
        st.sampled_from([1, 1, 1, 1, 0, 2]),
        st.sampled_from([b"", b"A: b\r\n\r\nok", b"\x0f\x01FCGI_MPXS_CONNS0", b"x" * 300]),
        st.integers(0, 8),
        st.sampled_from([1, 1, 1, 1, 1, 2]),
    ),
    st.builds(
        end,
        st.sampled_from([1, 1, 1, 2]),
        st.sampled_from([0, 0, 7, 0xFFFFFFFF]),
        st.sampled_from([0, 0, 1, 9]),
        st.binary(min_size=3, max_size=3),
    ),
    st.just(ANSWER),
    st.just(WHOLE),
    st.just(WHOLE + ANSWER),
    st.just(MESSAGE),
    st.just(MESSAGE + WHOLE + ANSWER),
)


@given(st.lists(records, max_size=5).map(b"".join), st.lists(st.integers(0, 400), max_size=3))
@example(WHOLE + ANSWER, [])
@example(WHOLE, [])
@example(WHOLE + ANSWER, [len(WHOLE)])
@example(MESSAGE + WHOLE + ANSWER, [])
@example(record(6, 1, b"A: b\r\n") + MESSAGE + record(6, 1) + MESSAGE + WHOLE, [])
def test_both_ways_say_the_same(data: bytes, cuts: list[int]) -> None:
    """Events and what can be seen afterwards are the same by the shortcuts and by the parser, whatever the cuts."""
    quick, parsed = asked(), asked()
    places = sorted({0, len(data), *(min(cut, len(data)) for cut in cuts)})
    for start, stop in pairwise(places):
        mine, theirs = receive(quick, data[start:stop]), parsed.receive_data(data[start:stop])
        assert joined(mine) == joined(theirs)
        assert facts(quick) == facts(parsed)


@pytest.mark.parametrize("reserved", [b"\0\0\0", b"736"])
@pytest.mark.parametrize("padding", [0, 5])
def test_the_common_answer_does_not_meet_the_parser(reserved: bytes, padding: int) -> None:
    """What PHP-FPM answers to most jobs is recognised, its padding and its reserved bytes too."""
    connection = asked()
    data = record(RecordType.STDOUT, 1, b"A: b\r\n\r\nok", padding) + end(1, reserved=reserved)
    assert asked().receive_whole(data) == (b"A: b\r\n\r\nok", b"", False)
    assert connection.receive_whole(data + ANSWER) == (b"A: b\r\n\r\nok", b"", True)
    assert (connection.unfinished, connection.probes_outstanding) == (0, 0)


def test_messages_do_not_meet_the_parser() -> None:
    """STDERR may come before, between and after parts of STDOUT: the parts are joined."""
    connection = asked()
    data = MESSAGE + record(RecordType.STDOUT, 1, b"A: b\r\n\r\no") + MESSAGE + record(RecordType.STDOUT, 1, b"k")
    whole = connection.receive_whole(data + MESSAGE + end(1) + ANSWER)
    assert whole == (b"A: b\r\n\r\nok", 3 * b"PHP message: no", True)
    assert (connection.unfinished, connection.probes_outstanding) == (0, 0)


@pytest.mark.parametrize("answer", [WHOLE + ANSWER, MESSAGE + WHOLE + ANSWER])
def test_every_cut_of_the_common_answer(answer: bytes) -> None:
    """Cut anywhere, the answer means the same."""
    for cut in range(1, len(answer)):
        connection = asked()
        events = [event for part in (answer[:cut], answer[cut:]) for event in receive(connection, part)]
        message = b"PHP message: no" if answer.startswith(MESSAGE) else b""
        ends = [str(RequestEnded(1, 0, 0)), str(ValuesReceived({}))]
        assert joined(events) == (b"A: b\r\n\r\nok", message, ends)


VERBS: dict[str, Callable[[ClientConnection], object]] = {
    "another probe": lambda connection: connection.get_values(),
    "an abort": lambda connection: connection.abort_request(1),
    "a part that came": lambda connection: connection.receive_data(ANSWER),
}


@pytest.mark.parametrize("verb", VERBS.values(), ids=list(VERBS))
def test_whatever_else_happens_leaves_the_answer_to_the_parser(verb: Callable[[ClientConnection], object]) -> None:
    """The shortcut is for the one request that nothing has happened to."""
    connection = asked()
    verb(connection)
    assert connection.receive_whole(WHOLE) is None
