"""Client and responder linked: what one sends the other receives, and both see the request in the same state."""

from __future__ import annotations

import attrs
import pytest

from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import (
    AbortRequested,
    ClientEvent,
    Data,
    DataEnded,
    ParamsReceived,
    RequestBegun,
    RequestEnded,
    ServerEvent,
    Stderr,
    Stdin,
    StdinEnded,
    Stdout,
    Stray,
    Terminated,
    ValuesReceived,
    ValuesRequested,
)
from fcgi_async.wire.records import encode_pair, pack_pairs
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import FCGI_MPXS_CONNS, ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import RequestState as S
from tests.wire import frames

PAIRS = [(b"REQUEST_METHOD", b"POST"), (b"SCRIPT_FILENAME", b"/srv/" + b"x" * 200), (b"EMPTY", b"")]
CONTENTS = pack_pairs([encode_pair(name, value) for name, value in PAIRS])


@attrs.define
class Link:
    """Both halves of one connection."""

    client: ClientConnection = attrs.field(factory=ClientConnection)
    server: ServerConnection = attrs.field(factory=ServerConnection)

    def to_server(self) -> list[ServerEvent]:
        return self.server.receive_data(self.client.data_to_send())

    def to_client(self) -> list[ClientEvent]:
        return self.client.receive_data(self.server.data_to_send())

    def both(self, request_id: int, state: S) -> None:
        assert self.client.state(request_id) is state
        assert self.server.state(request_id) is state


def test_responder() -> None:
    """A Responder's request and response arrive whole, and leave both halves idle."""
    link = Link()
    request_id = link.client.begin_request()
    assert link.to_server() == [RequestBegun(request_id, Role.RESPONDER, True)]
    link.both(request_id, S.PARAMS)
    link.client.send_params(request_id, CONTENTS)
    assert link.to_server() == [ParamsReceived(request_id, PAIRS)]
    link.both(request_id, S.STDIN)
    link.client.send_stdin(request_id, b"0", end=True)
    assert link.to_server() == [Stdin(request_id, b"0"), StdinEnded(request_id)]
    link.both(request_id, S.AWAITING)
    link.server.send_stderr(request_id, b"warning")
    link.server.send_stdout(request_id, b"hello")
    link.server.end_output(request_id)
    assert link.to_client() == [Stderr(request_id, b"warning"), Stdout(request_id, b"hello")]
    link.both(request_id, S.AWAITING)
    link.server.end_request(request_id, 7)
    assert link.to_client() == [RequestEnded(request_id, 7, 0)]
    link.both(request_id, S.IDLE)


def test_authorizer() -> None:
    """An Authorizer's request is complete with its parameters."""
    link = Link()
    request_id = link.client.begin_request(Role.AUTHORIZER, keep_conn=False)
    link.client.send_params(request_id, [])
    assert link.to_server() == [RequestBegun(request_id, Role.AUTHORIZER, False), ParamsReceived(request_id, [])]
    link.both(request_id, S.AWAITING)
    link.server.end_request(request_id)
    assert link.to_client() == [RequestEnded(request_id, 0, 0)]
    link.both(request_id, S.IDLE)


def test_filter() -> None:
    """A Filter's request is complete with its file."""
    link = Link()
    request_id = link.client.begin_request(Role.FILTER)
    link.client.send_params(request_id, CONTENTS)
    link.client.send_stdin(request_id, end=True)
    link.to_server()
    link.both(request_id, S.DATA)
    link.client.send_data(request_id, b"file", end=True)
    assert link.to_server() == [Data(request_id, b"file"), DataEnded(request_id)]
    link.both(request_id, S.AWAITING)


@pytest.mark.parametrize("size", [0, 1, 65_535, 65_536, 200_000])
def test_bodies_both_ways(size: int) -> None:
    """A body of any size arrives whole, both ways, whichever way it is cut."""
    link, body = Link(), bytes(range(256)) * 1000
    body = body[:size]
    request_id = link.client.begin_request()
    link.client.send_params(request_id, CONTENTS)
    link.client.send_stdin(request_id, memoryview(body), end=True)
    received = b"".join(event.data for event in link.to_server() if isinstance(event, Stdin))
    assert received == body
    link.server.send_stdout(request_id, memoryview(received))
    assert b"".join(event.data for event in link.to_client() if isinstance(event, Stdout)) == body


def test_three_thousand_parameters() -> None:
    """Many parameters, and one of 40,000 bytes, arrive in their order."""
    pairs = [(b"HTTP_X_%d" % number, b"v" * (number % 300)) for number in range(3000)]
    pairs.insert(1500, (b"LONG", bytes(40_000)))
    link = Link()
    request_id = link.client.begin_request()
    link.client.send_params(request_id, pack_pairs([encode_pair(name, value) for name, value in pairs]))
    assert link.to_server()[1:] == [ParamsReceived(request_id, pairs)]


def test_many_requests_at_once() -> None:
    """Replies find their request by its id, in whatever order they come."""
    link = Link(ClientConnection(multiplexing=True))
    ids = [link.client.begin_request() for _ in range(3)]
    for request_id in ids:
        link.client.send_params(request_id, CONTENTS)
    for request_id in reversed(ids):
        link.client.send_stdin(request_id, b"%d" % request_id, end=True)
    link.to_server()
    for request_id in (2, 3, 1):
        link.server.send_stdout(request_id, b"of %d" % request_id)
    for request_id in (3, 1, 2):
        link.server.end_request(request_id)
    assert link.to_client() == [
        Stdout(2, b"of 2"),
        Stdout(3, b"of 3"),
        Stdout(1, b"of 1"),
        *(RequestEnded(request_id, 0, 0) for request_id in (3, 1, 2)),
    ]
    assert link.client.unfinished == 0


@pytest.mark.parametrize("status", list(ProtocolStatus)[1:])
def test_rejection(status: ProtocolStatus) -> None:
    """A rejected request is over, with the status that says why."""
    link = Link()
    request_id = link.client.begin_request()
    link.to_server()
    link.server.end_request(request_id, 0, status)
    assert link.to_client() == [RequestEnded(request_id, 0, status)]
    link.both(request_id, S.IDLE)


def test_end_before_the_body() -> None:
    """Where the response comes first, the rest of the body is sent, dropped, and only then is the id free."""
    link = Link()
    request_id = link.client.begin_request()
    link.client.send_params(request_id, CONTENTS)
    link.client.send_stdin(request_id, b"half")
    link.to_server()
    link.server.end_request(request_id)
    assert link.to_client() == [RequestEnded(request_id, 0, 0)]
    link.both(request_id, S.DISCARDING_STDIN)
    link.client.send_stdin(request_id, b"rest", end=True)
    assert link.to_server() == [Stray(request_id, RecordType.STDIN, 4), Stray(request_id, RecordType.STDIN, 0)]
    link.both(request_id, S.IDLE)


def test_end_that_crosses_the_body() -> None:
    """Where END_REQUEST and the rest of the body cross on the wire, both halves still agree in the end."""
    link = Link()
    request_id = link.client.begin_request()
    link.client.send_params(request_id, CONTENTS)
    link.to_server()
    link.server.end_request(request_id)
    link.client.send_stdin(request_id, b"body", end=True)
    assert link.client.state(request_id) is S.AWAITING
    link.to_server()
    link.to_client()
    link.both(request_id, S.IDLE)


def test_rejection_that_crosses_the_request() -> None:
    """A rejected request whose rest is on the way is dropped by the responder, and finished by the client."""
    link = Link()
    request_id = link.client.begin_request()
    link.to_server()
    link.server.end_request(request_id, 0, ProtocolStatus.OVERLOADED)
    link.client.send_params(request_id, CONTENTS)
    link.to_client()
    assert link.client.state(request_id) is S.DISCARDING_STDIN
    link.client.send_stdin(request_id, b"body", end=True)
    assert all(isinstance(event, Stray) for event in link.to_server())
    link.both(request_id, S.IDLE)
    assert link.client.begin_request() == 2
    assert link.to_server() == [RequestBegun(2, Role.RESPONDER, True)]


def test_abort() -> None:
    """An aborted request ends with the END_REQUEST that it still owes."""
    link = Link()
    request_id = link.client.begin_request()
    link.client.send_params(request_id, CONTENTS)
    link.to_server()
    link.client.abort_request(request_id)
    assert link.to_server() == [AbortRequested(request_id)]
    link.both(request_id, S.ABORTED)
    link.server.end_request(request_id)
    assert link.to_client() == [RequestEnded(request_id, 0, 0)]
    link.both(request_id, S.IDLE)


@pytest.mark.parametrize("body_complete", [True, False])
def test_abort_that_crosses_the_end(body_complete: bool) -> None:
    """An abort and an END_REQUEST that cross on the wire end the request once."""
    link = Link()
    request_id = link.client.begin_request()
    link.client.send_params(request_id, CONTENTS)
    link.client.send_stdin(request_id, b"body", end=body_complete)
    link.to_server()
    link.server.end_request(request_id)
    link.client.abort_request(request_id)
    assert link.to_server() == [Stray(request_id, RecordType.ABORT_REQUEST, 0)]
    assert link.to_client() == [RequestEnded(request_id, 0, 0)]
    link.both(request_id, S.IDLE)


def test_abort_of_a_body_that_is_still_owed() -> None:
    """A client that will not finish a body after the response aborts it, and both are done."""
    link = Link()
    request_id = link.client.begin_request()
    link.client.send_params(request_id, CONTENTS)
    link.to_server()
    link.server.end_request(request_id)
    link.to_client()
    link.client.abort_request(request_id)
    link.to_server()
    link.both(request_id, S.IDLE)


def test_values() -> None:
    """GET_VALUES and its answer belong to the connection."""
    link = Link()
    link.client.get_values([FCGI_MPXS_CONNS])
    assert link.to_server() == [ValuesRequested([FCGI_MPXS_CONNS])]
    link.server.send_values({FCGI_MPXS_CONNS: b"1"})
    assert link.to_client() == [ValuesReceived({FCGI_MPXS_CONNS: b"1"})]


def test_unknown_role() -> None:
    """A role that the responder does not know is rejected without being asked for."""
    link = Link()
    request_id = link.client.begin_request()
    unknown = link.client.data_to_send().replace(frames.begin(request_id), frames.begin(request_id, 9))
    assert link.server.receive_data(unknown) == []
    assert link.to_client() == [RequestEnded(request_id, 0, ProtocolStatus.UNKNOWN_ROLE)]
    link.both(request_id, S.IDLE)


def test_close() -> None:
    """Either half learns of the other's end."""
    link = Link()
    link.client.begin_request()
    link.to_server()
    assert link.client.receive_eof() == [Terminated(None)]
    assert link.server.receive_eof() == [Terminated(None)]
    assert not link.client.open
    assert not link.server.open
