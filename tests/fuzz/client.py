"""Target: the client's half, with requests in any state and probes on the way."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import (
    ClientEvent,
    RequestEnded,
    ServerEvent,
    Stderr,
    Stdout,
    Stray,
    ValuesReceived,
)
from fcgi_async.wire.spec import Role
from tests.fuzz.connections import Half, check_held, drive_half, read_back
from tests.fuzz.record_grammar import RECORDS, verb
from tests.fuzz.target import Outcome, Target
from tests.wire import frames
from tests.wire.test_transcripts import TRANSCRIPTS

ASK_MPXS, ASK_NOTHING, BEGIN, BEGIN_FILTER, BEGIN_LAST, BEGIN_AUTHORIZER = 0, 1, 2, 3, 4, 5
PARAMS, STDIN, STDIN_END, DATA_END, ABORT, AHEAD, TAKE, WHOLE = 6, 7, 8, 9, 10, 11, 12, 17
CODE = ("client.py", "parser.py", "records.py:decode_pairs", "records.py:_decode_length", "states.py:advance")
WRITTEN_TYPES = {1, 2, 4, 5, 8, 9}


class ClientHalf(Half):
    """A client that checks what it is told against what it began."""

    def __init__(self, multiplexing: bool) -> None:
        self.connection: ClientConnection = ClientConnection(multiplexing)
        self._begun: set[int] = set()
        self._unanswered: set[int] = set()
        # those that ended in this read while the connection multiplexed, and in the last one
        self._ending: set[int] = set()
        self._just_ended: set[int] = set()
        self._probes = 0
        self._written: list[bytes] = []
        self._verbs: dict[int, Callable[[int], object]] = {
            ASK_MPXS: lambda _: self._ask([frames.MPXS]),
            ASK_NOTHING: lambda _: self._ask([]),
            BEGIN: lambda _: self._begin(Role.RESPONDER),
            BEGIN_FILTER: lambda _: self._begin(Role.FILTER),
            BEGIN_LAST: lambda _: self._begin(Role.RESPONDER, keep_conn=False),
            BEGIN_AUTHORIZER: lambda _: self._begin(Role.AUTHORIZER),
            PARAMS: lambda i: self.connection.send_params(i, [b"\1\1ab"]),
            STDIN: lambda i: self.connection.send_stdin(i, b"body"),
            STDIN_END: lambda i: self.connection.send_stdin(i, end=True),
            DATA_END: lambda i: self.connection.send_data(i, b"file", end=True),
            ABORT: lambda i: self.connection.abort_request(i),
            AHEAD: lambda _: self.connection.send_ahead(),
            TAKE: lambda _: self._written.append(self.connection.data_to_send()),
            13: lambda i: self._switch(i % 2 == 1),
            14: lambda _: self._ask([bytes(70_000)]),
            15: lambda i: self.connection.send_params(i, [b"\1\1ab", b""]),
            16: lambda i: self.connection.send_params(i, [b"\1\1ab"], end=False),
            WHOLE: lambda i: self._begun_as(self.connection.send_request([b"\1\1ab"], bytes(i % 3))),
            18: lambda i: self._begun_as(self.connection.send_request([b"\1\1ab"] * 2, keep_conn=i % 2 == 0)),
            19: lambda _: self.connection.send_request([b"\1\1ab", b""]),
        }

    def call(self, number: int, operand: int) -> None:
        """Call a verb; one that may write nothing now is refused, and changes nothing."""
        before = self.connection.unfinished, self.connection.state(operand), self.connection.probes_outstanding
        try:
            self._verbs.get(number, self._verbs[BEGIN])(operand)
        except LocalProtocolError:
            after = self.connection.unfinished, self.connection.state(operand), self.connection.probes_outstanding
            assert after == before, "what was refused changed something"
            raise
        assert self.connection.probes_outstanding == self._probes

    def check_event(self, event: ClientEvent | ServerEvent) -> None:
        """Output belongs to a request without an end yet, an answer to a question."""
        if isinstance(event, Stdout | Stderr):
            assert event.data
            assert event.request_id in self._unanswered
        elif isinstance(event, RequestEnded):
            assert 0 <= event.protocol_status <= 3
            self._unanswered.remove(event.request_id)
            if self.connection.multiplexing:
                self._ending.add(event.request_id)
        elif isinstance(event, Stray):
            assert 0 < event.request_id <= max(self._begun)
            assert event.request_id not in self._unanswered
        else:
            assert isinstance(event, ValuesReceived)
            assert event.dropped >= 0
            self._probes -= 1 + event.dropped
            assert self._probes >= 0

    def check_memory(self) -> None:
        """The peer makes the client keep less than a record, and no request that was not begun."""
        check_held(self.connection)
        self._just_ended, self._ending = self._ending, set()
        assert len(self._unanswered) <= self.connection.unfinished <= len(self._begun)
        assert len(self.connection.aborted) + len(self.connection._just_ended) <= 2 * len(self._begun)
        assert not self.connection.open or self.connection.probes_outstanding == self._probes

    def check_output(self, fed: int) -> None:
        """All that was written are records of a client; only a byte that was sent ahead may be over."""
        written = b"".join((*self._written, self.connection.data_to_send()))
        records, over = read_back(written)
        assert {record_type for record_type, _, _ in records} <= WRITTEN_TYPES
        assert over is self.connection._ahead

    def _ask(self, names: list[bytes]) -> None:
        self.connection.get_values(names)
        self._probes += 1

    def _begin(self, role: Role, keep_conn: bool = True) -> None:
        self._begun_as(self.connection.begin_request(role, keep_conn=keep_conn))

    def _begun_as(self, request_id: int) -> None:
        assert 0 < request_id <= 65_535
        assert request_id not in self._unanswered, "an id was given twice"
        assert not self.connection.multiplexing or request_id not in self._just_ended, "an id was given too early"
        self._begun.add(request_id)
        self._unanswered.add(request_id)

    def _switch(self, multiplexing: bool) -> None:
        self.connection.multiplexing = multiplexing


def _seeds(multiplexing: bool) -> tuple[bytes, ...]:
    seeds = []
    for transcript in TRANSCRIPTS.values():
        verbs = [verb(ASK_MPXS)]
        for request_id in (1, 2) if transcript.multiplexing else (1,):
            verbs += [verb(BEGIN), verb(PARAMS, request_id), verb(STDIN_END, request_id)]
        verbs.append(verb(ASK_MPXS if transcript.tail_names else ASK_NOTHING))
        if transcript.multiplexing <= multiplexing:
            seeds.append(b"".join((*verbs, *transcript.sent)))
    authorized = b"".join(verb(BEGIN_AUTHORIZER) + verb(PARAMS, request_id) for request_id in (1, 2))
    answer = frames.stdout(1, b"x") + frames.end(1)
    seeds += [
        verb(BEGIN_FILTER) + verb(PARAMS, 1) + verb(STDIN, 1) + verb(STDIN_END, 1) + verb(DATA_END, 1) + answer,
        verb(BEGIN_FILTER) + verb(PARAMS, 1) + answer + verb(STDIN_END, 1) + verb(DATA_END, 1) + verb(BEGIN),
        verb(BEGIN_LAST) + verb(PARAMS, 1) + verb(STDIN_END, 1) + answer + verb(BEGIN),
        verb(BEGIN) + verb(PARAMS, 1) + verb(ABORT, 1) + answer + frames.end(1) + verb(BEGIN),
        (verb(BEGIN) + verb(PARAMS, 1) + verb(STDIN_END, 1) + answer) * 2,
        (verb(WHOLE, 1) + verb(ASK_NOTHING) + answer) * 2 + verb(18, 1) + frames.end(1),
        authorized + frames.end(1) + frames.end(2) + verb(BEGIN) * 2,
        (verb(AHEAD) + verb(TAKE)) * 2 + verb(BEGIN) + verb(TAKE) + verb(PARAMS, 1) + answer,
    ]
    return tuple(seeds)


def drive_alone(data: bytes) -> Outcome:
    """Give an input to a client that has one request at a time."""
    return drive_half(data, lambda: ClientHalf(False))


def drive_multiplexing(data: bytes) -> Outcome:
    """Give an input to a client that has many requests at once."""
    return drive_half(data, lambda: ClientHalf(True))


CLIENT = Target("client", "record", drive_alone, RECORDS, _seeds(False), CODE)
MULTIPLEXING = Target("client, multiplexing", "record", drive_multiplexing, RECORDS, _seeds(True), CODE)
