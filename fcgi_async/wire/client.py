"""The client's half of a FastCGI connection: many request ids, verbs in, events out."""

from __future__ import annotations

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
    ProtocolStatus,
    RecordType,
)
from fcgi_async.wire.states import (
    RESPONSE_COMPLETE,
    TRANSITIONS,
    Input,
)
from fcgi_async.wire.whole import EMPTY_VALUES, whole_answer

__all__ = ("ClientConnection",)

_UNKNOWN_TYPE_LENGTH = 8
_LAST_PROTOCOL_STATUS = max(ProtocolStatus)

# plain names for the hot path: looking up a member of an enum costs more than what is done with it
_STDOUT, _END = int(RecordType.STDOUT), int(RecordType.END_REQUEST)
_VALUES_RESULT = int(RecordType.GET_VALUES_RESULT)
_FROM_RESPONDER = frozenset((_STDOUT, int(RecordType.STDERR), _END))
_AFTER_END = {state: following for state, row in TRANSITIONS.items() if (following := row.get(Input.END)) is not None}
# output changes no state
_OUTPUT_ALLOWED = frozenset(state for state, row in TRANSITIONS.items() if row.get(Input.OUTPUT) is state)


@attrs.define(eq=False)
class ClientConnection(Sender):
    """Turns verbs into bytes and the peer's bytes into events; performs no I/O.

    Verbs raise `LocalProtocolError` before anything changes; what they write is taken with `data_to_send()`.
    `receive_data()` never raises for a fault of the peer: the fault is the last event of the list, `Terminated`, so
    that nothing that came before it is lost.

    Args:
        multiplexing: whether the peer serves several requests on this connection at once. Without it a second request
            is refused while one is unfinished, and ids advance by one per request, so that what a finished script still
            prints is recognised as a stray; with it the smallest free id is taken (`RequestIds`). May be switched at
            any time.
    """

    # what the peer did

    def receive_data(self, data: bytes | memoryview) -> list[ClientEvent]:
        """Take bytes from the peer and return what they mean, in order; nothing once the connection is over.

        A view may be one of a buffer that is used again afterwards: what is returned or kept of it is copied.
        """
        events: list[ClientEvent] = []
        if not self.open:
            return events
        if self._ids.just_ended:
            self._ids.free()
        self._expected = 0
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
            self.open = False
            events.append(Terminated(error))
        return events

    def receive_eof(self) -> list[ClientEvent]:
        """Return what it means that the peer has closed; an EOF in the middle of a record is its fault."""
        if not self.open:
            return []
        self.open = False
        if self._parser.mid_record:
            return [Terminated(RemoteProtocolError("the peer closed the connection in the middle of a record"))]
        return [Terminated(None)]

    def receive_whole(self, data: bytes) -> tuple[bytes, bool] | None:
        """Take the common answer to `request_and_probe()`, if it comes whole and first; None if not, and nothing taken.

        Return what STDOUT has, and whether the probe is answered too. A shortcut for `receive_data()`, which would say
        the same in events.
        """
        expected, self._expected = self._expected, 0
        if not expected or not self.open:
            return None
        found = whole_answer(data, expected)
        if found is None:
            return None
        del self._requests[expected]
        if found[1]:
            self._probes.asked.popleft()
            self._worker_free = True
        return found

    def receive_answer(self, data: bytes) -> bool:
        """Take the answer to the last GET_VALUES, an empty one; False, with nothing taken, if it is anything else.

        A shortcut for `receive_data()`, as `receive_whole()` is.
        """
        asked = self._probes.asked
        if data != EMPTY_VALUES or len(asked) != 1 or asked[0]:
            return False
        if self._parser.held or self._ids.just_ended or not self.open:
            return False
        asked.popleft()
        self._worker_free = not self._requests
        return True

    def _receive_stray(self, events: list[ClientEvent], record_type: int, request_id: int, content: bytes) -> None:
        if not 0 < request_id <= self._ids.highest:
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
