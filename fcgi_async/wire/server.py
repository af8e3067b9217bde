"""The responder's half of a FastCGI connection: plays PHP-FPM's part, for the gateway, the tests and the test kit."""

from __future__ import annotations

from collections.abc import Mapping
from struct import Struct

import attrs

from fcgi_async.errors import LocalProtocolError, RemoteProtocolError
from fcgi_async.wire.events import (
    AbortRequested,
    Data,
    DataEnded,
    ParamsReceived,
    RawParams,
    RequestBegun,
    ServerEvent,
    Stdin,
    StdinEnded,
    Stray,
    Terminated,
    ValuesRequested,
)
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.records import (
    BEGIN_BODY,
    END_BODY,
    MalformedPairs,
    decode_pairs,
    encode_pair,
    encode_record,
    encode_stream,
)
from fcgi_async.wire.spec import KEEP_CONN, MAX_CONTENT, NULL_REQUEST_ID, VERSION, ProtocolStatus, RecordType, Role
from fcgi_async.wire.states import (
    OPEN_STREAM,
    RESPONSE_COMPLETE,
    STREAM_INPUT,
    Input,
    RequestState,
    advance,
)
from fcgi_async.wire.whole_request import WholeRequest, whole_requests

__all__ = ("ServerConnection",)

_LAST_RECORD_TYPE = max(RecordType)
# what a record begins with that is not padded, and an END_REQUEST; its version and type as one number
_head_of, _end_of = Struct(">HHHxx").pack, Struct(">HHH10x").pack
# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_STDOUT, _END = VERSION << 8 | RecordType.STDOUT, VERSION << 8 | RecordType.END_REQUEST
_END_SIZE = END_BODY.size
_AWAITING, _RESPONDER = RequestState.AWAITING, Role.RESPONDER
_LAST_APP_STATUS = 0xFFFFFFFF


@attrs.define(eq=False)
class _Request:
    role: Role
    state: RequestState = RequestState.PARAMS
    params: bytearray = attrs.field(factory=bytearray)


# what each request is that came whole; it is never changed
_WHOLE = _Request(_RESPONDER, _AWAITING)


@attrs.define(eq=False)
class ServerConnection:
    """Turns a client's bytes into events and verbs into bytes; performs no I/O.

    The mirror of `ClientConnection`, with the same table of states, and as tolerant as the specification requires: a
    name-value pair may be split between two PARAMS records, and records of ended requests are strays. It answers an
    unknown role and a management record of an unknown type itself.

    Args:
        max_params: most bytes of parameters that a request may have.
        raw_params: whether parameters are reported raw, not decoded.
    """

    max_params: int = 32 * 1024 * 1024
    raw_params: bool = False
    open: bool = attrs.field(default=True, init=False)
    _parser: RecordParser = attrs.field(factory=RecordParser, init=False)
    _requests: dict[int, _Request] = attrs.field(factory=dict, init=False)
    _outgoing: list[bytes | memoryview] = attrs.field(factory=list, init=False)

    # verbs

    def send_stdout(self, request_id: int, data: bytes | memoryview) -> None:
        """Send a part of the response.

        Raises:
            LocalProtocolError: the request has ended, or its parameters are not complete.
        """
        self._advance(request_id, Input.OUTPUT)
        self._outgoing.extend(encode_stream(RecordType.STDOUT, request_id, data))

    def send_stderr(self, request_id: int, data: bytes | memoryview) -> None:
        """Send a part of an error message.

        Raises:
            LocalProtocolError: the request has ended, or its parameters are not complete.
        """
        self._advance(request_id, Input.OUTPUT)
        self._outgoing.extend(encode_stream(RecordType.STDERR, request_id, data))

    def end_output(self, request_id: int, record_type: RecordType = RecordType.STDOUT) -> None:
        """Send the empty record that ends STDOUT or STDERR; the specification requires it, but PHP-FPM leaves it out.

        Raises:
            LocalProtocolError: the request has ended, or `record_type` is another type.
        """
        if record_type not in (RecordType.STDOUT, RecordType.STDERR):
            raise LocalProtocolError(f"{record_type.name} is not a stream of the responder")
        self._advance(request_id, Input.OUTPUT)
        self._outgoing.append(encode_record(record_type, request_id))

    def end_request(
        self, request_id: int, app_status: int = 0, protocol_status: ProtocolStatus = ProtocolStatus.REQUEST_COMPLETE
    ) -> None:
        """End a request; what the client still sends for it is received as strays.

        Raises:
            LocalProtocolError: the connection is closed, the request has ended, or `app_status` is not 0 to 2 ** 32 -
                1.
        """
        if not 0 <= app_status <= _LAST_APP_STATUS:
            raise LocalProtocolError(f"an app status is 0 to {_LAST_APP_STATUS}, not {app_status}")
        self._advance(request_id, Input.END)
        self._outgoing.append(
            encode_record(RecordType.END_REQUEST, request_id, END_BODY.pack(app_status, protocol_status))
        )

    def send_values(self, values: Mapping[bytes, bytes]) -> None:
        """Answer a GET_VALUES; leave out unknown names.

        Raises:
            LocalProtocolError: the connection is closed, or the values do not fit into one record.
        """
        self._require_open()
        content = b"".join([encode_pair(name, value) for name, value in values.items()])
        self._outgoing.append(encode_record(RecordType.GET_VALUES_RESULT, NULL_REQUEST_ID, content))

    def data_to_send(self) -> bytes:
        """Return the bytes that the verbs have written since the last call, and forget them."""
        data = b"".join(self._outgoing)
        self._outgoing.clear()
        return data

    def send_whole(self, request_id: int, stdout: bytes) -> None:
        """Send a whole response and the end of its request: like `send_stdout()` and `end_request()`.

        Raises:
            LocalProtocolError: as for those two.
        """
        requests, size = self._requests, len(stdout)
        if requests.get(request_id) is not _WHOLE or not 0 < size <= MAX_CONTENT or not self.open:
            self.send_stdout(request_id, stdout)
            self.end_request(request_id)
            return
        del requests[request_id]
        self._outgoing.append(_head_of(_STDOUT, request_id, size) + stdout + _end_of(_END, request_id, _END_SIZE))

    # receiving

    def receive_whole(self, data: bytes) -> tuple[list[WholeRequest], int]:
        """Take the whole requests at the beginning of `data`; return them, and the offset of the rest.

        A shortcut for `receive_data()`, which would return the same as events.
        """
        requests = self._requests
        if self._parser.held or not self.open:
            return [], 0
        found, end = whole_requests(data)
        ids = {request_id for request_id, _, _ in found}
        if len(ids) < len(found) or not requests.keys().isdisjoint(ids):
            # it began twice, or the rest of its body is missing: the parser reports it
            return [], 0
        for request_id in ids:
            requests[request_id] = _WHOLE
        return found, end

    def receive_data(self, data: bytes | memoryview) -> list[ServerEvent]:
        """Take bytes from the client and return the events in order; no events after the connection has ended."""
        events: list[ServerEvent] = []
        if not self.open:
            return events
        try:
            for record_type, request_id, content in self._parser.feed(data):
                self._receive(events, record_type, request_id, content)
        except RemoteProtocolError as error:
            self.open = False
            events.append(Terminated(error))
        return events

    def receive_eof(self) -> list[ServerEvent]:
        """Return the events of the client's EOF."""
        if not self.open:
            return []
        self.open = False
        if self._parser.mid_record:
            return [Terminated(RemoteProtocolError("the client closed the connection in the middle of a record"))]
        return [Terminated(None)]

    def state(self, request_id: int) -> RequestState:
        """Return the state of a request; IDLE for a free id."""
        request = self._requests.get(request_id)
        return RequestState.IDLE if request is None else request.state

    def _receive(self, events: list[ServerEvent], record_type: int, request_id: int, content: bytes) -> None:
        if request_id == NULL_REQUEST_ID:
            self._receive_management(events, record_type, content)
        elif record_type == RecordType.BEGIN_REQUEST:
            self._receive_begin(events, request_id, content)
        elif record_type in STREAM_INPUT or record_type == RecordType.ABORT_REQUEST:
            request = self._requests.get(request_id)
            if request is None or request.state is RequestState.ABORTED:
                events.append(Stray(request_id, record_type, len(content)))
            elif record_type == RecordType.ABORT_REQUEST:
                self._receive_abort(events, request_id, content, request)
            else:
                self._receive_stream(events, RecordType(record_type), request_id, content, request)
        else:
            raise RemoteProtocolError(f"a client does not send records of type {record_type} for request {request_id}")

    def _receive_management(self, events: list[ServerEvent], record_type: int, content: bytes) -> None:
        if not 0 < record_type <= _LAST_RECORD_TYPE:
            # an unknown type is answered (specification 4.2)
            self._outgoing.append(
                encode_record(RecordType.UNKNOWN_TYPE, NULL_REQUEST_ID, bytes((record_type,)) + bytes(7))
            )
            return
        if record_type != RecordType.GET_VALUES:
            raise RemoteProtocolError(f"a client does not send records of type {record_type} for the connection")
        try:
            events.append(ValuesRequested([name for name, _ in decode_pairs(content)]))
        except MalformedPairs as error:
            raise RemoteProtocolError(f"GET_VALUES is malformed: {error}") from error

    def _receive_begin(self, events: list[ServerEvent], request_id: int, content: bytes) -> None:
        if len(content) != BEGIN_BODY.size:
            raise RemoteProtocolError(f"BEGIN_REQUEST has {len(content)} bytes of content instead of {BEGIN_BODY.size}")
        if request_id in self._requests:
            raise RemoteProtocolError(f"request {request_id} was begun twice")
        role, flags = BEGIN_BODY.unpack(content)
        if role not in (Role.RESPONDER, Role.AUTHORIZER, Role.FILTER):
            end = END_BODY.pack(0, ProtocolStatus.UNKNOWN_ROLE)
            self._outgoing.append(encode_record(RecordType.END_REQUEST, request_id, end))
            return
        self._requests[request_id] = _Request(Role(role))
        events.append(RequestBegun(request_id, Role(role), bool(flags & KEEP_CONN)))

    def _receive_abort(self, events: list[ServerEvent], request_id: int, content: bytes, request: _Request) -> None:
        complete = request.state in RESPONSE_COMPLETE
        self._advance(request_id, Input.ABORT)
        # the parameters can no longer become complete
        request.params.clear()
        # the client sent it before it received the end of the response: nothing to do
        events.append(
            Stray(request_id, RecordType.ABORT_REQUEST, len(content)) if complete else AbortRequested(request_id)
        )

    def _receive_stream(
        self, events: list[ServerEvent], record_type: RecordType, request_id: int, content: bytes, request: _Request
    ) -> None:
        if OPEN_STREAM.get(request.state) is not record_type:
            raise RemoteProtocolError(f"{record_type.name} for request {request_id}: not while {request.state.value}")
        discarded = request.state in RESPONSE_COMPLETE
        self._advance(request_id, STREAM_INPUT[record_type] if content else Input.END_STREAM)
        if discarded:
            events.append(Stray(request_id, record_type, len(content)))
        elif record_type is RecordType.PARAMS:
            self._receive_params(events, request_id, content, request)
        elif record_type is RecordType.STDIN:
            events.append(Stdin(request_id, content) if content else StdinEnded(request_id))
        else:
            events.append(Data(request_id, content) if content else DataEnded(request_id))

    def _receive_params(self, events: list[ServerEvent], request_id: int, content: bytes, request: _Request) -> None:
        if content:
            request.params += content
            if len(request.params) > self.max_params:
                raise RemoteProtocolError(f"request {request_id} has more than {self.max_params} bytes of parameters")
            return
        if self.raw_params:
            events.append(RawParams(request_id, bytes(request.params)))
            request.params.clear()
            return
        try:
            params = decode_pairs(bytes(request.params))
        except MalformedPairs as error:
            raise RemoteProtocolError(f"the parameters of request {request_id} are malformed: {error}") from error
        request.params.clear()
        events.append(ParamsReceived(request_id, params))

    # bookkeeping

    def _require_open(self) -> None:
        if not self.open:
            raise LocalProtocolError("the connection is closed")

    def _advance(self, request_id: int, what: Input) -> None:
        self._require_open()
        request = self._requests.get(request_id)
        if request is None:
            raise LocalProtocolError(f"{what.value} for request {request_id}, which is over or was never begun")
        following = advance(request.state, what, request.role)
        if following is None:
            raise LocalProtocolError(f"{what.value} for request {request_id}: not while {request.state.value}")
        if following is RequestState.IDLE:
            del self._requests[request_id]
        elif request is _WHOLE:
            self._requests[request_id] = _Request(_RESPONDER, following)
        else:
            request.state = following
