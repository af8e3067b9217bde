"""The client's half of a FastCGI connection: many request ids, verbs in, events out."""

from __future__ import annotations

from struct import Struct

import attrs

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.events import (
    ClientEvent,
    RequestEnded,
    Stderr,
    Stdout,
    Stray,
    Terminated,
    ValuesReceived,
)
from fcgi_async.wire.records import END_BODY
from fcgi_async.wire.sending import Sender
from fcgi_async.wire.spec import (
    NULL_REQUEST_ID,
    VERSION,
    ProtocolStatus,
    RecordType,
)
from fcgi_async.wire.states import (
    RESPONSE_COMPLETE,
    TRANSITIONS,
    Input,
    RequestState,
)
from fcgi_async.wire.whole import EMPTY_VALUES, Whole, whole_answer

__all__ = ("ClientConnection",)

_UNKNOWN_TYPE_LENGTH = 8
_LAST_PROTOCOL_STATUS = max(ProtocolStatus)

# plain names for the hot path: looking up a member of an enum costs more than using it
_STDOUT, _END = int(RecordType.STDOUT), int(RecordType.END_REQUEST)
_AWAITING = RequestState.AWAITING
# a record's header and an END_REQUEST without padding, version and type in one number, which is cheaper to compare
_HEAD, _ENDED = Struct(">HHHBx"), Struct(">HHIIB3x")
_HEAD_AT, _ENDED_AT, _TO_CONTENT, _ENDED_SIZE = _HEAD.unpack_from, _ENDED.unpack_from, _HEAD.size, _ENDED.size
_STDOUT_HEAD, _END_HEAD, _END_LENGTHS = VERSION << 8 | _STDOUT, VERSION << 8 | _END, END_BODY.size << 16
_VALUES_RESULT = int(RecordType.GET_VALUES_RESULT)
_FROM_RESPONDER = frozenset((_STDOUT, int(RecordType.STDERR), _END))
_AFTER_END = {state: following for state, row in TRANSITIONS.items() if (following := row.get(Input.END)) is not None}
# output changes no state
_OUTPUT_ALLOWED = frozenset(state for state, row in TRANSITIONS.items() if row.get(Input.OUTPUT) is state)


@attrs.define(eq=False)
class ClientConnection(Sender):
    """Turns verbs into bytes and the peer's bytes into events; performs no I/O.

    Verbs raise `LocalProtocolError` before anything changes; take the bytes that they write with `data_to_send()`.
    `receive_data()` never raises for a fault of the peer: the last event in its list is then `Terminated`, so that no
    event before it is lost.

    Args:
        multiplexing: whether the peer serves several requests on this connection at once. If not, a second request is
            refused while one is unfinished, and each request gets the next id, so that late output of a finished script
            is recognised as a stray. If so, a request gets the smallest free id (`RequestIds`). May be changed at any
            time.
    """

    # receiving

    def receive_data(self, data: bytes | memoryview) -> list[ClientEvent]:
        """Take bytes from the peer and return the events in order; no events after the connection has ended.

        `data` may be a view of a buffer that is reused afterwards: all that is returned or kept is copied.
        """
        events: list[ClientEvent] = []
        if not self.open:
            return events
        if self._ids.just_ended:
            self._ids.free()
        self._unexpect()
        try:
            for record_type, request_id, content in self._parser.feed(data):
                if record_type not in _FROM_RESPONDER:
                    self._receive_management(events, record_type, request_id, content)
                    continue
                request = self._requests.get(request_id)
                if request is None or request.state in RESPONSE_COMPLETE:
                    self._receive_stray(events, record_type, request_id, content)
                elif record_type == _END:
                    events.append(_decode_end(request_id, content))
                    self._settle(request_id, request, _AFTER_END[request.state])
                elif request.state not in _OUTPUT_ALLOWED:
                    raise RemoteProtocolError(
                        f"output of request {request_id} came before its parameters were complete"
                    )
                elif content:
                    events.append((Stdout if record_type == _STDOUT else Stderr)(request_id, content))
        except RemoteProtocolError as error:
            self.close()
            events.append(Terminated(error))
        return events

    def receive_eof(self) -> list[ClientEvent]:
        """Return the events of the peer's EOF; an EOF in the middle of a record is a fault of the peer."""
        if not self.open:
            return []
        self.close()
        if self._parser.mid_record:
            return [Terminated(RemoteProtocolError("the peer closed the connection in the middle of a record"))]
        return [Terminated(None)]

    def receive_whole(self, data: bytes) -> Whole | None:
        """Take the common answer to `request_and_probe()`, if it comes whole and first; otherwise take nothing, return
        None.

        Return the contents of STDOUT and STDERR, and whether the probe is answered too. A shortcut for
        `receive_data()`, which would return the same as events.
        """
        expected = self._expected
        if not expected:
            return None
        found = whole_answer(data, expected)
        if found is None:
            self._unexpect()
            return None
        self._expected = 0
        self._worker_free = self.quiet = answered = found[2]
        if not answered:
            self._probes.asked.append(())
        return found

    def receive_answers(self, data: bytes) -> list[tuple[int, bytes]]:
        """Take answers of a peer that multiplexes, if `data` has nothing else; otherwise take nothing.

        Each answer is STDOUT and END_REQUEST of a request that was sent whole: return its id, and the content of
        STDOUT. A shortcut for `receive_data()`, which would return the same as events.
        """
        answers: dict[int, bytes] = {}
        if self._parser.held or not (self.open and self.multiplexing):
            return []
        self._unexpect()
        requests, at, last = self._requests, 0, len(data) - _ENDED_SIZE
        while at <= last:
            kind, request_id, length, padding = _HEAD_AT(data, at)
            start = at + _TO_CONTENT
            end = start + length + padding
            if kind != _STDOUT_HEAD or not length or end > last:
                return []
            if _ENDED_AT(data, end) != (_END_HEAD, request_id, _END_LENGTHS, 0, 0):
                return []
            request = requests.get(request_id)
            if request is None or request.state is not _AWAITING or request_id in answers:
                return []
            answers[request_id] = data[start : start + length]
            at = end + _ENDED_SIZE
        if at != len(data):
            return []
        ids = self._ids
        if ids.just_ended:
            ids.free()
        # none of them was aborted
        ids.just_ended.update(answers)
        for request_id in answers:
            del requests[request_id]
        return list(answers.items())

    def receive_answer(self, data: bytes) -> bool:
        """Take an empty answer to the last GET_VALUES. If `data` is anything else, take nothing and return False.

        A shortcut for `receive_data()`, like `receive_whole()`.
        """
        asked = self._probes.asked
        if data != EMPTY_VALUES or len(asked) != 1 or asked[0]:
            return False
        if self._parser.held or self._ids.just_ended or not self.open:
            return False
        asked.popleft()
        self._worker_free = not self._requests
        self.quiet = self._ahead and not (self._requests or self._outgoing or self._ahead_wanted or self._closing)
        return True

    def _receive_stray(self, events: list[ClientEvent], record_type: int, request_id: int, content: bytes) -> None:
        if not self._ids.given(request_id):
            raise RemoteProtocolError(
                f"a record of type {record_type} names request {request_id}, which was never begun"
            )
        if self._worker_free and not self.multiplexing:
            raise RemoteProtocolError(
                f"a record of request {request_id} came after the worker had said that it was free"
            )
        if record_type == _END:
            self._ids.ended_twice(request_id)
        events.append(Stray(request_id, record_type, len(content)))

    def _receive_management(self, events: list[ClientEvent], record_type: int, request_id: int, content: bytes) -> None:
        if request_id == NULL_REQUEST_ID and record_type == _VALUES_RESULT:
            answer = self._probes.receive(content)
            if answer is not None:
                self._answer(events, *answer)
        elif request_id == NULL_REQUEST_ID and record_type == RecordType.UNKNOWN_TYPE:
            if len(content) != _UNKNOWN_TYPE_LENGTH:
                raise RemoteProtocolError(
                    f"UNKNOWN_TYPE has {len(content)} bytes of content instead of {_UNKNOWN_TYPE_LENGTH}"
                )
            if content[0] != RecordType.GET_VALUES or not self._probes.asked:
                raise RemoteProtocolError(f"the peer does not know records of type {content[0]}, and none was sent")
            self._probes.asked.popleft()
            self._answer(events, {}, 0)
        else:
            raise RemoteProtocolError(
                f"a responder does not send records of type {record_type} for request {request_id}"
            )

    def _answer(self, events: list[ClientEvent], values: dict[bytes, bytes], dropped: int) -> None:
        self._worker_free = not self._requests
        events.append(ValuesReceived(values, dropped))


def _decode_end(request_id: int, content: bytes) -> RequestEnded:
    if len(content) != END_BODY.size:
        raise RemoteProtocolError(f"END_REQUEST has {len(content)} bytes of content instead of {END_BODY.size}")
    app_status, protocol_status = END_BODY.unpack(content)
    if protocol_status > _LAST_PROTOCOL_STATUS:
        raise RemoteProtocolError(f"END_REQUEST has the unknown protocol status {protocol_status}")
    return RequestEnded(request_id, app_status, protocol_status)
