"""One live connection: the state machine, the transport, and the exchanges on it."""

from __future__ import annotations

from collections import deque
from typing import Protocol

import attrs

from fcgi_async.errors import ConnectionLost, FastCGIError, RemoteProtocolError
from fcgi_async.net.address import Address
from fcgi_async.net.backend import Backend, Timer, Waiter
from fcgi_async.net.transport import Transport
from fcgi_async.net.values import requests_at_once
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import (
    RequestEnded,
    Stderr,
    Stdout,
    Stray,
    Terminated,
    ValuesReceived,
)
from fcgi_async.wire.spec import FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS, MAX_CONTENT, ProtocolStatus, Role
from fcgi_async.wire.states import RequestState

__all__ = ("Connection", "ConnectionOwner", "EncodedRequest", "Exchange")

_HEAD_PROBE = (FCGI_MPXS_CONNS, FCGI_MAX_REQS, FCGI_MAX_CONNS)
# what Go's net/http/fcgi must be asked for, since its second, empty answer would else be taken for the next one's
_TAIL_PROBE = (FCGI_MPXS_CONNS,)
# a body up to this size goes out in the same write as the request's head and the tail probe
_ONE_WRITE = MAX_CONTENT
# the worker that has just answered reads on within microseconds: look again at once, and leave it the processor then
_LOOKS_AT_ONCE = 3
_LOOK_SECONDS = 0.0005
# what a slow reader on a shared connection may leave unread before its neighbours are held up with it
_SLOW_READER_MAX = 16 * 1024 * 1024
# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_RESPONDER, _UNKNOWN_ROLE = Role.RESPONDER, int(ProtocolStatus.UNKNOWN_ROLE)


@attrs.frozen
class EncodedRequest:
    """A request as bytes.

    Attributes:
        role: what the peer is asked to be.
        params: contents of PARAMS records.
        body: all of the body, or None where it comes in parts through `Connection.send_body`.
    """

    role: Role
    params: list[bytes]
    body: bytes | None


class Exchange(Protocol):
    """Who waits for a response; all synchronous."""

    def receive_stdout(self, data: bytes) -> None:
        """Take a part of the response."""

    def receive_stderr(self, data: bytes) -> None:
        """Take a part of an error message."""

    def receive_end(self, app_status: int, protocol_status: int) -> None:
        """Take the end of the response; nothing follows."""

    def receive_failure(self, error: FastCGIError, *, may_have_run: bool) -> None:
        """Take it that there will be no (more) response; nothing follows."""


class ConnectionOwner(Protocol):
    """Who gives work to connections and counts the workers behind them; all synchronous."""

    def connection_answered(self, connection: Connection) -> None:
        """Take note that the head probe was answered: a worker is ours."""

    def request_ended(self, connection: Connection, request_id: int) -> None:
        """Take note that a response is complete; whether the worker is free is another question."""

    def worker_free(self, connection: Connection) -> None:
        """Take note that the last probe was answered, and that no byte came after the answer."""

    def output_dropped(self, connection: Connection, request_id: int, size: int) -> None:
        """Take note that output came that nobody wants."""

    def stray_received(self, connection: Connection) -> None:
        """Take note that a record of a finished request was dropped."""

    def readers_caught_up(self, connection: Connection) -> None:
        """Take note that no reader is behind any more."""

    def connection_closed(self, connection: Connection) -> None:
        """Take note, once, that the connection is over."""


@attrs.define(eq=False)
class _Upload:
    """A body of bytes on its way out."""

    request_id: int
    rest: memoryview
    tail: bool


@attrs.define(eq=False)
class Connection:
    """Requests on one socket; requests are begun and abandoned by its owner.

    Args:
        address: of the peer.
        backend: the event loop.
        owner: who is told what happens.
    """

    address: Address
    backend: Backend
    owner: ConnectionOwner
    client: ClientConnection = attrs.field(factory=ClientConnection, init=False)
    # None until attach() is done
    transport: Transport | None = attrs.field(default=None, init=False)
    # whether the head probe is answered, and what the peer said of itself
    answered: bool = attrs.field(default=False, init=False)
    values: dict[bytes, bytes] | None = attrs.field(default=None, init=False)
    # whether that is that it serves several requests on a connection at once
    says_it_multiplexes: bool = attrs.field(default=False, init=False)
    # requests begun, and responses completed, on this connection so far
    requests: int = attrs.field(default=0, init=False)
    responses: int = attrs.field(default=0, init=False)
    # whether the last probe is answered
    probe_answered: bool = attrs.field(default=False, init=False)
    # seconds that connecting took, and when it was done
    connect_time: float = attrs.field(default=0.0, init=False)
    connected_at: float = attrs.field(default=0.0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    # whether its worker is known to have left it: the peer closed, or said so
    worker_left: bool = attrs.field(default=False, init=False)
    # what ended the connection, where something did but an EOF or we ourselves
    close_cause: Exception | None = attrs.field(default=None, init=False)
    eof: bool = attrs.field(default=False, init=False)
    _exchanges: dict[int, Exchange | None] = attrs.field(factory=dict, init=False)
    # ids of which at least one byte of response has come
    _responding: set[int] = attrs.field(factory=set, init=False)
    _uploads: deque[_Upload] = attrs.field(factory=deque, init=False)
    # ids whose body comes through send_body() and is not complete, and whether a tail probe shall follow it
    _unfinished_bodies: dict[int, bool] = attrs.field(factory=dict, init=False)
    # whether the peer was gone before it took all that was written
    _refused: bool = attrs.field(default=False, init=False)
    _writing_paused: bool = attrs.field(default=False, init=False)
    _writable_waiters: list[Waiter] = attrs.field(factory=list, init=False)
    # when it is looked again whether the worker has read on
    _look: Timer | None = attrs.field(default=None, init=False)
    # requests whose reader is behind, and what has come for them since
    _slow_readers: dict[int, int] = attrs.field(factory=dict, init=False)
    _reading_paused: bool = attrs.field(default=False, init=False)

    @property
    def max_requests_at_once(self) -> int | None:
        """How many requests the peer says it serves at once, or None."""
        return requests_at_once(self.values or {})

    @property
    def in_flight(self) -> int:
        """How many responses are awaited, by whomever."""
        return len(self._exchanges)

    @property
    def callers(self) -> int:
        """How many responses are awaited by somebody who has not gone."""
        return sum(exchange is not None for exchange in self._exchanges.values())

    @property
    def slow_reader(self) -> bool:
        """Whether somebody on it reads more slowly than the peer writes."""
        return bool(self._slow_readers)

    @property
    def over(self) -> bool:
        """Whether nothing can be written any more: it is closed, or will be once what came before a fault is told."""
        return self.closed or not self.client.open

    # verbs of the owner

    def learn(self, values: dict[bytes, bytes]) -> None:
        """Take note of what the peer says of itself."""
        self.values = values
        self.says_it_multiplexes = values.get(FCGI_MPXS_CONNS) == b"1"

    def multiplex(self) -> None:
        """Serve several requests at once from now on."""
        self.client.multiplexing = True

    def send_head_probe(self) -> None:
        """Ask for the peer's values; `connection_answered` follows once a worker has taken the connection.

        Asked twice: a worker that was told to stop while it waited for its first record answers that one, and leaves.
        """
        self.client.get_values(_HEAD_PROBE)
        self._tail(_TAIL_PROBE)
        self._flush()

    def send_tail_probe(self) -> None:
        """Ask whether the worker is free; `worker_free` follows."""
        if not self.over:
            self._tail()
            self._flush()

    def begin(
        self, exchange: Exchange, request: EncodedRequest, *, keep_conn: bool = True, tail: bool = True
    ) -> int | None:
        """Write a request and return its id, or None where the peer had closed and took not one byte.

        Args:
            exchange: who gets the response.
            request: what to send; a body of None is written with `send_body()`.
            keep_conn: whether the peer shall keep the connection open afterwards.
            tail: whether a GET_VALUES follows the request.

        Raises:
            LocalProtocolError: the connection cannot take a request now.
        """
        if self.over or self.transport is None:
            return None
        client, body = self.client, request.body
        if request.role is _RESPONDER and body is not None and len(body) <= _ONE_WRITE:
            request_id = client.send_request(request.params, body, keep_conn=keep_conn)
            if tail:
                self._tail()
        else:
            request_id = client.begin_request(request.role, keep_conn=keep_conn)
            client.send_params(request_id, request.params)
            if body is None:
                self._unfinished_bodies[request_id] = tail
            elif request.role is Role.AUTHORIZER:
                if tail:
                    self._tail()
            else:
                self._uploads.append(_Upload(request_id, memoryview(body), tail))
                self._write_record(self._uploads[-1])
        if not self.transport.write(client.data_to_send()):
            self._uploads.clear()
            return None
        self._exchanges[request_id] = exchange
        self.requests += 1
        if self._slow_readers:
            self._regulate_reading()
        if self._uploads:
            self._pump_uploads()
        return request_id

    async def send_body(self, request_id: int, data: bytes) -> bool:
        """Write a part of a body, once the socket takes more; False where the request is over or the peer gone.

        Cancelling between two parts leaves the body incomplete; the owner must close the connection then.
        """
        # a record at a time, so that a large part does not hold up the neighbours
        for start in range(0, len(data), MAX_CONTENT):
            while self._writing_paused and not self.closed:
                waiter = self.backend.waiter()
                self._writable_waiters.append(waiter)
                await waiter
            if request_id not in self._unfinished_bodies:
                return False
            self.client.send_stdin(request_id, memoryview(data)[start : start + MAX_CONTENT])
            if not self._flush():
                return False
        return True

    def end_body(self, request_id: int) -> None:
        """Complete a body written with `send_body()`."""
        tail = self._unfinished_bodies.pop(request_id, None)
        if tail is None:
            return
        self.client.send_stdin(request_id, end=True)
        if tail:
            self._tail()
        self._flush()

    def abandon(self, request_id: int) -> None:
        """Forget who waits for a response; its output is dropped from now on, its body still written."""
        if request_id in self._exchanges:
            self._exchanges[request_id] = None
        if self._slow_readers:
            self._forget_slow_reader(request_id)

    def abort(self, request_id: int) -> None:
        """Forget who waits for a response, and ask a peer that multiplexes to end the request; its id stays taken.

        A probe follows: gevent-fastcgi reads nothing more where the request had ended meanwhile.
        """
        self.abandon(request_id)
        if self.over or self.client.state(request_id) in (RequestState.IDLE, RequestState.ABORTED):
            return
        # what is not written of its body is not owed any more
        self._uploads = deque(upload for upload in self._uploads if upload.request_id != request_id)
        self._unfinished_bodies.pop(request_id, None)
        self.client.abort_request(request_id)
        self._tail()
        self._flush()

    def pause_reading(self, request_id: int) -> None:
        """Read nothing more, since the reader of a request is behind.

        FastCGI has no windows: on a shared connection this would hold up every other request, so there the slow one
        is given 16 MiB of memory before it comes to that.
        """
        self._slow_readers[request_id] = 0
        self._regulate_reading()

    def resume_reading(self, request_id: int) -> None:
        """Read on."""
        if self._forget_slow_reader(request_id) and not self._slow_readers and not self.closed:
            self.owner.readers_caught_up(self)

    def close(self) -> None:
        """Close at once; exchanges still open are failed."""
        self._terminate(None)

    def needs_caller(self, request_id: int) -> bool:
        """Return whether a request's body still comes through `send_body()`."""
        return request_id in self._unfinished_bodies

    def body_incomplete(self, request_id: int) -> bool:
        """Return whether a part of a request's body has not been written."""
        return request_id in self._unfinished_bodies or any(upload.request_id == request_id for upload in self._uploads)

    # TransportHandler

    def data_received(self, data: bytes | memoryview) -> None:
        free = False
        for event in self.client.receive_data(data):
            if self.closed:
                return
            free = False
            if isinstance(event, Stdout):
                if (exchange := self._receiver(event)) is not None:
                    exchange.receive_stdout(event.data)
            elif isinstance(event, RequestEnded):
                self._receive_end(event)
            elif isinstance(event, ValuesReceived):
                free = self._receive_values(event)
            elif isinstance(event, Stderr):
                if (exchange := self._receiver(event)) is not None:
                    exchange.receive_stderr(event.data)
            elif isinstance(event, Stray):
                self.owner.stray_received(self)
            elif isinstance(event, Terminated):
                self._terminate(event.error)
                return
        if self.closed:
            return
        if free:
            self._worker_answered()
        elif self.client.probes_outstanding and not self._exchanges and not self.address.is_unix:
            # FPM leaves Nagle's algorithm on: the answer behind what has just come waits for its acknowledgement
            assert self.transport is not None
            self.transport.acknowledge()

    def eof_received(self) -> None:
        self.eof = True
        for event in self.client.receive_eof():
            if isinstance(event, Terminated):
                self.worker_left = True
                self._terminate(event.error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed:
            self.worker_left = error is not None
            self._terminate(None, error)

    def pause_writing(self) -> None:
        self._writing_paused = True

    def resume_writing(self) -> None:
        self._writing_paused = False
        self._wake_writers()
        self._pump_uploads()

    # what the peer did

    def _receiver(self, event: Stdout | Stderr) -> Exchange | None:
        self._responding.add(event.request_id)
        exchange = self._exchanges[event.request_id]
        if exchange is None:
            self.owner.output_dropped(self, event.request_id, len(event.data))
        elif event.request_id in self._slow_readers:
            self._slow_readers[event.request_id] += len(event.data)
            self._regulate_reading()
        return exchange

    def _receive_end(self, event: RequestEnded) -> None:
        request_id = event.request_id
        exchange = self._exchanges.pop(request_id)
        refused = event.protocol_status == _UNKNOWN_ROLE
        if self.client.multiplexing:
            if self.body_incomplete(request_id):
                # nobody reads the rest
                self.abort(request_id)
            elif refused:
                # gevent-fastcgi reads nothing more
                self.send_tail_probe()
        self._responding.discard(request_id)
        if self._slow_readers:
            self._forget_slow_reader(request_id)
        self.responses += 1
        self.owner.request_ended(self, request_id)
        if exchange is not None:
            exchange.receive_end(event.app_status, event.protocol_status)
        # such a peer answers a probe at any time: its END_REQUEST is what tells
        if self.says_it_multiplexes and not self.client.multiplexing and not self.over:
            if refused:
                self.worker_left = True
                self.close()
            else:
                self.owner.worker_free(self)

    def _receive_values(self, event: ValuesReceived) -> bool:
        if self.values is None:
            self.learn(event.values)
        if self.client.probes_outstanding:
            return False
        if self.client.multiplexing:
            # what comes behind the answer is of requests that run
            self.probe_answered = True
            self.owner.worker_free(self)
            return False
        if not self.answered and not self.requests:
            self.answered = True
            self.owner.connection_answered(self)
            return True
        return not (self._exchanges or self.client.unfinished)

    def _worker_answered(self, looks: int = 1) -> None:
        """Tell that the worker is free once it has read the byte behind its probe.

        A worker that was told to stop leaves between its answer and its next read: a job written then is lost, and
        the reset does not tell whether it ran. One that reads has nothing but the next request before it.
        """
        self._look, self.probe_answered = None, True
        assert self.transport is not None
        if self.transport.unread:
            now = self.backend.now()
            when = now if looks < _LOOKS_AT_ONCE else now + _LOOK_SECONDS
            self._look = self.backend.call_at(when, lambda: self._worker_answered(looks + 1))
        else:
            self.owner.worker_free(self)

    # writing

    def _tail(self, names: tuple[bytes, ...] | None = None) -> None:
        self.probe_answered = False
        if names is None:
            names = _TAIL_PROBE if self.says_it_multiplexes else ()
        self.client.get_values(names)
        if not self.client.multiplexing:
            self.client.send_ahead()

    def _forget_slow_reader(self, request_id: int) -> bool:
        known = self._slow_readers.pop(request_id, None) is not None
        self._regulate_reading()
        return known

    def _regulate_reading(self) -> None:
        if self.transport is None or self.closed:
            return
        slow = self._slow_readers
        wanted = bool(slow) and (len(slow) >= len(self._exchanges) or max(slow.values()) > _SLOW_READER_MAX)
        if wanted and not self._reading_paused:
            self.transport.pause_reading()
        elif self._reading_paused and not wanted:
            self.transport.resume_reading()
        self._reading_paused = wanted

    def _flush(self) -> bool:
        if self.transport is None or self.closed:
            return False
        # a peer that has gone is left to the reader, which first gets what it sent before
        taken = self.transport.write(self.client.data_to_send())
        self._refused = self._refused or not taken
        return taken

    def _pump_uploads(self) -> None:
        while self._uploads and not self._writing_paused and not self.closed:
            # one record of each in turn, so that a large body does not hold up its neighbours
            upload = self._uploads.popleft()
            self._write_record(upload)
            if upload.rest:
                self._uploads.append(upload)
            if not self._flush():
                self._uploads.clear()

    def _write_record(self, upload: _Upload) -> None:
        content, upload.rest = upload.rest[:MAX_CONTENT], upload.rest[MAX_CONTENT:]
        self.client.send_stdin(upload.request_id, content, end=not upload.rest)
        if not upload.rest and upload.tail:
            self._tail()

    def _wake_writers(self) -> None:
        waiters, self._writable_waiters = self._writable_waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    # the end

    def _terminate(self, fault: RemoteProtocolError | None, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self.client.open = False
        if self._look is not None:
            self._look.cancel()
        self.close_cause = fault or cause
        # a clean EOF behind a completely written request proves that it was never begun (the unread empty STDIN
        # record of a request that runs turns the EOF into a reset), but only where nothing between us and the peer
        # rewrites resets
        never_begun = self.eof and fault is None and self.address.is_unix and not self._unsent
        # who reads several requests at once leaves none of them unread
        never_begun = never_begun and not self.client.multiplexing
        if self.transport is not None:
            self.transport.abort()
        exchanges, self._exchanges = self._exchanges, {}
        self.owner.connection_closed(self)
        for request_id, exchange in exchanges.items():
            if exchange is None:
                continue
            proven = never_begun and request_id not in self._responding and not self.body_incomplete(request_id)
            exchange.receive_failure(self._failure(fault, cause), may_have_run=not proven)
        self._uploads.clear()
        self._unfinished_bodies.clear()
        self._wake_writers()

    def _failure(self, fault: RemoteProtocolError | None, cause: Exception | None) -> FastCGIError:
        # one error for each exchange: it will carry that job's facts
        if fault is not None:
            error: FastCGIError = RemoteProtocolError(fault.message)
            error.__cause__ = fault.__cause__
            return error
        what = "the peer closed the connection" if self.eof else f"the connection was lost ({cause or 'closed by us'})"
        error = ConnectionLost(f"{what} before the response was complete; FPM's log tells why its worker left")
        error.__cause__ = cause
        return error

    @property
    def _unsent(self) -> bool:
        return self._refused or (self.transport is not None and self.transport.unsent > 0)
