"""One PHP worker: ask whether it is there, give it a request, and find out when it is free again."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.net.transport import Transport
from fcgi_async.net.values import ASK_AGAIN, ASK_ALL
from fcgi_async.pool.attempt import Attempt
from fcgi_async.pool.exclusive import Exclusive
from fcgi_async.pool.manner import Fact, Manner
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.pool.slots import SlotState
from fcgi_async.wire.events import RequestEnded, Stderr, Stdout, Stray, Terminated, ValuesReceived
from fcgi_async.wire.request import EncodedRequest
from fcgi_async.wire.spec import FCGI_MPXS_CONNS, ProtocolStatus

__all__ = ("Worker",)

# a peer that reads ahead reads at least this many bytes at once
_SMALL_REQUEST = 4096
# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_UNKNOWN_ROLE = int(ProtocolStatus.UNKNOWN_ROLE)
_IDLE, _BUSY, _FINISHING = SlotState.IDLE, SlotState.BUSY, SlotState.FINISHING
_UNKNOWN, _FPM, _TAILLESS = Manner.UNKNOWN, Manner.FPM, Manner.TAILLESS


class Worker(Exclusive):
    """A connection that serves one request at a time, as PHP-FPM does; its state is the slot's.

    Args:
        peer: the peer that the worker belongs to.
        answered: called when the head probe is answered, before `free`.
        free: called when the worker is known to wait for a request.
        ended: called once, when the connection has ended.

    Attributes:
        values: the values that the peer reported, or None.
        multiplexes: whether the peer reported that it serves several requests on a connection at once.
    """

    def __init__(
        self,
        peer: Peer,
        answered: Callable[[Worker], None],
        free: Callable[[Worker], None],
        ended: Callable[[Worker], None],
    ) -> None:
        super().__init__(peer)
        self._answered, self._free, self._ended = answered, free, ended
        self.values: dict[bytes, bytes] | None = None
        self.multiplexes = False
        self._head_answered = False
        # whether it has reported that it serves one request at a time; and whether its answer may be taken in one piece
        self._is_simple = self._plain = False

    # a job's way

    def start(self, attempt: Attempt, request: EncodedRequest) -> bool:
        transport, client, peer = self._transport, self._client, self.peer
        if transport is None or not client.open:
            return False
        if request.pieces is None or not (client.quiet and peer.plain) or attempt.waits_for_worker:
            return self._start_otherwise(transport, attempt, request)
        # a short form of `_start_otherwise()`, for most jobs
        data = client.request_and_probe(request.pieces)
        if not transport.write(data):
            self._refuse()
            return False
        self._plain = self._unanswered = attempt.may_have_run = True
        self.attempt = attempt
        self.requests += 1
        if not self._leaves_unread:
            self._look_for_manner(data, request)
        if self.state is not _BUSY:
            peer.ledger.move(self, _BUSY)
        return True

    def _start_otherwise(self, transport: Transport, attempt: Attempt, request: EncodedRequest) -> bool:
        """Write the first request on a connection, a large one, or one to a peer whose manner is not known."""
        client, peer = self._client, self.peer
        if request.pieces is not None and self._is_simple and peer.plain:
            self._plain = not attempt.waits_for_worker
            data = client.request_and_probe(request.pieces)
        else:
            self._plain = False
            # a peer that is not known yet may drop the tail, and then this byte too
            self._probe.ahead = peer.manner is not _UNKNOWN
            keep = peer.endpoint.handshake
            tail = keep and not self.multiplexes and peer.manner is not _TAILLESS
            self._request_id = self._write_request(request, keep_conn=keep, tail=tail)
            data = client.data_to_send()
        if not transport.write(data):
            self._refuse()
            return False
        self._look_for_manner(data, request)
        self.attempt, self._unanswered, self._responding = attempt, True, False
        attempt.may_have_run = True
        if not self.requests:
            attempt.connect, attempt.connected_at = self._connect_time, self._connected_at
        self.requests += 1
        if self.state is not _BUSY:
            peer.ledger.move(self, _BUSY)
        if self._bodies.pending:
            self._bodies.pump()
        return True

    def _look_for_manner(self, data: bytes, request: EncodedRequest) -> None:
        """Prepare to learn from this request's response whether the peer leaves the bytes that follow it unread."""
        if self.peer.is_unix and not self.leaves_unread:
            self._shows_manner = request.body is not None and len(data) <= _SMALL_REQUEST

    def _refuse(self) -> None:
        if self.accepted and self.state is not _IDLE:
            # it was free and still is: no script runs on after its connection ends, and this is not a failure to
            # connect
            self.peer.ledger.move(self, _IDLE)
        super()._refuse()

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take what the peer wrote; return whether more will come in a moment."""
        try:
            attempt = self.attempt
            if attempt is None or not self._plain or type(data) is not bytes:
                self._receive_otherwise(data)
            elif (whole := self._client.receive_whole(data)) is None:
                self._receive(data)
            else:
                # an answer that came in one piece, as most do, perhaps with the answer to the tail probe
                stdout, stderr, answered = whole
                peer = self.peer
                if self._shows_manner:
                    self._look_at_manner()
                self.attempt, self._unanswered = None, False
                if not peer.reachability.proven:
                    peer.reachability.served()
                if stderr:
                    attempt.receive_stderr(stderr, more=False)
                if not answered:
                    self._finish()
                attempt.first_byte, attempt.whole = peer.backend.now(), stdout
                if attempt.owner is not None:
                    attempt.owner.attempt_over(attempt)
                # callbacks at its end may have closed it
                if answered and not self.closed:
                    self._worker_answered()
        except Exception as error:
            self._faulty(error)
        # FPM answers the tail some microseconds after the response: read on without waiting for the loop's next turn
        return not (self._unanswered or self.closed) and self._client.probes_outstanding > 0

    def _receive_otherwise(self, data: bytes | memoryview) -> None:
        """Take what is no whole answer to a plain request: the answer to a tail probe, most often."""
        if self.attempt is not None or not self._plain or type(data) is not bytes or not self._receive_answer(data):
            self._receive(data)

    def _finish(self) -> None:
        """Wait for the answer to the tail probe."""
        peer = self.peer
        peer.ledger.move(self, _FINISHING, peer.sweep.due(peer.endpoint.drain_timeout))
        if peer.manner is not _FPM:
            self._probe.expect()
        if not peer.is_unix:
            self._acknowledge()

    def _receive_answer(self, data: bytes) -> bool:
        """Take the answer to the tail probe. If `data` is anything else, take nothing and return False."""
        if self._unanswered or self._leaving is not None or not self._client.receive_answer(data):
            return False
        self._probe.stop()
        self._worker_answered()
        return True

    def _receive(self, data: bytes | memoryview) -> None:
        if self._leaving is not None:
            self._leaving.receive(data)
            return
        free = False
        for event in self._client.receive_data(data):
            if self.closed or self._leaving is not None:
                return
            free = False
            if isinstance(event, (Stdout, Stderr)):
                self._receive_output(event)
            elif isinstance(event, RequestEnded):
                self._receive_end(event)
            elif isinstance(event, ValuesReceived):
                free = self._receive_values(event)
            elif isinstance(event, Stray):
                self.peer.stray_records += 1
            elif isinstance(event, Terminated):
                self._terminate(Ending.FAULT, event.error)
                return
        if self.closed or self._leaving is not None:
            return
        if free:
            self._worker_answered()
        elif self._client.probes_outstanding and not self._unanswered and not self.peer.is_unix:
            self._acknowledge()

    def _acknowledge(self) -> None:
        """Acknowledge what came, so that FPM, which leaves Nagle's algorithm on, sends the next answer."""
        if self._transport is not None:
            self._transport.acknowledge()

    def _receive_output(self, event: Stdout | Stderr) -> None:
        if not self._responding:
            self._responding = True
            if self._shows_manner:
                self._look_at_manner()
        attempt = self.attempt
        if attempt is None:
            self.dropped += len(event.data)
            if self.dropped > self.peer.endpoint.drain_bytes:
                self._refuse_rest()
        elif isinstance(event, Stdout):
            attempt.receive_stdout(event.data, self.peer.backend.now())
        else:
            attempt.receive_stderr(event.data)

    def _receive_end(self, event: RequestEnded) -> None:
        attempt, self.attempt = self.attempt, None
        self._unanswered = self._responding = False
        self.resume()
        peer = self.peer
        if self._head_answered:
            peer.reachability.served()
        if not peer.endpoint.handshake or (self.multiplexes and self._client.unfinished):
            self.worker_left = True  # such a peer tells nothing about its worker but END_REQUEST
            self.close()
        else:
            if self.state is _BUSY:
                peer.ledger.move(self, _FINISHING, peer.sweep.due(peer.endpoint.drain_timeout))
            if peer.manner is _TAILLESS:
                self._send_tail_probe()
            elif peer.manner is not _FPM:
                self._probe.expect()
        if attempt is not None:
            if attempt.waits_for_worker and not (self.closed or event.protocol_status):
                self._tell_when_left(attempt, event.app_status)
            else:
                attempt.receive_end(event.app_status, event.protocol_status)
        # such a peer answers a probe at any time: only its END_REQUEST tells
        if self.multiplexes and not self.over:
            if event.protocol_status == _UNKNOWN_ROLE:
                self.worker_left = True
                self.close()
            else:
                self.is_free()

    def _tell_when_left(self, attempt: Attempt, app_status: int) -> None:
        attempt.app_status = app_status
        if self.body_awaited:
            self._stop_body()
        # EOF instead of the tail answer: the worker exited normally (pm.max_requests)
        self._when_free = lambda answered: attempt.worker_left(answered=answered or self._eof)

    def _receive_values(self, event: ValuesReceived) -> bool:
        if self.values is None:
            self.learn(event.values)
        self._probe.stop()
        if event.dropped:
            self.peer.tail_dropped()
        if self._client.probes_outstanding:
            return False
        if not self._head_answered and not self.requests:
            self._head_answered = True
            self._is_simple = not self.multiplexes
            self._answered(self)
            return True
        return not (self._unanswered or self._client.unfinished)

    def _worker_answered(self) -> None:
        """Give the worker its next request after it has read the byte after its probe; a leaving one never reads it."""
        assert self._transport is not None
        if self._transport.unread:
            self._probe.await_reading(self._transport)
        else:
            self.is_free()

    def is_free(self) -> None:
        """Called when the worker waits for a request."""
        peer = self.peer
        if peer.manner is _UNKNOWN and self.requests:
            peer.learn(Fact.TAIL_ANSWERED)
        self.dropped = 0
        self.accepted = True
        if self._when_free is not None:
            self.tell(answered=True)
            if self.closed:
                return
        self._free(self)

    # other uses by its owners

    def learn(self, values: dict[bytes, bytes]) -> None:
        """Store the values that the peer reports."""
        self.values = values
        self.multiplexes = values.get(FCGI_MPXS_CONNS) == b"1"
        self._probe.names = ASK_AGAIN if self.multiplexes else ()

    def send_head_probe(self) -> None:
        """Ask for the peer's values; `answered` is called when a worker has accepted the connection.

        It asks twice: a worker that was told to stop while it waited for its first record answers that one and leaves.
        """
        self._client.get_values(ASK_ALL)
        self._client.get_values(ASK_AGAIN)
        self._client.send_ahead()
        self._flush()

    def give_back(self) -> None:
        if not self.over:
            self.is_free()

    def ask(self, told: Callable[[bool], None]) -> None:
        self.hold()
        peer = self.peer
        peer.ledger.move(self, _FINISHING, peer.sweep.due(peer.endpoint.drain_timeout))
        self._when_free = told
        self._send_tail_probe()

    def _send_tail_probe(self) -> None:
        if not self.over:
            # what was known about the peer at the last request, if that was written in parts
            self._probe.ahead = self._probe.ahead or self.peer.manner is not _UNKNOWN
            self._probe.write()
            self._flush()

    # the end

    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self._client.close()
        self._probe.stop()
        if self._leaving is not None:
            self._leaving.stop()
        self.close_cause = cause
        attempt, self.attempt = self.attempt, None
        written = self._written and not self._bodies.incomplete(self._request_id)
        if self._transport is not None:
            self._transport.abort()
        self._ended(self)
        if attempt is not None:
            attempt.lose(ending, cause, eof=self._eof, written=written, leaves_unread=self.leaves_unread)
        self._bodies.close()
