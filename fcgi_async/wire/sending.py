"""The sending half of `ClientConnection`: turns verbs for the requests on one connection into bytes."""

from __future__ import annotations

from collections.abc import Container, Iterable, Sequence, Sized
from struct import Struct

import attrs

from fcgi_async.errors import LocalProtocolError
from fcgi_async.wire.ids import RequestIds
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.probes import Probes
from fcgi_async.wire.records import (
    BEGIN_BODY,
    HEADER,
    encode_pair,
    encode_record,
    encode_stream,
)
from fcgi_async.wire.request import request_pieces
from fcgi_async.wire.spec import (
    KEEP_CONN,
    MAX_CONTENT,
    NULL_REQUEST_ID,
    VERSION,
    RecordType,
    Role,
)
from fcgi_async.wire.states import (
    NEXT_STREAM,
    OPEN_STREAM,
    Input,
    RequestState,
    advance,
)

__all__ = ("Request", "Sender")

_ASK_NOTHING = encode_record(RecordType.GET_VALUES, NULL_REQUEST_ID)
# the first byte of every record
_FIRST_BYTE = bytes((VERSION,))
_ID = Struct(">H")
# an empty GET_VALUES, and the first byte of the next record
_ASK_AHEAD = _ASK_NOTHING + _FIRST_BYTE

# plain names for the hot path: looking up a member of an enum costs more than using it
_PARAMS, _STDIN = RecordType.PARAMS, RecordType.STDIN
_IDLE, _AT_PARAMS = RequestState.IDLE, RequestState.PARAMS
_AWAITING, _RESPONDER = RequestState.AWAITING, Role.RESPONDER


@attrs.frozen(eq=False)
class Request:
    role: Role
    state: RequestState


# the state of most requests as soon as they begin
_WRITTEN = Request(_RESPONDER, _AWAITING)


@attrs.define(eq=False)
class Sender:
    """Turns verbs into bytes, and tracks the requests; performs no I/O.

    Verbs raise `LocalProtocolError` before anything changes; take the bytes that they write with `data_to_send()`.
    """

    multiplexing: bool = False
    # False once either side has ended the connection; every verb is refused then
    open: bool = attrs.field(default=True, init=False)
    _probes: Probes = attrs.field(factory=Probes, init=False)
    # a GET_VALUES was answered while no request was unfinished, and no request has begun since
    _worker_free: bool = attrs.field(default=False, init=False)
    # a request without KEEP_CONN has begun: the peer closes after its response
    _closing: bool = attrs.field(default=False, init=False)
    _parser: RecordParser = attrs.field(factory=RecordParser, init=False)
    _requests: dict[int, Request] = attrs.field(factory=dict, init=False)
    _ids: RequestIds = attrs.field(factory=RequestIds, init=False)
    _outgoing: list[bytes | memoryview] = attrs.field(factory=list, init=False)
    # the request whose answer may come whole: it is the only one, an empty probe follows it, and nothing has come
    # since. Both are added to `_requests` and `_probes` only if something else happens
    _expected: int = attrs.field(default=0, init=False)
    # whether nothing is unanswered or unsent, and a byte was sent ahead: the state after a common answer
    quiet: bool = attrs.field(default=False, init=False)
    # whether the next record's first byte is to be sent ahead, and whether it was
    _ahead_wanted: bool = attrs.field(default=False, init=False)
    _ahead: bool = attrs.field(default=False, init=False)

    # verbs

    def get_values(self, names: Iterable[bytes] = ()) -> None:
        """Ask the peer for the values of `names` (specification 4.1).

        PHP-FPM answers between requests, from the worker that owns the connection.

        Go's net/http/fcgi sends a second, empty answer. It can be told from the answer to the next GET_VALUES only if
        that asks for a name that Go knows: ask such a peer for FCGI_MPXS_CONNS every time.

        Raises:
            LocalProtocolError: the connection is closed, or the names do not fit into one record.
        """
        self._require_open()
        self._unexpect()
        names = tuple(names)
        if names:
            content = b"".join([encode_pair(name, b"") for name in names])
            self._outgoing.append(encode_record(RecordType.GET_VALUES, NULL_REQUEST_ID, content))
        else:
            self._outgoing.append(_ASK_NOTHING)
        self._probes.asked.append(names)

    def begin_request(self, role: Role = Role.RESPONDER, *, keep_conn: bool = True) -> int:
        """Begin a request and return its id.

        Raises:
            LocalProtocolError: the connection is closed, or closes after a request that was begun without `keep_conn`;
                another request is unfinished on a connection that does not multiplex; or all ids are taken.
        """
        request_id = self._begin(role, _AT_PARAMS, keep_conn)
        self._outgoing.append(
            HEADER.pack(VERSION, RecordType.BEGIN_REQUEST, request_id, BEGIN_BODY.size, 0)
            + BEGIN_BODY.pack(role, KEEP_CONN if keep_conn else 0)
        )
        return request_id

    def send_request(self, params: Sequence[bytes], body: bytes = b"", *, keep_conn: bool = True) -> int:
        """Send a whole request to a Responder and return its id: like `begin_request()`, `send_params()` and
        `send_stdin()`.

        Args:
            params: as for `send_params()`.
            body: the whole body.
            keep_conn: as for `begin_request()`.

        Raises:
            LocalProtocolError: as for those three.
        """
        _check_params(params)
        if len(params) != 1 or len(body) > MAX_CONTENT:
            request_id = self.begin_request(keep_conn=keep_conn)
            self.send_params(request_id, params)
            self.send_stdin(request_id, body, end=True)
            return request_id
        return self.send_pieces(request_pieces(params[0], body, keep_conn=keep_conn), keep_conn=keep_conn)

    def send_pieces(self, pieces: Sequence[bytes], *, keep_conn: bool = True) -> int:
        """Send a whole request to a Responder, made by `request_pieces()`, and return its id.

        Args:
            pieces: the bytes between the places of the id.
            keep_conn: the same value as in `request_pieces()`.

        Raises:
            LocalProtocolError: as for `begin_request()`.
        """
        request_id = self._begin(_RESPONDER, _AWAITING, keep_conn)
        self._outgoing.append(_ID.pack(request_id).join(pieces))
        return request_id

    def send_shared(self, pieces: Sequence[bytes]) -> tuple[int, bytes]:
        """Send a whole request on a connection that multiplexes; return its id, and all there is to send.

        As `send_pieces()` and `data_to_send()`.

        Raises:
            LocalProtocolError: as `begin_request()`.
        """
        if self._outgoing or self._ahead or self._closing or self._expected or not (self.open and self.multiplexing):
            return self.send_pieces(pieces), self.data_to_send()
        # what that does, in short: most requests on such a connection come this way
        self.quiet = self._worker_free = False
        request_id = self._ids.smallest_free(self._requests)
        self._requests[request_id] = _WRITTEN
        return request_id, _ID.pack(request_id).join(pieces)

    def request_and_probe(self, pieces: Sequence[bytes]) -> bytes:
        """Begin a request and return the bytes to send: the request, the probe that follows it, and one byte ahead.

        The same as `send_pieces()`, `get_values()`, `send_ahead()` and `data_to_send()`; most jobs need all of these.

        Raises:
            LocalProtocolError: as for `begin_request()`.
        """
        if self.quiet and not self.multiplexing:
            # a short form of the code below, for most jobs
            self.quiet = False
            self._expected = self._ids.following()
            return (_ID.pack(self._expected).join(pieces) + _ASK_AHEAD)[1:]
        expected = not (self.unfinished or self.multiplexing or self._probes.asked or self._parser.held)
        request_id = self.send_pieces(pieces)
        self.get_values()
        self.send_ahead()
        if expected:
            del self._requests[request_id]
            self._probes.asked.clear()
            self._expected = request_id
        return self.data_to_send()

    def send_params(self, request_id: int, contents: Iterable[bytes], *, end: bool = True) -> None:
        """Send parameters, made by `records.pack_pairs()`, one record per item; `end` completes them.

        Raises:
            LocalProtocolError: the request is not at its parameters, or an item is empty or longer than 65535 bytes.
        """
        request = self._require_stream(request_id, _PARAMS)
        contents = tuple(contents)
        _check_params(contents)
        for content in contents:
            self._outgoing.append(HEADER.pack(VERSION, _PARAMS, request_id, len(content), 0))
            self._outgoing.append(content)
        if end:
            self._end_stream(request_id, request, _PARAMS)

    def send_stdin(self, request_id: int, data: bytes | memoryview = b"", *, end: bool = False) -> None:
        """Send a part of the body, of any length; `end` completes it.

        `data` must not change until `data_to_send()` has been called.

        Raises:
            LocalProtocolError: the connection is closed, or the request is not at its body.
        """
        self._send_stream(request_id, _STDIN, data, end)

    def end_stdin_short(self, request_id: int, *, spare: bool = False) -> None:
        """End an incomplete body: send two empty STDIN records, and with `spare` a third one.

        If part of the body has come, PHP-FPM treats the first one as a pause, and would wait for more. It leaves the
        third one unread until the script has ended, which replaces the probe that follows other requests.

        Raises:
            LocalProtocolError: the connection is closed, or the request is not at its body.
        """
        self.send_stdin(request_id, end=True)
        self._outgoing.extend([HEADER.pack(VERSION, _STDIN, request_id, 0, 0)] * (2 if spare else 1))

    def send_data(self, request_id: int, data: bytes | memoryview = b"", *, end: bool = False) -> None:
        """Send a part of a Filter's file, of any length; `end` completes it.

        `data` must not change until `data_to_send()` has been called.

        Raises:
            LocalProtocolError: the connection is closed, or the request is not at its file.
        """
        self._send_stream(request_id, RecordType.DATA, data, end)

    def abort_request(self, request_id: int) -> None:
        """Ask the peer to end a request early; its id stays taken until END_REQUEST.

        For peers that multiplex: PHP-FPM ignores it while a script runs, and its record then spoils the connection.

        Raises:
            LocalProtocolError: the connection is closed, or the request has ended or is aborted already.
        """
        request = self._require_request(request_id)
        following = advance(request.state, Input.ABORT, request.role)
        if following is None:
            raise LocalProtocolError(f"ABORT_REQUEST for request {request_id}: not while {request.state.value}")
        self._outgoing.append(encode_record(RecordType.ABORT_REQUEST, request_id))
        self._ids.aborted.add(request_id)
        self._settle(request_id, request, following)

    def send_ahead(self) -> None:
        """Send the first byte of the next record in advance; it is the same for all records.

        A PHP-FPM worker that was told to stop leaves between two records, never within one: once it has read this byte,
        it will serve the request that begins with it.
        """
        self._unexpect()
        self._ahead_wanted = True

    def close(self) -> None:
        """Called when the connection has ended: from now on every verb is refused and all input is ignored."""
        self.open = False
        self._unexpect()

    def data_to_send(self) -> bytes:
        """Return the bytes that the verbs have written since the last call, and forget them."""
        outgoing = self._outgoing
        if self._ahead and outgoing:
            # the first byte of every record
            outgoing[0] = outgoing[0][1:]
            self._ahead = False
        if self._ahead_wanted:
            self._ahead_wanted = False
            if not self._ahead:
                outgoing.append(_FIRST_BYTE)
                self._ahead = True
        data = b"".join(outgoing)
        outgoing.clear()
        return data

    def state(self, request_id: int) -> RequestState:
        """Return the state of a request; IDLE for a free id."""
        if self._expected and request_id == self._expected:
            return _AWAITING
        request = self._requests.get(request_id)
        return RequestState.IDLE if request is None else request.state

    @property
    def unfinished(self) -> int:
        """Number of requests that have begun and not ended."""
        return len(self._requests) + (self._expected > 0)

    @property
    def aborted(self) -> int:
        """Number of aborted ids under which the peer may still write."""
        return len(self._ids.aborted)

    @property
    def probes_outstanding(self) -> int:
        """Number of unanswered GET_VALUES."""
        return len(self._probes.asked) + (self._expected > 0)

    @property
    def asked(self) -> Sized:
        """The GET_VALUES that are sent and not answered, of a connection that multiplexes: always the same object."""
        return self._probes.asked

    def reuse_ended(self, unprocessed: Container[int]) -> None:
        """If all other ids are taken, give an id again whose end is among the latest events.

        Args:
            unprocessed: the ids that stay taken, because the caller has not processed their end; the caller keeps it
                up to date.
        """
        self._ids.unprocessed = unprocessed

    # bookkeeping

    def _begin(self, role: Role, state: RequestState, keep_conn: bool) -> int:
        self._require_open()
        self._unexpect()
        if self._closing:
            raise LocalProtocolError("the peer closes the connection after the last request, begun without KEEP_CONN")
        if self._requests and not self.multiplexing:
            raise LocalProtocolError("the peer serves one request at a time on a connection, and one is unfinished")
        ids = self._ids
        request_id = ids.smallest_free(self._requests) if self.multiplexing else ids.following()
        self._requests[request_id] = _WRITTEN if state is _AWAITING and role is _RESPONDER else Request(role, state)
        self._worker_free = False
        self._closing = not keep_conn
        return request_id

    def _unexpect(self) -> None:
        """Leave the next answer to the parser."""
        self.quiet = False
        if self._expected:
            self._requests[self._expected] = _WRITTEN
            self._probes.asked.append(())
            self._worker_free = False
            self._expected = 0

    def _require_open(self) -> None:
        if not self.open:
            raise LocalProtocolError("the connection is closed")

    def _require_request(self, request_id: int) -> Request:
        self._require_open()
        self._unexpect()
        request = self._requests.get(request_id)
        if request is None:
            raise LocalProtocolError(f"request {request_id} is over or was never begun")
        return request

    def _require_stream(self, request_id: int, stream: RecordType) -> Request:
        request = self._require_request(request_id)
        if OPEN_STREAM.get(request.state) is not stream:
            raise LocalProtocolError(f"{stream.name} for request {request_id}: not while {request.state.value}")
        return request

    def _send_stream(self, request_id: int, stream: RecordType, data: bytes | memoryview, end: bool) -> None:
        request = self._require_stream(request_id, stream)
        self._outgoing += encode_stream(stream, request_id, data)
        if end:
            self._end_stream(request_id, request, stream)

    def _end_stream(self, request_id: int, request: Request, stream: RecordType) -> None:
        self._outgoing.append(HEADER.pack(VERSION, stream, request_id, 0, 0))
        self._settle(request_id, request, NEXT_STREAM[request.role, request.state])

    def _settle(self, request_id: int, request: Request, following: RequestState) -> None:
        if following is not _IDLE:
            self._requests[request_id] = Request(request.role, following)
        else:
            del self._requests[request_id]
            self._ids.ended(request_id, multiplexing=self.multiplexing)


def _check_params(contents: Sequence[bytes]) -> None:
    for content in contents:
        if not 0 < len(content) <= MAX_CONTENT:
            raise LocalProtocolError(f"a PARAMS record holds 1 to {MAX_CONTENT} bytes of content, not {len(content)}")
