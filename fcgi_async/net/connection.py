"""One live connection: the state machine, the transport, and the exchanges on it."""

from __future__ import annotations

import logging
from typing import Protocol

import attrs

from fcgi_async.errors import ConnectionLost, FastCGIError, RemoteProtocolError
from fcgi_async.net.address import Address
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.bodies import Bodies
from fcgi_async.net.proof import Ending, may_have_run
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

logger = logging.getLogger("fcgi_async.net")

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
# a peer that answers the tail has done so long before; it is asked again so that one that drops the tail shows it
_ASK_AGAIN_SECONDS = 0.1
# whoever reads ahead reads at least so much at once
_SMALL_REQUEST = 4096
# how often the kernel is asked whether an abandoned script has left its worker: the longer it runs, the less often
_WATCH_SECONDS_MIN, _WATCH_SECONDS_MAX, _WATCH_SHARE = 0.0005, 0.05, 0.05
# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_RESPONDER, _UNKNOWN_ROLE = Role.RESPONDER, int(ProtocolStatus.UNKNOWN_ROLE)


@attrs.frozen
class EncodedRequest:
    """A request as bytes.

    Attributes:
        role: what the peer is asked to be.
        params: contents of PARAMS records.
        body: all of the body, or None if it comes in parts through `Connection.bodies`.
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

    def tail_left_unread(self, connection: Connection) -> None:
        """Called when a response comes while the bytes that follow its request are unread."""

    def tail_dropped(self, connection: Connection) -> None:
        """Called when the peer answers a later probe, and has not answered the one that follows a request."""

    def connection_closed(self, connection: Connection) -> None:
        """Take note, once, that the connection is over."""


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
    # whether the peer leaves unread what follows a request until its script has ended
    leaves_unread: bool = attrs.field(default=False, init=False)
    # whether the first byte of the next request is sent together with a tail probe
    send_ahead: bool = attrs.field(default=True, init=False)
    # whether the rest of the response is refused, and the connection kept to see when the worker leaves the script
    leaving: bool = attrs.field(default=False, init=False)
    _refusing: bool = attrs.field(default=False, init=False)
    # whether the script has ended when the bytes that follow its request are read
    _end_is_seen: bool = attrs.field(default=True, init=False)
    # it is not used for another request
    spent: bool = attrs.field(default=False, init=False)
    # what ended the connection, where something did but an EOF or we ourselves
    close_cause: Exception | None = attrs.field(default=None, init=False)
    eof: bool = attrs.field(default=False, init=False)
    bodies: Bodies = attrs.field(init=False)
    _exchanges: dict[int, Exchange | None] = attrs.field(factory=dict, init=False)
    # ids of which at least one byte of response has come
    _responding: set[int] = attrs.field(factory=set, init=False)
    # whether the peer was gone before it took all that was written
    _refused: bool = attrs.field(default=False, init=False)
    # when it is looked again: whether the worker has read on, has answered, or has left an abandoned script
    _look: Timer | None = attrs.field(default=None, init=False)
    _leaving_since: float = attrs.field(default=0.0, init=False)
    # the last request is small, and whether bytes that follow it are left unread has not been seen
    _shows_manner: bool = attrs.field(default=False, init=False)
    # requests whose reader is behind, and what has come for them since
    _slow_readers: dict[int, int] = attrs.field(factory=dict, init=False)
    _reading_paused: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self.bodies = Bodies(self.client, self.backend, self._tail, self._flush)

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
        """Write a request and return its id; return None if the peer had closed, and then close in the next turn.

        Args:
            exchange: who gets the response.
            request: what to send; a body of None is written through `bodies`.
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
                self.bodies.open(request_id, tail=tail)
            elif request.role is Role.AUTHORIZER:
                if tail:
                    self._tail()
            else:
                self.bodies.add(request_id, body, tail=tail)
        data = client.data_to_send()
        if not self.transport.write(data):
            self._refuse()
            return None
        self._shows_manner = not self.leaves_unread and body is not None and len(data) <= _SMALL_REQUEST
        self._exchanges[request_id] = exchange
        self.requests += 1
        if self._slow_readers:
            self._regulate_reading()
        if self.bodies.pending:
            self.bodies.pump()
        return request_id

    def _refuse(self) -> None:
        """Give up a connection whose peer took not one byte of a request."""
        self.bodies.drop()
        self.worker_left, self.client.open = True, False
        # not now: whoever writes the request first puts it where another connection finds it
        self.backend.call_at(self.backend.now(), self.close)

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
        self.bodies.forget(request_id)
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
        self._terminate(Ending.OURS)

    def leave(self, *, at_once: bool = False) -> None:
        """Refuse the rest of the response, and close when the worker has left the script.

        On unix sockets only: a script that writes dies at its next write. Until then the bytes that follow the request
        stay unread, if the peer is one that leaves them there (`leaves_unread`); otherwise the end tells nothing.

        A script that has written nothing yet is refused once it has, and not at its end: if its one write failed,
        fastcgi_finish_request() would read those bytes, and the script go on unseen.

        Args:
            at_once: refuse also a script that has written nothing, so that it dies when it flushes. That those bytes
                are read tells nothing then.
        """
        if self.over or self.leaving or self.transport is None:
            self.close()
            return
        if self._look is not None:
            self._look.cancel()
        self.leaving = True
        self._leaving_since = self.backend.now()
        self._end_is_seen = bool(self._responding) or not self._exchanges or not at_once
        if self._responding or not self._exchanges or at_once:
            self._refuse_output(self.transport)
        self._watch()

    def _refuse_output(self, transport: Transport) -> None:
        self._refusing = True
        transport.shut_reading()

    def cut_short(self, request_id: int) -> None:
        """End a body of which a part is missing, so that the script does not wait for it; the connection is spent."""
        self.spent = True
        self.bodies.end(request_id, short=True)

    def expect_tail(self) -> None:
        """Ask once more if the tail probe is not answered soon, so that a peer that drops it shows it."""
        if self.client.probes_outstanding and self._look is None and not self.over:
            self._look = self.backend.call_at(self.backend.now() + _ASK_AGAIN_SECONDS, self._ask_again)

    # TransportHandler

    def data_received(self, data: bytes | memoryview) -> bool:
        try:
            self._receive(data)
        except Exception as error:
            self._faulty(error)
        # FPM answers the tail some microseconds after the response: read on, without waiting for the loop's next turn
        return bool(self.client.probes_outstanding) and not self._exchanges and not self.closed

    def _faulty(self, error: Exception) -> None:
        """End this connection, and no other, because of a fault in our own code."""
        logger.error("a connection to %s is closed because of a fault in fcgi_async", self.address, exc_info=error)
        self._terminate(Ending.OURS, error)

    def _receive(self, data: bytes | memoryview) -> None:
        if self.leaving:
            if not self._refusing:
                self._receive_unwanted(data)
            return
        free = False
        for event in self.client.receive_data(data):
            if self.closed or self.leaving:
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
                self._terminate(Ending.FAULT, event.error)
                return
        if self.closed or self.leaving:
            return
        if free:
            self._worker_answered()
        elif self.client.probes_outstanding and not self._exchanges and not self.address.is_unix:
            # FPM leaves Nagle's algorithm on: the answer behind what has just come waits for its acknowledgement
            assert self.transport is not None
            self.transport.acknowledge()

    def _receive_unwanted(self, data: bytes | memoryview) -> None:
        """Take what comes from a script that had written nothing when it was left: its end, or output to be refused."""
        for event in self.client.receive_data(data):
            if isinstance(event, Stdout | Stderr):
                self._responding.add(event.request_id)
            elif isinstance(event, RequestEnded):
                self._responding.discard(event.request_id)
                del self._exchanges[event.request_id]
            elif isinstance(event, Terminated):
                self._terminate(Ending.FAULT, event.error)
                return
        if self._responding and self.transport is not None:
            self._refuse_output(self.transport)
        elif not (self.client.unfinished or self.client.probes_outstanding):
            self.worker_left = True
            self.close()

    def eof_received(self) -> None:
        self.eof = True
        for event in self.client.receive_eof():
            if isinstance(event, Terminated):
                self.worker_left = True
                self._end(Ending.EOF if event.error is None else Ending.FAULT, event.error)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closed:
            self.worker_left = error is not None
            self._end(Ending.OURS if error is None else Ending.RESET, error)

    def pause_writing(self) -> None:
        self.bodies.pause()

    def resume_writing(self) -> None:
        try:
            self.bodies.resume()
        except Exception as error:
            self._faulty(error)

    # what the peer did

    def _receiver(self, event: Stdout | Stderr) -> Exchange | None:
        if event.request_id not in self._responding:
            self._responding.add(event.request_id)
            if self._shows_manner:
                self._look_at_manner()
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
            if self.bodies.incomplete(request_id):
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
        if self._look is not None:
            self._look.cancel()
            self._look = None
        if event.dropped:
            self.owner.tail_dropped(self)
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

    def _look_at_manner(self) -> None:
        self._shows_manner = False
        if self.transport is not None and self.transport.unread:
            self.owner.tail_left_unread(self)

    def _ask_again(self) -> None:
        self._look = None
        if self.client.probes_outstanding and not self.over and not self.leaving:
            # the tail asked for nothing: whoever names this has not answered that
            self.client.get_values((FCGI_MPXS_CONNS,))
            # libfcgi answers when it has read on
            self.client.send_ahead()
            self._flush()

    def _watch(self) -> None:
        """Close once the worker has read what follows the request it was on."""
        self._look = None
        if self.closed or self.transport is None:
            return
        if self.transport.unread or self.transport.unsent or self.bodies.pending:
            now = self.backend.now()
            delay = min((now - self._leaving_since) * _WATCH_SHARE, _WATCH_SECONDS_MAX)
            self._look = self.backend.call_at(now + max(delay, _WATCH_SECONDS_MIN), self._watch)
        else:
            self.worker_left = self.leaves_unread and self._end_is_seen
            self.close()

    # writing

    def _tail(self, names: tuple[bytes, ...] | None = None) -> None:
        self.probe_answered = False
        if names is None:
            names = _TAIL_PROBE if self.says_it_multiplexes else ()
        self.client.get_values(names)
        if self.send_ahead and not self.client.multiplexing:
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

    # the end

    def _end(self, ending: Ending, cause: Exception | None) -> None:
        try:
            self._terminate(ending, cause)
        except Exception as error:
            self._faulty(error)

    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self.client.open = False
        if self._look is not None:
            self._look.cancel()
        self.close_cause = cause
        # a peer that reads several requests at once leaves none of them unread
        leaves_unread = self.leaves_unread and not self.client.multiplexing
        written = not self._refused and (self.transport is None or not self.transport.unsent)
        if self.transport is not None:
            self.transport.abort()
        exchanges, self._exchanges = self._exchanges, {}
        self.owner.connection_closed(self)
        for request_id, exchange in exchanges.items():
            if exchange is not None:
                ran = may_have_run(
                    ending,
                    written=written and not self.bodies.incomplete(request_id),
                    responded=request_id in self._responding,
                    leaves_unread=leaves_unread,
                )
                exchange.receive_failure(self._failure(ending, cause), may_have_run=ran)
        self.bodies.close()

    def _failure(self, ending: Ending, cause: Exception | None) -> FastCGIError:
        # one error for each exchange: it will carry that job's facts
        if ending is Ending.FAULT and isinstance(cause, RemoteProtocolError):
            error: FastCGIError = RemoteProtocolError(cause.message)
            error.__cause__ = cause.__cause__
            return error
        what = "the peer closed the connection" if self.eof else f"the connection was lost ({cause or 'closed by us'})"
        error = ConnectionLost(f"{what} before the response was complete; FPM's log tells why its worker left")
        error.__cause__ = cause
        return error
