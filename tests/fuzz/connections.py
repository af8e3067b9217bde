"""What the targets that are halves of a connection share: the same input in two ways, and one outcome."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from itertools import groupby
from typing import Protocol

from fcgi_async.errors import LocalProtocolError, RemoteProtocolError
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import ClientEvent, ServerEvent, Terminated
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import HEADER_LENGTH
from tests.fuzz.record_grammar import VERB, VERBS, is_whole, split
from tests.fuzz.target import Outcome, pieces, salt

LONGEST_RECORD = 8 + 65_535 + 255


class Half(Protocol):
    """One half, driven and watched."""

    connection: ClientConnection | ServerConnection

    def call(self, number: int, operand: int) -> None:
        """Call the verb of this number; `LocalProtocolError` says that it is not allowed now."""

    def check_event(self, event: ClientEvent | ServerEvent) -> None:
        """Check one event against all before it."""

    def check_memory(self) -> None:
        """Check what the half keeps between two calls."""

    def check_output(self, fed: int) -> None:
        """Check all that the half has written, having read so many bytes."""


class Play:
    """One input, given to one half."""

    def __init__(self, half: Half) -> None:
        self.half = half
        self.past_first = False
        # everything that can be seen from outside, in its order
        self.seen: list[object] = []
        self.shape: set[Hashable] = set()
        self._kind: type[ClientEvent | ServerEvent] | None = None

    def receive(self, piece: bytes) -> None:
        """Feed a part of the stream."""
        connection = self.half.connection
        was_open = connection.open
        events = connection.receive_data(piece)
        assert was_open or not events, "events after the end"
        self._take(events)
        self.half.check_memory()

    def call(self, number: int, operand: int) -> None:
        """Call a verb; on a connection that is over nothing may work."""
        was_open = self.half.connection.open
        try:
            self.half.call(number, operand)
        except LocalProtocolError as error:
            self.seen.append(str(error))
        self.shape.add((min(number, VERBS), self._kind, was_open))

    def end(self) -> None:
        """Let the peer close."""
        was_open = self.half.connection.open
        events = self.half.connection.receive_eof()
        assert len(events) == was_open, "not one end"
        self._take(events)

    def _take(self, events: list[ClientEvent] | list[ServerEvent]) -> None:
        for event in events:
            assert self._kind is not Terminated, "an event behind the end"
            self.shape.add((self._kind, type(event)))
            self._kind = type(event)
            if isinstance(event, Terminated):
                assert event.error is None or type(event.error) is RemoteProtocolError
                self.seen.append(str(event.error))
            else:
                self.half.check_event(event)
                self.seen.append(event)
        assert self.half.connection.open is (self._kind is not Terminated)


def drive_half(data: bytes, make: Callable[[], Half]) -> Outcome:
    """Give an input to a half as it is and cut into pieces, and compare."""
    units = split(data)
    number = salt(data)
    whole, cut = Play(make()), Play(make())
    fed = 0
    for is_verb, run in groupby(units, lambda unit: unit[0] == VERB and len(unit) == 8):
        records = list(run)
        if is_verb:
            for unit in records:
                for play in (whole, cut):
                    play.call(unit[1], unit[2] << 8 | unit[3])
            continue
        # what ended in the last read matters to the verbs behind it: both get the last record by itself
        stretches = [records[:1], records[1:-1], records[1:][-1:]] if not fed else [records[:-1], records[-1:]]
        for stretch in map(b"".join, stretches):
            if stretch:
                whole.receive(stretch)
                for piece in pieces(stretch, number):
                    cut.receive(piece)
                if not fed:
                    whole.past_first = whole.half.connection.open and is_whole(records[0])
                fed += len(stretch)
    for play in (whole, cut):
        play.end()
        play.half.check_output(fed)
    _check_framing(units, whole)
    assert whole.seen == cut.seen, "the cuts make a difference"
    return Outcome(whole.past_first, frozenset(whole.shape))


def check_held(connection: ClientConnection | ServerConnection) -> None:
    """A connection keeps less than one record of the stream, or, once it is over, what it had then."""
    parser = connection._parser
    assert sum(map(len, parser._chunks)) < LONGEST_RECORD or not connection.open, "too much is held"


def read_back(written: bytes) -> tuple[list[tuple[int, int, bytes]], bool]:
    """The records in what a half wrote, and whether something is left over."""
    parser = RecordParser()
    return list(parser.feed(written)), parser.mid_record


def _check_framing(units: Sequence[bytes], play: Play) -> None:
    if any("does not speak" in said for said in play.seen if isinstance(said, str)):
        assert any(unit[0] not in (1, VERB) for unit in units if len(unit) >= HEADER_LENGTH), "read beside the records"
    # how a connection ended that was open to the end
    if play.seen[-1] == "None" or "the middle of a record" in str(play.seen[-1]):
        assert (play.seen[-1] == "None") == (not units or is_whole(units[-1])), "not as many bytes as the records have"
