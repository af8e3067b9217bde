"""The client's half: what its verbs write and refuse, and what it makes of a responder's records."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from fcgi_async.errors import LocalProtocolError, RemoteProtocolError
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import (
    ClientEvent,
    RequestEnded,
    Stderr,
    Stdout,
    Stray,
    Terminated,
    ValuesReceived,
)
from fcgi_async.wire.spec import FCGI_MPXS_CONNS, RecordType, Role
from fcgi_async.wire.states import RequestState
from tests.wire import frames


def awaiting(client: ClientConnection, role: Role = Role.RESPONDER) -> int:
    """Begin a request, send all of it, and forget the bytes."""
    request_id = client.begin_request(role)
    client.send_params(request_id, [b"pairs"])
    if role is not Role.AUTHORIZER:
        client.send_stdin(request_id, end=True)
    if role is Role.FILTER:
        client.send_data(request_id, end=True)
    client.data_to_send()
    assert client.state(request_id) is RequestState.AWAITING
    return request_id


def fault(events: list[ClientEvent], client: ClientConnection) -> str:
    """The message of the fault that ended the connection."""
    (terminated,) = events
    assert isinstance(terminated, Terminated)
    assert isinstance(terminated.error, RemoteProtocolError)
    assert not client.open
    return str(terminated.error)


def other_ids_state(client: ClientConnection) -> tuple[object, ...]:
    """All that a refused verb must not change."""
    return client.open, client.unfinished, client.probes_outstanding, [client.state(i) for i in range(4)]


# verbs


def test_smallest_request() -> None:
    """A request without a body is BEGIN_REQUEST, PARAMS and two ends, with the tail probe behind."""
    client = ClientConnection()
    request_id = client.begin_request()
    client.send_params(request_id, [b"pairs"])
    client.send_stdin(request_id, b"", end=True)
    client.get_values()
    assert client.data_to_send() == (
        frames.begin(1) + frames.params(1, b"pairs") + frames.params(1) + frames.stdin(1) + frames.get_values()
    )
    assert client.data_to_send() == b""


def test_request_without_keep_conn() -> None:
    """Without KEEP_CONN the flag is clear, and nothing can be begun behind: the peer would throw it away unread."""
    client = ClientConnection(multiplexing=True)
    client.begin_request(keep_conn=False)
    assert client.data_to_send() == frames.begin(1, flags=0)
    with pytest.raises(LocalProtocolError, match="without KEEP_CONN"):
        client.begin_request()
    assert client.unfinished == 1
    assert client.data_to_send() == b""


def test_filter_request() -> None:
    """A Filter has a file behind its body."""
    client = ClientConnection()
    request_id = client.begin_request(Role.FILTER)
    client.send_params(request_id, [])
    client.send_stdin(request_id, b"body", end=True)
    client.send_data(request_id, b"fi")
    client.send_data(request_id, b"le", end=True)
    assert client.data_to_send() == (
        frames.begin(1, Role.FILTER)
        + frames.params(1)
        + frames.stdin(1, b"body")
        + frames.stdin(1)
        + frames.data(1, b"fi")
        + frames.data(1, b"le")
        + frames.data(1)
    )


def test_parameters_in_parts() -> None:
    """Parameters may be sent in several calls; only the one that ends them writes the empty record."""
    client = ClientConnection()
    request_id = client.begin_request()
    client.send_params(request_id, [b"a", b"b"], end=False)
    assert client.state(request_id) is RequestState.PARAMS
    client.send_params(request_id, iter([b"c"]))
    assert client.state(request_id) is RequestState.STDIN
    assert client.data_to_send() == frames.begin(1) + b"".join(
        frames.params(1, part) for part in (b"a", b"b", b"c", b"")
    )


def test_empty_part_of_a_body() -> None:
    """An empty part writes nothing: an empty record would end the body."""
    client = ClientConnection()
    request_id = client.begin_request()
    client.send_params(request_id, [b"pairs"])
    client.data_to_send()
    client.send_stdin(request_id, b"")
    assert client.data_to_send() == b""
    assert client.state(request_id) is RequestState.STDIN


def test_first_byte_ahead() -> None:
    """The first byte of the next record goes out behind what is written, once, and the record goes on from there."""
    client, plain = ClientConnection(), ClientConnection()
    for machine in (client, plain):
        machine.get_values()
    client.send_ahead()
    sent = client.data_to_send()
    assert sent == plain.data_to_send() + b"\x01"
    client.send_ahead()
    assert client.data_to_send() == b""
    for machine in (client, plain):
        machine.send_params(machine.begin_request(), [b"pairs"])
    client.send_ahead()
    assert b"\x01" + client.data_to_send() == plain.data_to_send() + b"\x01"


def test_names_of_values() -> None:
    """GET_VALUES carries the names asked for, with empty values."""
    client = ClientConnection()
    client.get_values([b"FCGI_MAX_CONNS", b"FCGI_MPXS_CONNS"])
    assert client.data_to_send() == frames.get_values(b"FCGI_MAX_CONNS", b"FCGI_MPXS_CONNS")
    assert client.probes_outstanding == 1


def test_abort() -> None:
    """ABORT_REQUEST is an empty record; the id stays taken until END_REQUEST."""
    client = ClientConnection()
    request_id = awaiting(client)
    client.abort_request(request_id)
    assert client.data_to_send() == frames.abort(1)
    assert client.state(request_id) is RequestState.ABORTED
    assert client.receive_data(frames.end(1)) == [RequestEnded(1, 0, 0)]
    assert client.unfinished == 0


@pytest.mark.parametrize(
    "verb",
    [
        lambda client, request_id: client.begin_request(),
        lambda client, request_id: client.send_params(request_id, [b"pairs"]),
        lambda client, request_id: client.send_stdin(request_id, b""),
        lambda client, request_id: client.send_stdin(request_id, end=True),
        lambda client, request_id: client.send_data(request_id, b"file"),
        lambda client, request_id: client.send_stdin(request_id + 1, b"body"),
        lambda client, request_id: client.abort_request(request_id + 1),
        lambda client, request_id: client.get_values([bytes(65_536)]),
    ],
)
def test_verb_that_the_state_does_not_allow(verb: Callable[[ClientConnection, int], None]) -> None:
    """A verb out of turn, or for another request, raises before anything changes."""
    client = ClientConnection()
    request_id = awaiting(client)
    before = other_ids_state(client)
    with pytest.raises(LocalProtocolError):
        verb(client, request_id)
    assert client.data_to_send() == b""
    assert other_ids_state(client) == before


@pytest.mark.parametrize("contents", [[b"good", b""], [b"good", bytes(65_536)]])
def test_params_that_are_no_record(contents: list[bytes]) -> None:
    """An empty item would end the parameters, a long one does not fit: neither is sent, nor the good one before it."""
    client = ClientConnection()
    request_id = client.begin_request()
    client.data_to_send()
    with pytest.raises(LocalProtocolError, match="1 to 65535 bytes"):
        client.send_params(request_id, contents)
    assert client.data_to_send() == b""
    assert client.state(request_id) is RequestState.PARAMS


def test_end_of_another_stream() -> None:
    """Ending the body does not end the parameters, although both are an empty record to the table."""
    client = ClientConnection()
    request_id = client.begin_request()
    with pytest.raises(LocalProtocolError, match="STDIN for request 1: not while"):
        client.send_stdin(request_id, end=True)
    assert client.state(request_id) is RequestState.PARAMS


def test_abort_twice() -> None:
    """A request is aborted once."""
    client = ClientConnection()
    request_id = awaiting(client)
    client.abort_request(request_id)
    client.data_to_send()
    with pytest.raises(LocalProtocolError, match="ABORT_REQUEST for request 1"):
        client.abort_request(request_id)
    assert client.data_to_send() == b""


@pytest.mark.parametrize(
    "verb",
    [
        lambda client: client.begin_request(),
        lambda client: client.send_params(1, [b"pairs"]),
        lambda client: client.send_stdin(1, b""),
        lambda client: client.send_data(1, b""),
        lambda client: client.abort_request(1),
        lambda client: client.get_values(),
    ],
)
def test_verb_on_a_closed_connection(verb: Callable[[ClientConnection], None]) -> None:
    """Every verb is refused once the connection is over."""
    client = ClientConnection()
    client.begin_request()
    client.data_to_send()
    assert client.receive_eof() == [Terminated(None)]
    with pytest.raises(LocalProtocolError, match="the connection is closed"):
        verb(client)
    assert client.data_to_send() == b""


# ids


def test_id_of_an_aborted_request() -> None:
    """Go ends an aborted request at once and writes on under its id: nobody else gets that before a second END."""
    client = ClientConnection(multiplexing=True)
    assert [awaiting(client), awaiting(client)] == [1, 2]
    client.abort_request(1)
    client.data_to_send()
    assert client.receive_data(frames.end(1)) == [RequestEnded(1, 0, 0)]
    client.receive_data(b"")
    assert awaiting(client) == 3
    assert client.receive_data(frames.stdout(1, b"late")) == [Stray(1, RecordType.STDOUT, 4)]
    assert client.receive_data(frames.end(1)) == [Stray(1, RecordType.END_REQUEST, 8)]
    client.receive_data(b"")
    assert awaiting(client) == 1


def test_ids_advance_without_multiplexing() -> None:
    """Each request has the next id, so that what a finished script still prints cannot be taken for the next job's."""
    client = ClientConnection()
    for expected in (1, 2, 3):
        assert awaiting(client) == expected
        client.receive_data(frames.end(expected))


def test_ids_begin_again_after_the_last() -> None:
    """After 65535 comes 1, and 65535 is still known for strays."""
    client = ClientConnection()
    for expected in range(1, 65_536):
        assert client.begin_request() == expected
        client.receive_data(frames.end(expected))
    assert awaiting(client) == 1
    assert client.receive_data(frames.stdout(65_535, b"late")) == [Stray(65_535, RecordType.STDOUT, 4)]


def test_one_request_at_a_time_without_multiplexing() -> None:
    """PHP-FPM would run the first request with a truncated body and lose the second: it is refused instead."""
    client = ClientConnection()
    client.begin_request()
    with pytest.raises(LocalProtocolError, match="one request at a time"):
        client.begin_request()


def test_no_second_request_while_a_body_is_owed() -> None:
    """A response that came early does not free the connection: the rest of the body is still to be sent."""
    client = ClientConnection()
    client.send_params(client.begin_request(), [b"pairs"])
    assert client.receive_data(frames.end(1)) == [RequestEnded(1, 0, 0)]
    with pytest.raises(LocalProtocolError, match="one request at a time"):
        client.begin_request()
    client.send_stdin(1, b"rest", end=True)
    assert client.begin_request() == 2


def test_ids_are_small_and_reused_with_multiplexing() -> None:
    """The smallest free id is taken, and none while the events that ended its last request are being looked at."""
    client = ClientConnection(multiplexing=True)
    assert [awaiting(client) for _ in range(4)] == [1, 2, 3, 4]
    client.receive_data(frames.end(3) + frames.end(2))
    assert awaiting(client) == 5
    client.receive_data(b"")
    assert [awaiting(client) for _ in range(3)] == [2, 3, 6]
    assert client.unfinished == 6


def test_all_ids_taken() -> None:
    """The 65536th request at once is refused, and possible again when one has ended."""
    client = ClientConnection(multiplexing=True)
    for _ in range(65_535):
        client.begin_request()
    with pytest.raises(LocalProtocolError, match="all 65535 request ids are taken"):
        client.begin_request()
    client.receive_data(frames.end(40_000))
    client.receive_data(b"")
    assert client.begin_request() == 40_000


def test_an_id_that_has_just_ended() -> None:
    """If all others are taken it is given again, unless the caller has yet to look at its end."""
    client = ClientConnection(multiplexing=True)
    unprocessed = {40_000, 40_001}
    client.reuse_ended(unprocessed)
    for _ in range(65_535):
        client.begin_request()
    client.receive_data(frames.end(40_000) + frames.end(40_001))
    with pytest.raises(LocalProtocolError, match="all 65535 request ids are taken"):
        client.begin_request()
    unprocessed.remove(40_000)
    assert client.begin_request() == 40_000
    with pytest.raises(LocalProtocolError, match="all 65535 request ids are taken"):
        client.begin_request()
    client.receive_data(b"")
    assert client.begin_request() == 40_001


def test_multiplexing_switched_off_and_on() -> None:
    """Small finished ids are not reused while the peer does not multiplex, and no id is ever taken twice."""
    client = ClientConnection(multiplexing=True)
    assert [awaiting(client) for _ in range(3)] == [1, 2, 3]
    client.receive_data(frames.end(1) + frames.end(2) + frames.end(3))
    client.receive_data(b"")
    assert awaiting(client) == 1
    client.receive_data(frames.end(1))
    client.receive_data(b"")
    client.multiplexing = False
    assert awaiting(client) == 4
    client.multiplexing = True
    assert [awaiting(client) for _ in range(4)] == [1, 2, 3, 5]


# what the responder did


def test_output_is_told_apart() -> None:
    """STDERR is not STDOUT, and empty records of either, which only end them, mean nothing."""
    client = ClientConnection()
    awaiting(client)
    chunk = frames.stdout(1, b"out") + frames.stderr(1, b"err") + frames.record(6, 1) + frames.record(7, 1)
    assert client.receive_data(chunk) == [Stdout(1, b"out"), Stderr(1, b"err")]


@pytest.mark.parametrize("role", Role)
def test_end_with_statuses(role: Role) -> None:
    """END_REQUEST carries both statuses and frees the id; its reserved bytes may be anything."""
    client = ClientConnection()
    awaiting(client, role)
    assert client.receive_data(frames.end(1, 0xFFFFFFFF, 2, reserved=b"\xff\0\xfe")) == [RequestEnded(1, 0xFFFFFFFF, 2)]
    assert client.state(1) is RequestState.IDLE


def test_unknown_protocol_status() -> None:
    """A protocol status that the specification does not have is the peer's fault, not success."""
    client = ClientConnection()
    awaiting(client)
    assert "unknown protocol status 4" in fault(client.receive_data(frames.end(1, 0, 4)), client)


@pytest.mark.parametrize("content", [b"", bytes(7), bytes(9)])
def test_end_of_another_length(content: bytes) -> None:
    """END_REQUEST has eight bytes of content."""
    client = ClientConnection()
    awaiting(client)
    assert "END_REQUEST has" in fault(client.receive_data(frames.record(3, 1, content)), client)
    assert client.state(1) is RequestState.AWAITING


def test_output_before_the_parameters_are_complete() -> None:
    """A responder cannot answer what it has not been asked."""
    client = ClientConnection()
    client.begin_request()
    assert "before its parameters" in fault(client.receive_data(frames.stdout(1, b"x")), client)


def test_rejection_before_the_parameters_are_complete() -> None:
    """A request may be rejected at once; it is over then, and its parameters cannot be sent any more."""
    client = ClientConnection()
    client.begin_request()
    assert client.receive_data(frames.end(1, 0, 3)) == [RequestEnded(1, 0, 3)]
    with pytest.raises(LocalProtocolError, match="over or was never begun"):
        client.send_params(1, [b"pairs"])


@pytest.mark.parametrize("request_id", [0, 2, 65_535])
@pytest.mark.parametrize("record_type", [RecordType.STDOUT, RecordType.STDERR, RecordType.END_REQUEST])
def test_record_of_a_request_never_begun(request_id: int, record_type: RecordType) -> None:
    """A response to nothing is the peer's fault."""
    client = ClientConnection()
    awaiting(client)
    events = client.receive_data(frames.record(record_type, request_id, bytes(8)))
    assert f"request {request_id}, which was never begun" in fault(events, client)


@pytest.mark.parametrize("record_type", [0, 1, 2, 4, 5, 8, 9, 12, 255])
@pytest.mark.parametrize("request_id", [0, 1])
def test_record_that_no_responder_sends(record_type: int, request_id: int) -> None:
    """A client's records, and unknown ones, do not come from a responder."""
    client = ClientConnection()
    awaiting(client)
    events = client.receive_data(frames.record(record_type, request_id, bytes(8)))
    assert f"does not send records of type {record_type} for request {request_id}" in fault(events, client)


@pytest.mark.parametrize("record_type", [RecordType.GET_VALUES_RESULT, RecordType.UNKNOWN_TYPE])
def test_management_record_of_a_request(record_type: RecordType) -> None:
    """Management records have the id 0."""
    client = ClientConnection()
    client.get_values()
    awaiting(client)
    assert "for request 1" in fault(client.receive_data(frames.record(record_type, 1, b"\x09" + bytes(7))), client)


def test_events_before_a_fault_are_delivered() -> None:
    """A fault is the last event, behind all that came before it; nothing comes after it."""
    client = ClientConnection()
    awaiting(client)
    chunk = frames.stdout(1, b"hello") + frames.end(1) + b"HTTP/1.1 400" + frames.stdout(1, b"hello")
    *before, last = client.receive_data(chunk)
    assert before == [Stdout(1, b"hello"), RequestEnded(1, 0, 0)]
    assert isinstance(last, Terminated)
    assert isinstance(last.error, RemoteProtocolError)
    assert client.receive_data(frames.stdout(1, b"hello")) == []
    assert client.receive_eof() == []


def test_end_of_file_between_records() -> None:
    """The peer may close between two records; that is an end, and no fault."""
    client = ClientConnection()
    awaiting(client)
    client.receive_data(frames.stdout(1, b"hello"))
    assert client.receive_eof() == [Terminated(None)]
    assert not client.open
    assert client.receive_eof() == []


@pytest.mark.parametrize("length", [1, 7, 8, 12])
def test_end_of_file_in_a_record(length: int) -> None:
    """A record cut short by the end of the connection is a fault, and no end."""
    client = ClientConnection()
    awaiting(client)
    assert client.receive_data(frames.stdout(1, b"hello")[:length]) == []
    assert "in the middle of a record" in fault(client.receive_eof(), client)


# strays


def finished(*, probed: bool) -> ClientConnection:
    """A connection whose request 1 is over, with its tail probe outstanding if `probed`."""
    client = ClientConnection()
    client.get_values()
    client.receive_data(frames.values())
    awaiting(client)
    if probed:
        client.get_values()
    client.receive_data(frames.end(1))
    return client


STRAYS = frames.stdout(1, b"late") + frames.stderr(1, b"error") + frames.end(1)
STRAY_EVENTS = [Stray(1, RecordType.STDOUT, 4), Stray(1, RecordType.STDERR, 5), Stray(1, RecordType.END_REQUEST, 8)]


@pytest.mark.parametrize("probed", [True, False])
def test_strays_of_a_finished_request(probed: bool) -> None:
    """What comes of a request after its END_REQUEST, a second one included, is dropped and told."""
    client = finished(probed=probed)
    assert client.receive_data(STRAYS) == STRAY_EVENTS
    assert client.open


def test_strays_do_not_disturb_the_next_request() -> None:
    """Late records of one request are not the next one's, for that has another id."""
    client = finished(probed=False)
    assert awaiting(client) == 2
    assert client.receive_data(STRAYS + frames.stdout(2, b"mine")) == [*STRAY_EVENTS, Stdout(2, b"mine")]
    assert client.state(2) is RequestState.AWAITING


def test_strays_after_the_worker_is_free() -> None:
    """After the tail probe's answer nothing may come of the request: the worker has said that it is done."""
    client = finished(probed=True)
    assert client.receive_data(frames.values()) == [ValuesReceived({})]
    assert "had said that it was free" in fault(client.receive_data(frames.stdout(1, b"late")), client)


def test_strays_while_a_body_is_owed() -> None:
    """A script may end its response while its body is on the way, and still print, for only the tail tells its end."""
    client = ClientConnection()
    client.get_values()
    client.receive_data(frames.values())
    client.send_params(client.begin_request(), [b"pairs"])
    assert client.receive_data(frames.end(1) + STRAYS) == [RequestEnded(1, 0, 0), *STRAY_EVENTS]
    assert client.state(1) is RequestState.DISCARDING_STDIN
    client.send_stdin(1, b"rest", end=True)
    assert client.unfinished == 0


def test_values_in_the_middle_of_a_request() -> None:
    """A peer that answers GET_VALUES while a request is unfinished does not say that its worker is free."""
    client = ClientConnection()
    awaiting(client)
    client.get_values()
    assert client.receive_data(frames.values() + frames.end(1) + frames.stdout(1, b"late")) == [
        ValuesReceived({}),
        RequestEnded(1, 0, 0),
        Stray(1, RecordType.STDOUT, 4),
    ]


def test_strays_of_a_peer_that_multiplexes() -> None:
    """Such a peer answers GET_VALUES whenever it likes, so its answer forbids no strays."""
    client = finished(probed=True)
    client.multiplexing = True
    assert client.receive_data(frames.values() + STRAYS) == [ValuesReceived({}), *STRAY_EVENTS]


# values


def test_values() -> None:
    """The answer tells names and values; answers come in the order of the questions."""
    client = ClientConnection()
    client.get_values([FCGI_MPXS_CONNS])
    client.get_values()
    assert client.receive_data(frames.values(frames.pair(FCGI_MPXS_CONNS, b"0"))) == [
        ValuesReceived({b"FCGI_MPXS_CONNS": b"0"})
    ]
    assert client.probes_outstanding == 1
    assert client.receive_data(frames.values()) == [ValuesReceived({})]
    assert client.probes_outstanding == 0


def test_values_unasked() -> None:
    """Values that nobody asked for are the peer's fault, and it is one answer per question."""
    client = ClientConnection()
    client.get_values()
    answer = frames.values(frames.pair(FCGI_MPXS_CONNS, b"0"))
    client.receive_data(answer)
    assert "without a GET_VALUES" in fault(client.receive_data(answer), client)


def test_values_malformed() -> None:
    """Values cut in the middle of a pair are the peer's fault."""
    client = ClientConnection()
    client.get_values()
    assert "GET_VALUES_RESULT is malformed" in fault(client.receive_data(frames.values(b"\x05\x01FCGI")), client)
    assert client.probes_outstanding == 1


def test_second_empty_answer() -> None:
    """The empty answer that Go sends behind every answer is ignored, also when the next question was already asked."""
    client = ClientConnection()
    answer = frames.values(frames.pair(FCGI_MPXS_CONNS, b"1"))
    client.get_values([FCGI_MPXS_CONNS])
    assert client.receive_data(answer) == [ValuesReceived({FCGI_MPXS_CONNS: b"1"})]
    client.get_values([FCGI_MPXS_CONNS])
    assert client.receive_data(frames.values()) == []
    assert client.probes_outstanding == 1
    assert client.receive_data(answer + frames.values()) == [ValuesReceived({FCGI_MPXS_CONNS: b"1"})]
    assert client.probes_outstanding == 0
    assert client.receive_data(frames.values()) == []
    assert client.open


def test_peer_that_knows_no_values() -> None:
    """An empty answer is one, from a peer that has never known the name: every time, and also behind a full one."""
    client = ClientConnection()
    for names in ([FCGI_MPXS_CONNS], [FCGI_MPXS_CONNS]):
        client.get_values(names)
        assert client.receive_data(frames.values()) == [ValuesReceived({})]
    client.get_values([FCGI_MPXS_CONNS])
    client.receive_data(frames.values(frames.pair(FCGI_MPXS_CONNS, b"0")))
    client.get_values([b"FCGI_MAX_REQS"])
    assert client.receive_data(frames.values()) == [ValuesReceived({})]


def test_peer_that_does_not_know_get_values() -> None:
    """UNKNOWN_TYPE in answer to GET_VALUES is an answer without values; nobody waits for another."""
    client = ClientConnection()
    client.get_values([FCGI_MPXS_CONNS])
    assert client.receive_data(frames.unknown_type(9)) == [ValuesReceived({})]
    assert client.probes_outstanding == 0


@pytest.mark.parametrize("asked", [True, False])
def test_unknown_type_that_was_not_sent(asked: bool) -> None:
    """A peer can only be ignorant of what it was sent."""
    client = ClientConnection()
    if asked:
        client.get_values()
    record_type = 99 if asked else 9
    assert f"records of type {record_type}" in fault(client.receive_data(frames.unknown_type(record_type)), client)


def test_unknown_type_of_another_length() -> None:
    """UNKNOWN_TYPE has eight bytes of content."""
    client = ClientConnection()
    client.get_values()
    assert "UNKNOWN_TYPE has 0 bytes" in fault(client.receive_data(frames.record(11, 0)), client)


@pytest.mark.parametrize("keep_conn", [True, False])
@pytest.mark.parametrize("body", [b"", b"body", bytes(65_535), bytes(65_536)])
@pytest.mark.parametrize("params", [[b"pairs"], [b"pairs", b"more"], []])
def test_whole_request(params: list[bytes], body: bytes, keep_conn: bool) -> None:
    """A request that is sent whole is the same bytes as one sent stream by stream, and stands where that does."""
    whole, streams = ClientConnection(), ClientConnection()
    request_id = whole.send_request(params, body, keep_conn=keep_conn)
    assert streams.begin_request(keep_conn=keep_conn) == request_id
    streams.send_params(request_id, params)
    streams.send_stdin(request_id, body, end=True)
    assert whole.data_to_send() == streams.data_to_send()
    assert whole.state(request_id) is streams.state(request_id) is RequestState.AWAITING


def test_whole_request_refused() -> None:
    """A request that is sent whole is refused where `begin_request()` is, or where its parameters fit no record."""
    client = ClientConnection()
    with pytest.raises(LocalProtocolError, match="PARAMS"):
        client.send_request([b"pairs", bytes(65_536)])
    assert client.data_to_send() == b""
    client.send_request([b"pairs"])
    client.data_to_send()
    with pytest.raises(LocalProtocolError, match="one request at a time"):
        client.send_request([b"pairs"])
    assert client.data_to_send() == b""
