"""Both halves of a connection: one input is given whole and in pieces, and must mean the same."""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from zlib import crc32

from fcgi_async.errors import LocalProtocolError, RemoteProtocolError
from fcgi_async.wire import events as told
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import RequestState
from tests.fuzz.inputs import pieces
from tests.fuzz.records import VERB, is_whole, split_records
from tests.wire import frames

Event = told.ClientEvent | told.ServerEvent
LONGEST_RECORD = 8 + 65_535 + 255
MAX_PARAMS = 300
PARAMS = [b"\1\1ab"]


class Half:
    """One half of a connection, driven and watched."""

    connection: ClientConnection | ServerConnection
    verbs: list[Callable[[int], object]]
    # the verbs that work on a connection that is over, and the types of records that this half may send
    always: frozenset[int]
    writes: frozenset[int]
    state: Callable[[int], tuple[object, ...]]
    check_event: Callable[[Event], None]
    check_memory: Callable[[], None]
    check_output: Callable[[int, int], None]

    def __init__(self) -> None:
        # everything that can be seen from outside, in its order
        self.seen: list[object] = []
        self.begun: set[int] = set()
        self.written = b""

    def receive(self, piece: bytes) -> None:
        """Take a part of the stream."""
        self._take(self.connection.receive_data(piece))
        held = sum(map(len, self.connection._parser._chunks))
        assert held < LONGEST_RECORD or not self.connection.open, "too much is held"
        self.check_memory()

    def call(self, number: int, operand: int) -> None:
        """Call a verb; one that is refused changes nothing and writes nothing."""
        before = self.state(operand)
        try:
            self.verbs[number % len(self.verbs)](operand)
        except LocalProtocolError as error:
            assert self.state(operand) == before, "what was refused changed something"
            self.seen.append(str(error))
        else:
            assert self.connection.open or number % len(self.verbs) in self.always, "a verb after the end"

    def end(self, fed: int) -> None:
        """Let the peer close, having sent so many bytes; look at all that was written."""
        was_open = self.connection.open
        events = self.connection.receive_eof()
        assert len(events) == was_open, "not one end"
        self._take(events)
        self.take_output()
        records = list(RecordParser().feed(self.written))
        assert {record_type for record_type, _, _ in records} <= self.writes
        assert all(len(content) == 8 for record_type, _, content in records if record_type in (1, 3, 11))
        self.check_output(len(self.written) - sum(8 + len(content) for _, _, content in records), fed)

    def take_output(self) -> None:
        """Take what was written."""
        self.written += self.connection.data_to_send()

    def _take(self, events: list[told.ClientEvent] | list[told.ServerEvent]) -> None:
        for event in events:
            if isinstance(event, told.Terminated):
                assert event is events[-1], "an event after the end"
                assert event.error is None or type(event.error) is RemoteProtocolError
                assert not self.connection.open
                self.seen.append(str(event.error))
            else:
                self.check_event(event)
                self.seen.append(event)
        assert self.connection.open or not self.seen or isinstance(self.seen[-1], str)


class ClientHalf(Half):
    """A client that checks what it is told against what it began."""

    connection: ClientConnection
    always = frozenset({11, 12, 13})
    writes = frozenset({1, 2, 4, 5, 8, 9})

    def __init__(self, multiplexing: bool) -> None:
        super().__init__()
        it = self.connection = ClientConnection(multiplexing)
        self._unanswered: set[int] = set()
        # those that ended in this read while the connection multiplexed, and in the last one
        self._ending: set[int] = set()
        self._just_ended: set[int] = set()
        self._probes = 0
        self.verbs = [
            lambda _: self._ask([frames.MPXS]),
            lambda _: self._ask([]),
            lambda _: self._begin(it.begin_request()),
            lambda _: self._begin(it.begin_request(Role.FILTER)),
            lambda _: self._begin(it.begin_request(keep_conn=False)),
            lambda _: self._begin(it.begin_request(Role.AUTHORIZER)),
            lambda i: it.send_params(i, PARAMS),
            lambda i: it.send_stdin(i, b"body"),
            lambda i: it.send_stdin(i, end=True),
            lambda i: it.send_data(i, b"file", end=True),
            lambda i: it.abort_request(i),
            lambda _: it.send_ahead(),
            lambda _: self.take_output(),
            lambda i: setattr(it, "multiplexing", i % 2 == 1),
            lambda _: self._ask([bytes(70_000)]),
            lambda i: it.send_params(i, [*PARAMS, b""]),
            lambda i: it.send_params(i, PARAMS, end=False),
            lambda i: self._begin(it.send_request(PARAMS, bytes(i % 3))),
            lambda i: self._begin(it.send_request(PARAMS * 2, keep_conn=i % 2 == 0)),
            lambda _: self._begin(it.send_request([*PARAMS, b""])),
        ]

    def state(self, request_id: int) -> tuple[object, ...]:
        """What a verb that is refused leaves as it is."""
        return self.connection.unfinished, self.connection.state(request_id), self.connection.probes_outstanding

    def check_event(self, event: Event) -> None:
        """Output belongs to a request without an end yet, an answer to a question."""
        if isinstance(event, told.Stdout | told.Stderr):
            assert event.data
            assert event.request_id in self._unanswered
        elif isinstance(event, told.RequestEnded):
            assert 0 <= event.protocol_status <= 3
            self._unanswered.remove(event.request_id)
            if self.connection.multiplexing:
                self._ending.add(event.request_id)
        elif isinstance(event, told.Stray):
            assert 0 < event.request_id <= max(self.begun)
            assert event.request_id not in self._unanswered
        else:
            assert isinstance(event, told.ValuesReceived)
            assert event.dropped >= 0
            self._probes -= 1 + event.dropped
            assert self._probes >= 0

    def check_memory(self) -> None:
        """The peer makes the client keep no request that was not begun."""
        it = self.connection
        self._just_ended, self._ending = self._ending, set()
        assert len(self._unanswered) <= it.unfinished <= len(self.begun)
        assert it.aborted + len(it._ids.just_ended) <= 2 * len(self.begun)
        assert not it.open or it.probes_outstanding == self._probes

    def check_output(self, over: int, fed: int) -> None:
        """Whole records; only a byte that was sent ahead may be over."""
        assert over == self.connection._ahead

    def _ask(self, names: list[bytes]) -> None:
        self.connection.get_values(names)
        self._probes += 1

    def _begin(self, request_id: int) -> None:
        assert 0 < request_id <= 65_535
        assert request_id not in self._unanswered, "an id was given twice"
        assert not self.connection.multiplexing or request_id not in self._just_ended, "an id was given too early"
        self.begun.add(request_id)
        self._unanswered.add(request_id)


class ServerHalf(Half):
    """A responder that checks what it is told against the life of a request."""

    connection: ServerConnection
    always = frozenset({9})
    writes = frozenset({3, 6, 7, 10, 11})

    def __init__(self) -> None:
        super().__init__()
        it = self.connection = ServerConnection(MAX_PARAMS)
        self._live: set[int] = set()
        # those whose parameters are complete
        self._serving: set[int] = set()
        # how many bytes the verbs have written
        self._wrote = 0
        self.verbs = [
            lambda i: it.send_stdout(i, b"output"),
            lambda i: it.send_stderr(i, b"message"),
            lambda i: it.end_output(i),
            self._end,
            lambda i: self._end(i, ProtocolStatus.OVERLOADED),
            lambda _: it.send_values({frames.MPXS: b"1"}),
            lambda i: it.end_output(i, RecordType.STDERR),
            lambda i: it.end_output(i, RecordType.STDIN),
            lambda i: it.send_stdout(i, b""),
            lambda _: self.take_output(),
            lambda i: it.end_request(i, 2**32),
            lambda _: it.send_values({bytes(70_000): b""}),
        ]

    def call(self, number: int, operand: int) -> None:
        before = self._size()
        super().call(number, operand)
        self._wrote += self._size() - before

    def state(self, request_id: int) -> tuple[object, ...]:
        """What a verb that is refused leaves as it is."""
        return self._size(), self.connection.state(request_id)

    def check_event(self, event: Event) -> None:
        """A request is begun, gets its parameters, and its streams in their order."""
        if isinstance(event, told.RequestBegun):
            assert event.request_id not in self._live
            assert isinstance(event.role, Role)
            self.begun.add(event.request_id)
            self._live.add(event.request_id)
            self._serving.discard(event.request_id)
        elif isinstance(event, told.ParamsReceived):
            assert event.request_id in self._live - self._serving
            assert sum(len(name) + len(value) for name, value in event.params) <= MAX_PARAMS
            self._serving.add(event.request_id)
        elif isinstance(event, told.Stdin | told.StdinEnded | told.Data | told.DataEnded):
            assert event.request_id in self._live & self._serving
        elif isinstance(event, told.AbortRequested):
            assert event.request_id in self._live
        else:
            assert isinstance(event, told.Stray | told.ValuesRequested)

    def check_memory(self) -> None:
        """Of each request that is not over no more is kept than its parameters."""
        requests = self.connection._requests
        assert self._live <= set(requests) <= self.begun
        for request in requests.values() if self.connection.open else ():
            assert len(request.params) <= (MAX_PARAMS if request.state is RequestState.PARAMS else 0)

    def check_output(self, over: int, fed: int) -> None:
        """Whole records, and of itself no more than twice what it was told."""
        assert not over
        assert len(self.written) <= 2 * fed + self._wrote, "more was answered than asked"

    def _end(self, request_id: int, protocol_status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE) -> None:
        self.connection.end_request(request_id, 7, protocol_status)
        self._live.remove(request_id)

    def _size(self) -> int:
        return len(self.written) + sum(map(len, self.connection._outgoing))


def drive_half(data: bytes, make: Callable[[], Half]) -> tuple[bool, str]:
    """Give an input to a half as it is and cut into pieces, and compare.

    Returns:
        Whether the first record was taken, and how the connection ended.
    """
    units, number = split_records(data), crc32(data)
    whole, cut = make(), make()
    fed, past_first = 0, False
    for is_verb, run in groupby(units, lambda unit: unit[0] == VERB and len(unit) == 8):
        records = list(run)
        if is_verb:
            for unit in records:
                whole.call(unit[1], unit[2] << 8 | unit[3])
                cut.call(unit[1], unit[2] << 8 | unit[3])
            continue
        # what ended in the last read matters to the verbs after it: both get the last record by itself
        stretches = [records[:1], records[1:-1], records[1:][-1:]] if not fed else [records[:-1], records[-1:]]
        for stretch in filter(None, map(b"".join, stretches)):
            whole.receive(stretch)
            for piece in pieces(stretch, number):
                cut.receive(piece)
            past_first |= not fed and whole.connection.open and is_whole(records[0])
            fed += len(stretch)
    whole.end(fed)
    cut.end(fed)
    assert (whole.seen, whole.written) == (cut.seen, cut.written), "the cuts make a difference"
    last = str(whole.seen[-1])
    if last == "None" or "the middle of a record" in last:
        # it was open to the end
        assert (last == "None") == (not units or is_whole(units[-1])), "not as many bytes as the records have"
        return past_first, "read to the end" if last == "None" else "cut in a record"
    if any("does not speak" in said for said in whole.seen if isinstance(said, str)):
        assert any(unit[0] not in (1, VERB) for unit in units if len(unit) >= 8), "read beside the records"
    return past_first, "refused"
