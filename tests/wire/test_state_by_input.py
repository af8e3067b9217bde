"""Every state with every input: what the table says happens on both halves, and nothing else does."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import Stray, Terminated, ValuesRequested
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import RESPONSE_COMPLETE, RequestState, advance
from fcgi_async.wire.states import Input as In
from fcgi_async.wire.states import RequestState as S
from tests.wire import frames

CLIENT_VERBS: dict[In, Callable[[ClientConnection, int], object]] = {
    In.PARAMS: lambda client, request_id: client.send_params(request_id, [b"pairs"], end=False),
    In.STDIN: lambda client, request_id: client.send_stdin(request_id, b"body"),
    In.DATA: lambda client, request_id: client.send_data(request_id, b"file"),
    In.ABORT: lambda client, request_id: client.abort_request(request_id),
}
SERVER_VERBS: dict[In, Callable[[ServerConnection, int], object]] = {
    In.OUTPUT: lambda server, request_id: server.send_stdout(request_id, b"output"),
    In.END: lambda server, request_id: server.end_request(request_id),
}
STREAM_ENDS: dict[RecordType, Callable[[ClientConnection, int], object]] = {
    RecordType.PARAMS: lambda client, request_id: client.send_params(request_id, []),
    RecordType.STDIN: lambda client, request_id: client.send_stdin(request_id, end=True),
    RecordType.DATA: lambda client, request_id: client.send_data(request_id, end=True),
}
# which stream's end the table's END_STREAM is, where a request stands
ENDS = {
    S.PARAMS: RecordType.PARAMS,
    S.STDIN: RecordType.STDIN,
    S.DISCARDING_STDIN: RecordType.STDIN,
    S.DATA: RecordType.DATA,
    S.DISCARDING_DATA: RecordType.DATA,
}


def reach(state: RequestState, role: Role) -> tuple[ClientConnection, ServerConnection]:
    """Bring request 1 of a linked pair into a state."""
    client, server = ClientConnection(), ServerConnection()

    def exchange() -> None:
        server.receive_data(client.data_to_send())
        client.receive_data(server.data_to_send())

    client.begin_request(role)
    if state not in (S.PARAMS, S.ABORTED):
        client.send_params(1, [b"\x01\x01ab"])
    if state in (S.DATA, S.DISCARDING_DATA) or (state is S.AWAITING and role is not Role.AUTHORIZER):
        client.send_stdin(1, end=True)
    if state is S.AWAITING and role is Role.FILTER:
        client.send_data(1, end=True)
    if state is S.ABORTED:
        client.abort_request(1)
    exchange()
    if state in (S.DISCARDING_STDIN, S.DISCARDING_DATA):
        server.end_request(1)
        exchange()
    if state is S.IDLE:
        client.abort_request(1)
        exchange()
        server.end_request(1)
        exchange()
    assert client.state(1) is server.state(1) is state
    return client, server


# an Authorizer has no body, and only a Filter a file
REACHABLE = [
    (state, role)
    for state in RequestState
    for role in Role
    if not (role is Role.AUTHORIZER and state in (S.STDIN, S.DISCARDING_STDIN))
    if not (role is not Role.FILTER and state in (S.DATA, S.DISCARDING_DATA))
]


@pytest.mark.parametrize(("state", "role"), REACHABLE)
@pytest.mark.parametrize("what", CLIENT_VERBS)
def test_client_verbs_follow_the_table(state: RequestState, role: Role, what: In) -> None:
    """In every state a verb of the client does what the table says on both halves, or is refused."""
    client, server = reach(state, role)
    following = advance(state, what, role)
    if following is None:
        with pytest.raises(LocalProtocolError):
            CLIENT_VERBS[what](client, 1)
        assert client.data_to_send() == b""
        assert client.state(1) is state
    else:
        CLIENT_VERBS[what](client, 1)
        assert client.state(1) is following
        server.receive_data(client.data_to_send())
        assert server.state(1) is following
    assert client.open
    assert server.open


@pytest.mark.parametrize(("state", "role"), REACHABLE)
@pytest.mark.parametrize("stream", STREAM_ENDS)
def test_stream_ends_follow_the_table(state: RequestState, role: Role, stream: RecordType) -> None:
    """In every state the end of the open stream leads to the role's next; the end of another is refused."""
    client, server = reach(state, role)
    following = advance(state, In.END_STREAM, role) if ENDS.get(state) is stream else None
    if following is None:
        with pytest.raises(LocalProtocolError):
            STREAM_ENDS[stream](client, 1)
        assert client.data_to_send() == b""
        assert client.state(1) is state
    else:
        STREAM_ENDS[stream](client, 1)
        assert client.state(1) is following
        server.receive_data(client.data_to_send())
        assert server.state(1) is following


@pytest.mark.parametrize(("state", "role"), REACHABLE)
@pytest.mark.parametrize("what", SERVER_VERBS)
def test_server_verbs_follow_the_table(state: RequestState, role: Role, what: In) -> None:
    """In every state a verb of the responder does what the table says on both halves, or is refused."""
    client, server = reach(state, role)
    following = advance(state, what, role)
    if following is None:
        with pytest.raises(LocalProtocolError):
            SERVER_VERBS[what](server, 1)
        assert server.data_to_send() == b""
        assert server.state(1) is state
    else:
        SERVER_VERBS[what](server, 1)
        assert server.state(1) is following
        client.receive_data(server.data_to_send())
        assert client.state(1) is following
    assert client.open
    assert server.open


RESPONDER_RECORDS = {In.OUTPUT: frames.stdout(1, b"output"), In.END: frames.end(1)}


@pytest.mark.parametrize(("state", "role"), REACHABLE)
@pytest.mark.parametrize("what", RESPONDER_RECORDS)
def test_client_receives_by_the_table(state: RequestState, role: Role, what: In) -> None:
    """In every state a responder's record does what the table says, is a stray after the response, or a fault."""
    client, _ = reach(state, role)
    following = advance(state, what, role)
    events = client.receive_data(RESPONDER_RECORDS[what])
    if following is not None:
        assert client.state(1) is following
    elif state is S.PARAMS:
        assert not client.open
        assert isinstance(events[0], Terminated)
    else:
        assert [type(event) for event in events] == [Stray]
    assert client.open or client.state(1) is state


CLIENT_RECORDS = {
    (In.BEGIN, None): frames.begin(1),
    (In.PARAMS, None): frames.params(1, b"\x01\x01ab"),
    (In.STDIN, None): frames.stdin(1, b"body"),
    (In.DATA, None): frames.data(1, b"file"),
    (In.ABORT, None): frames.abort(1),
    (In.END_STREAM, RecordType.PARAMS): frames.params(1),
    (In.END_STREAM, RecordType.STDIN): frames.stdin(1),
    (In.END_STREAM, RecordType.DATA): frames.data(1),
}


@pytest.mark.parametrize(("state", "role"), REACHABLE)
@pytest.mark.parametrize(("what", "stream"), CLIENT_RECORDS)
def test_server_receives_by_the_table(state: RequestState, role: Role, what: In, stream: RecordType | None) -> None:
    """In every state a client's record does what the table says, is a stray of a request that is over, or a fault."""
    _, server = reach(state, role)
    following = advance(state, what, role) if what is not In.END_STREAM or ENDS.get(state) is stream else None
    events = server.receive_data(CLIENT_RECORDS[what, stream])
    if following is not None:
        role_kept = what is not In.BEGIN or role is Role.RESPONDER
        assert server.open
        assert server.state(1) is following or not role_kept
    elif state is S.IDLE or (state is S.ABORTED and what is not In.BEGIN):
        assert [type(event) for event in events] == [Stray]
        assert server.state(1) is state
    else:
        assert [type(event) for event in events] == [Terminated]
        assert not server.open
        assert server.state(1) is state


# both halves, at random


class LinkedPair(RuleBasedStateMachine):
    """Verbs of both halves in any order, with their bytes on the way: nothing legal is ever taken for a fault."""

    def __init__(self) -> None:
        super().__init__()
        self.client = ClientConnection(multiplexing=True)
        self.server = ServerConnection()
        self.upstream = b""
        self.downstream = b""
        self.asked = 0

    ids = st.integers(1, 4)

    def try_client(self, verb: Callable[[], object]) -> None:
        before = [self.client.state(i) for i in range(5)]
        try:
            verb()
        except LocalProtocolError:
            assert self.client.data_to_send() == b""
            assert [self.client.state(i) for i in range(5)] == before
        self.upstream += self.client.data_to_send()

    def try_server(self, verb: Callable[[], object]) -> None:
        before = [self.server.state(i) for i in range(5)]
        try:
            verb()
        except LocalProtocolError:
            assert self.server.data_to_send() == b""
            assert [self.server.state(i) for i in range(5)] == before
        self.downstream += self.server.data_to_send()

    @precondition(lambda self: self.client.unfinished < 4)
    @rule(role=st.sampled_from(Role))
    def begin(self, role: Role) -> None:
        self.try_client(lambda: self.client.begin_request(role))

    @rule(request_id=ids, end=st.booleans())
    def send_params(self, request_id: int, end: bool) -> None:
        self.try_client(lambda: self.client.send_params(request_id, [b"\x01\x02abb"], end=end))

    @rule(request_id=ids, body=st.sampled_from([b"", b"body"]), end=st.booleans())
    def send_stdin(self, request_id: int, body: bytes, end: bool) -> None:
        self.try_client(lambda: self.client.send_stdin(request_id, body, end=end))

    @rule(request_id=ids, body=st.sampled_from([b"", b"file"]), end=st.booleans())
    def send_data(self, request_id: int, body: bytes, end: bool) -> None:
        self.try_client(lambda: self.client.send_data(request_id, body, end=end))

    @rule(request_id=ids)
    def abort(self, request_id: int) -> None:
        self.try_client(lambda: self.client.abort_request(request_id))

    @rule()
    def get_values(self) -> None:
        self.asked += 1
        self.try_client(lambda: self.client.get_values([b"NAME"]))

    @rule(request_id=ids, record_type=st.sampled_from([RecordType.STDOUT, RecordType.STDERR]))
    def output(self, request_id: int, record_type: RecordType) -> None:
        self.try_server(lambda: self.server.send_stdout(request_id, b"out"))
        self.try_server(lambda: self.server.send_stderr(request_id, b"err"))
        self.try_server(lambda: self.server.end_output(request_id, record_type))

    @rule(request_id=ids, status=st.sampled_from(ProtocolStatus))
    def end(self, request_id: int, status: ProtocolStatus) -> None:
        self.try_server(lambda: self.server.end_request(request_id, 1, status))

    @rule(size=st.integers(1, 60))
    def deliver_up(self, size: int) -> None:
        piece, self.upstream = self.upstream[:size], self.upstream[size:]
        for event in self.server.receive_data(piece):
            assert not isinstance(event, Terminated), event.error
            if isinstance(event, ValuesRequested):
                self.server.send_values({b"NAME": b"value"})
        self.downstream += self.server.data_to_send()

    @rule(size=st.integers(1, 60))
    def deliver_down(self, size: int) -> None:
        piece, self.downstream = self.downstream[:size], self.downstream[size:]
        for event in self.client.receive_data(piece):
            assert not isinstance(event, Terminated), event.error

    @invariant()
    def agree_when_nothing_is_on_the_way(self) -> None:
        """With nothing on the way both halves see every request in the same state.

        The one exception is a request that was rejected among its parameters while the client had gone on.
        """
        if not self.upstream and not self.downstream:
            assert self.client.probes_outstanding == 0
            for request_id in range(1, 5):
                ours, theirs = self.client.state(request_id), self.server.state(request_id)
                assert ours is theirs or (ours in RESPONSE_COMPLETE and theirs is S.IDLE), (request_id, ours, theirs)

    def teardown(self) -> None:
        """Whatever happened, what is on the way brings both halves into the same states."""
        while self.upstream or self.downstream:
            self.deliver_up(1 << 20)
            self.deliver_down(1 << 20)
        self.agree_when_nothing_is_on_the_way()


TestLinkedPair = LinkedPair.TestCase
