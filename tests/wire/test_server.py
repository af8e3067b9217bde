"""The responder's half: what its verbs write and refuse, and what it makes of a client's records."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fcgi_async.errors import LocalProtocolError, RemoteProtocolError
from fcgi_async.wire.events import (
    AbortRequested,
    Data,
    DataEnded,
    ParamsReceived,
    RequestBegun,
    ServerEvent,
    Stdin,
    StdinEnded,
    Stray,
    Terminated,
    ValuesRequested,
)
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import RequestState
from tests.wire import frames

REQUEST = frames.begin(1) + frames.params(1, frames.pair(b"A", b"1")) + frames.params(1) + frames.stdin(1)


def fault(events: list[ServerEvent], server: ServerConnection) -> str:
    """The message of the fault that ended the connection."""
    terminated = events[-1]
    assert isinstance(terminated, Terminated)
    assert isinstance(terminated.error, RemoteProtocolError)
    assert not server.open
    assert server.receive_data(REQUEST) == []
    assert server.receive_eof() == []
    return str(terminated.error)


def begun(*more: bytes, role: Role = Role.RESPONDER) -> ServerConnection:
    """A connection that has received a request's beginning and `more`."""
    server = ServerConnection()
    server.receive_data(frames.begin(1, role) + b"".join(more))
    assert server.open
    return server


# what the client did


def test_request() -> None:
    """A request arrives as its beginning, its parameters, and its body with its end."""
    server = ServerConnection()
    body = frames.stdin(1, b"bo") + frames.record(5, 1, b"dy", padding=bytes(6))
    assert server.receive_data(REQUEST[:-8] + body + REQUEST[-8:]) == [
        RequestBegun(1, Role.RESPONDER, True),
        ParamsReceived(1, [(b"A", b"1")]),
        Stdin(1, b"bo"),
        Stdin(1, b"dy"),
        StdinEnded(1),
    ]
    assert server.state(1) is RequestState.AWAITING


def test_flags() -> None:
    """KEEP_CONN is one bit of the flags; the others are ignored."""
    server = ServerConnection()
    assert server.receive_data(frames.begin(1, flags=0xFE) + frames.begin(2, flags=0xFF)) == [
        RequestBegun(1, Role.RESPONDER, False),
        RequestBegun(2, Role.RESPONDER, True),
    ]


def test_filter_request() -> None:
    """A Filter's file follows its body."""
    server = begun(frames.params(1), role=Role.FILTER)
    chunk = frames.stdin(1) + frames.data(1, b"file") + frames.data(1)
    assert server.receive_data(chunk) == [StdinEnded(1), Data(1, b"file"), DataEnded(1)]


def test_authorizer_request() -> None:
    """An Authorizer has only parameters."""
    server = begun(role=Role.AUTHORIZER)
    assert server.receive_data(frames.params(1)) == [ParamsReceived(1, [])]
    assert server.state(1) is RequestState.AWAITING


def test_pair_cut_at_a_border() -> None:
    """A pair may straddle records, for the specification allows it."""
    server = begun()
    pair = frames.pair(b"NAME", b"value")
    assert server.receive_data(b"".join(frames.params(1, pair[i : i + 1]) for i in range(len(pair)))) == []
    assert server.receive_data(frames.params(1)) == [ParamsReceived(1, [(b"NAME", b"value")])]


def test_parameters_malformed() -> None:
    """Parameters that end in the middle of a pair are the client's fault."""
    server = begun(frames.params(1, b"\x04\x05NAMEval"))
    assert "the parameters of request 1 are malformed" in fault(server.receive_data(frames.params(1)), server)


def test_parameters_without_end() -> None:
    """Parameters have a limit, whatever the number of records they come in."""
    server = ServerConnection(max_params=10)
    server.receive_data(frames.begin(1))
    assert server.receive_data(frames.params(1, b"123456789") + frames.params(1, b"0")) == []
    assert "more than 10 bytes" in fault(server.receive_data(frames.params(1, b"1")), server)


def test_unknown_role() -> None:
    """A role that does not exist is rejected at once, and the rest of its request dropped."""
    server = ServerConnection()
    assert server.receive_data(frames.begin(1, 4) + frames.params(1, b"x")) == [Stray(1, RecordType.PARAMS, 1)]
    assert server.data_to_send() == frames.end(1, 0, ProtocolStatus.UNKNOWN_ROLE, reserved=bytes(3))


def test_values_requested() -> None:
    """GET_VALUES is told with the names asked for."""
    assert ServerConnection().receive_data(frames.get_values(b"A", b"B")) == [ValuesRequested([b"A", b"B"])]


def test_values_malformed() -> None:
    """GET_VALUES that ends in the middle of a pair is the client's fault."""
    server = ServerConnection()
    assert "GET_VALUES is malformed" in fault(server.receive_data(frames.record(9, 0, b"\x05")), server)


@pytest.mark.parametrize("record_type", [0, 12, 255])
def test_unknown_management_record(record_type: int) -> None:
    """A management record of an unknown type is answered with UNKNOWN_TYPE, and nothing else happens."""
    server = ServerConnection()
    assert server.receive_data(frames.record(record_type, 0, b"what")) == []
    assert server.data_to_send() == frames.unknown_type(record_type)


@pytest.mark.parametrize("record_type", [1, 2, 3, 4, 5, 6, 7, 8, 10, 11])
def test_record_without_a_request(record_type: int) -> None:
    """The id 0 belongs to management records of the client alone."""
    server = ServerConnection()
    assert f"type {record_type} for the connection" in fault(server.receive_data(frames.record(record_type, 0)), server)


@pytest.mark.parametrize("record_type", [0, 3, 6, 7, 9, 10, 11, 12])
def test_record_that_no_client_sends(record_type: int) -> None:
    """A responder's records, and unknown ones, do not come from a client."""
    server = begun()
    assert f"type {record_type} for request 1" in fault(server.receive_data(frames.record(record_type, 1)), server)


@pytest.mark.parametrize("content", [b"", bytes(7), bytes(9)])
def test_begin_of_another_length(content: bytes) -> None:
    """BEGIN_REQUEST has eight bytes of content."""
    server = ServerConnection()
    assert "BEGIN_REQUEST has" in fault(server.receive_data(frames.record(1, 1, content)), server)


def test_id_begun_twice() -> None:
    """An id is not free before its END_REQUEST."""
    server = begun()
    assert "request 1 was begun twice" in fault(server.receive_data(frames.begin(1)), server)


@pytest.mark.parametrize(
    ("role", "before", "out_of_turn"),
    [
        (Role.RESPONDER, b"", frames.stdin(1)),
        (Role.RESPONDER, frames.params(1), frames.params(1)),
        (Role.RESPONDER, frames.params(1), frames.data(1, b"x")),
        (Role.RESPONDER, frames.params(1) + frames.stdin(1), frames.stdin(1, b"x")),
        (Role.AUTHORIZER, frames.params(1), frames.stdin(1, b"x")),
        (Role.FILTER, frames.params(1), frames.data(1)),
    ],
)
def test_stream_out_of_turn(role: Role, before: bytes, out_of_turn: bytes) -> None:
    """A record of a stream that is not open is the client's fault."""
    server = begun(before, role=role)
    assert "not while" in fault(server.receive_data(out_of_turn), server)


def test_records_of_no_request() -> None:
    """What comes of a request that is over, or never was, is dropped and told."""
    server = ServerConnection()
    assert server.receive_data(frames.params(7) + frames.stdin(7, b"x") + frames.abort(7)) == [
        Stray(7, RecordType.PARAMS, 0),
        Stray(7, RecordType.STDIN, 1),
        Stray(7, RecordType.ABORT_REQUEST, 0),
    ]


def test_abort() -> None:
    """An aborted request can still answer, and owes its END_REQUEST; what its client still sends is dropped."""
    server = begun(frames.params(1))
    assert server.receive_data(frames.abort(1) + frames.stdin(1, b"x") + frames.abort(1)) == [
        AbortRequested(1),
        Stray(1, RecordType.STDIN, 1),
        Stray(1, RecordType.ABORT_REQUEST, 0),
    ]
    server.send_stdout(1, b"sorry")
    server.end_request(1, 1)
    assert server.data_to_send() == frames.record(6, 1, b"sorry") + frames.end(1, 1, reserved=bytes(3))
    assert server.state(1) is RequestState.IDLE


def test_abort_that_crosses_the_end() -> None:
    """An abort of a request that has ended asks for nothing any more."""
    server = begun(frames.params(1))
    server.end_request(1)
    assert server.receive_data(frames.abort(1)) == [Stray(1, RecordType.ABORT_REQUEST, 0)]
    assert server.state(1) is RequestState.IDLE


def test_end_before_the_streams() -> None:
    """A request may end before its streams; what is left of them is dropped, and only then is the id free."""
    server = begun(frames.params(1), role=Role.FILTER)
    server.end_request(1)
    assert server.receive_data(frames.stdin(1, b"x") + frames.stdin(1)) == [
        Stray(1, RecordType.STDIN, 1),
        Stray(1, RecordType.STDIN, 0),
    ]
    assert server.state(1) is RequestState.DISCARDING_DATA
    assert server.receive_data(frames.data(1)) == [Stray(1, RecordType.DATA, 0)]
    assert server.state(1) is RequestState.IDLE


def test_wrong_version() -> None:
    """A record of another version is the client's fault, told behind what came before it."""
    server = ServerConnection()
    events = server.receive_data(frames.begin(1) + frames.record(4, 1, version=0))
    assert events[0] == RequestBegun(1, Role.RESPONDER, True)
    assert "does not speak FastCGI version 1" in fault(events, server)


def test_end_of_file() -> None:
    """The client may close between two records, and not within one."""
    server = ServerConnection()
    assert server.receive_eof() == [Terminated(None)]
    assert server.receive_eof() == []
    server = ServerConnection()
    server.receive_data(frames.begin(1)[:-1])
    assert "in the middle of a record" in fault(server.receive_eof(), server)


# verbs


def test_response() -> None:
    """A response is STDOUT and STDERR, their ends where asked for, and END_REQUEST with both statuses."""
    server = begun(frames.params(1))
    server.send_stdout(1, b"out")
    server.send_stdout(1, b"")
    server.send_stderr(1, memoryview(b"err"))
    server.end_output(1)
    server.end_output(1, RecordType.STDERR)
    server.end_request(1, 0xFFFFFFFF, ProtocolStatus.OVERLOADED)
    assert server.data_to_send() == (
        frames.record(6, 1, b"out")
        + frames.record(7, 1, b"err")
        + frames.record(6, 1)
        + frames.record(7, 1)
        + frames.end(1, 0xFFFFFFFF, 2, reserved=bytes(3))
    )
    assert server.data_to_send() == b""


def test_answer_to_values() -> None:
    """GET_VALUES_RESULT carries names and values."""
    server = ServerConnection()
    server.send_values({b"FCGI_MPXS_CONNS": b"1", b"FCGI_MAX_REQS": b"50"})
    content = frames.pair(b"FCGI_MPXS_CONNS", b"1") + frames.pair(b"FCGI_MAX_REQS", b"50")
    assert server.data_to_send() == frames.record(10, 0, content)


@pytest.mark.parametrize(
    "verb",
    [
        lambda server: server.send_stdout(1, b"x"),
        lambda server: server.send_stderr(1, b"x"),
        lambda server: server.end_output(1),
        lambda server: server.send_stdout(2, b"x"),
        lambda server: server.end_request(2),
        lambda server: server.end_output(1, RecordType.STDIN),
        lambda server: server.end_request(1, -1),
        lambda server: server.end_request(1, 1 << 32),
        lambda server: server.send_values({b"name": bytes(65_536)}),
    ],
)
def test_verb_that_the_state_does_not_allow(verb: Callable[[ServerConnection], None]) -> None:
    """A verb out of turn, or with what does not fit into its record, raises before anything changes."""
    server = begun()
    with pytest.raises(LocalProtocolError):
        verb(server)
    assert server.data_to_send() == b""
    assert server.state(1) is RequestState.PARAMS


@pytest.mark.parametrize("verb", [lambda server: server.send_stdout(1, b"x"), lambda server: server.send_values({})])
def test_verb_on_a_closed_connection(verb: Callable[[ServerConnection], None]) -> None:
    """Every verb is refused once the connection is over."""
    server = begun(frames.params(1))
    server.receive_eof()
    with pytest.raises(LocalProtocolError, match="the connection is closed"):
        verb(server)
    assert server.data_to_send() == b""
