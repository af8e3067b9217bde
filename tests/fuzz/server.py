"""Target: the responder's half, which answers some records by itself and others through its verbs."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.events import (
    AbortRequested,
    ClientEvent,
    Data,
    DataEnded,
    ParamsReceived,
    RequestBegun,
    ServerEvent,
    Stdin,
    StdinEnded,
    Stray,
    ValuesRequested,
)
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import RequestState
from tests.fuzz.connections import Half, check_held, drive_half, read_back
from tests.fuzz.record_grammar import RECORDS, verb
from tests.fuzz.target import Outcome, Target
from tests.wire import frames

STDOUT, STDERR, END_STDOUT, END, END_REFUSED, VALUES = 0, 1, 2, 3, 4, 5
MAX_PARAMS = 300
WRITTEN_TYPES = {3, 6, 7, 10, 11}
CODE = ("server.py", "parser.py", "records.py:decode_pairs", "records.py:_decode_length", "states.py:advance")


class ServerHalf(Half):
    """A responder that checks what it is told against the life of a request."""

    def __init__(self) -> None:
        self.connection: ServerConnection = ServerConnection(MAX_PARAMS)
        self._live: set[int] = set()
        # those whose parameters are complete
        self._serving: set[int] = set()
        self._events = 0
        self._begun = 0
        # how many bytes the verbs have written
        self._wrote = 0
        self._written: list[bytes] = []
        self._verbs: dict[int, Callable[[int], object]] = {
            STDOUT: lambda i: self.connection.send_stdout(i, b"output"),
            STDERR: lambda i: self.connection.send_stderr(i, b"message"),
            END_STDOUT: lambda i: self.connection.end_output(i),
            END: self._end,
            END_REFUSED: lambda i: self._end(i, ProtocolStatus.OVERLOADED),
            VALUES: lambda _: self.connection.send_values({frames.MPXS: b"1"}),
            6: lambda i: self.connection.end_output(i, RecordType.STDERR),
            7: lambda i: self.connection.end_output(i, RecordType.STDIN),
            8: lambda i: self.connection.send_stdout(i, b""),
            9: lambda _: self._written.append(self.connection.data_to_send()),
            10: lambda i: self.connection.end_request(i, 2**32),
            11: lambda _: self.connection.send_values({bytes(70_000): b""}),
        }

    def call(self, number: int, operand: int) -> None:
        """Call a verb; one that is refused writes nothing."""
        before = self._size()
        try:
            self._verbs.get(number, self._verbs[END])(operand)
        except LocalProtocolError:
            assert self._size() == before, "what was refused was written"
            raise
        if number != 9:
            self._wrote += self._size() - before

    def check_event(self, event: ClientEvent | ServerEvent) -> None:
        """A request is begun, gets its parameters, and its streams in their order."""
        self._events += 1
        if isinstance(event, RequestBegun):
            assert event.request_id not in self._live
            assert isinstance(event.role, Role)
            self._begun += 1
            self._live.add(event.request_id)
            self._serving.discard(event.request_id)
        elif isinstance(event, ParamsReceived):
            assert event.request_id in self._live - self._serving
            assert sum(len(name) + len(value) for name, value in event.params) <= MAX_PARAMS
            self._serving.add(event.request_id)
        elif isinstance(event, Stdin | StdinEnded | Data | DataEnded):
            assert event.request_id in self._live & self._serving
        elif isinstance(event, AbortRequested):
            assert event.request_id in self._live
        else:
            assert isinstance(event, Stray | ValuesRequested)

    def check_memory(self) -> None:
        """Less than a record is kept, and of each request that is not over its parameters."""
        check_held(self.connection)
        requests = self.connection._requests
        assert self._live <= set(requests)
        assert len(requests) <= self._begun
        if self.connection.open:
            for request in requests.values():
                assert len(request.params) <= (MAX_PARAMS if request.state is RequestState.PARAMS else 0)

    def check_output(self, fed: int) -> None:
        """All that was written are records of a responder; of itself it says no more than twice what it was told."""
        written = b"".join((*self._written, self.connection.data_to_send()))
        records, over = read_back(written)
        assert not over
        assert {record_type for record_type, _, _ in records} <= WRITTEN_TYPES
        assert all(len(content) == 8 for record_type, _, content in records if record_type in (3, 11))
        assert len(written) <= 2 * fed + self._wrote, "more was answered than asked"

    def _end(self, request_id: int, protocol_status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE) -> None:
        self.connection.end_request(request_id, 7, protocol_status)
        self._live.remove(request_id)

    def _size(self) -> int:
        return sum(map(len, self.connection._outgoing))


PAIRS = frames.pair(b"SCRIPT_FILENAME", b"/srv/index.php") + frames.pair(b"QUERY_STRING", b"")
OPENING = frames.begin(1) + frames.params(1, PAIRS) + frames.params(1)
FILTER = frames.begin(2, Role.FILTER) + frames.params(2, PAIRS) + frames.params(2)
SEEDS = (
    OPENING + frames.stdin(1) + verb(STDOUT, 1) + verb(END, 1),
    OPENING
    + frames.stdin(1, b"body")
    + verb(STDERR, 1)
    + frames.stdin(1)
    + verb(END_STDOUT, 1)
    + verb(END, 1)
    + OPENING,
    frames.begin(1) + frames.params(1, PAIRS[:9]) + frames.params(1, PAIRS[9:]) + frames.params(1) + frames.stdin(1),
    frames.begin(1, Role.AUTHORIZER) + frames.params(1, PAIRS) + frames.params(1) + verb(END, 1),
    FILTER + frames.stdin(2, b"body") + frames.stdin(2) + frames.data(2, b"file") + frames.data(2) + verb(END, 2),
    FILTER + verb(END, 2) + frames.stdin(2, b"rest") + frames.stdin(2) + frames.data(2, b"rest") + frames.data(2),
    OPENING + verb(END, 1) + frames.stdin(1, b"rest") + frames.stdin(1),
    OPENING + verb(END, 1) + frames.stdin(1, b"rest") + frames.abort(1),
    OPENING + frames.abort(1) + frames.stdin(1, b"late") + verb(END, 1),
    OPENING + FILTER + frames.stdin(2, b"of 2") + frames.stdin(1, b"of 1") + frames.stdin(1) + verb(END, 1),
    frames.begin(1) + verb(END_REFUSED, 1) + frames.params(1, PAIRS) + frames.params(1) + frames.stdin(1),
    frames.begin(1, 9) + frames.params(1, PAIRS) + OPENING,
    frames.get_values(frames.MPXS, b"FCGI_MAX_REQS") + verb(VALUES) + OPENING,
    frames.record(12, 0) + frames.record(255, 0, bytes(8)) + OPENING,
    frames.begin(1) + frames.params(1, bytes(200)) * 2,
    frames.record(5, 1, b"body", padding=bytes(255)) + OPENING,
)


def drive_server(data: bytes) -> Outcome:
    """Give an input to a responder."""
    return drive_half(data, ServerHalf)


SERVER = Target("server", "record", drive_server, RECORDS, SEEDS, CODE)
