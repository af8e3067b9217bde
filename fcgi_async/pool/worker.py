"""A PHP worker that is ours: how it is asked, given a request, and known to be free again."""

from __future__ import annotations

from collections.abc import Callable

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

# whoever reads ahead reads at least so much at once
_SMALL_REQUEST = 4096
# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_UNKNOWN_ROLE = int(ProtocolStatus.UNKNOWN_ROLE)
_IDLE, _BUSY, _FINISHING = SlotState.IDLE, SlotState.BUSY, SlotState.FINISHING
_UNKNOWN, _FPM, _TAILLESS = Manner.UNKNOWN, Manner.FPM, Manner.TAILLESS


class Worker(Exclusive):
    """One connection that serves one request at a time, as PHP-FPM does; its state is the slot's.

    Args:
        peer: whose worker it is.
        answered: called when the head probe is answered, before `free`.
        free: called when the worker is known to wait for a request.
        ended: called once, when the connection has ended.

    Attributes:
        values: what the peer said of itself, or None.
        multiplexes: whether that is that it serves several requests on a connection at once.
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
        self._responses = 0
        self.values: dict[bytes, bytes] | None = None
        self.multiplexes = False
        self._head_answered = False
        # whether the answer may be taken in one
        self._plain = False

    # the way of a job

    def start(self, attempt: Attempt, request: EncodedRequest) -> bool:
        transport, peer = self._transport, self.peer
        if transport is None or self.closed or not self._client.open:
            return False
        pieces = request.pieces
        if pieces is not None and peer.plain and not self.multiplexes:
            self._plain = self._head_answered and not attempt.waits_for_worker
            request_id, data = self._client.request_and_probe(pieces)
        else:
            self._plain = False
            # a peer that is not known yet may drop the tail, and would drop this byte with it
            self._probe.ahead = peer.manner is not _UNKNOWN
            keep = peer.endpoint.handshake
            tail = keep and not self.multiplexes and peer.manner is not _TAILLESS
            request_id = self._write_request(request, keep_conn=keep, tail=tail)
            data = self._client.data_to_send()
        if not transport.write(data):
            self._refuse()
            return False
        if not self._leaves_unread and peer.is_unix and not self.leaves_unread:
            self._shows_manner = request.body is not None and len(data) <= _SMALL_REQUEST
        self.attempt, self._request_id = attempt, request_id
        self._unanswered, self._responding = True, False
        attempt.may_have_run = True
        if not self.requests:
            attempt.connect, attempt.connected_at = self._connect_time, self._connected_at
        self.requests += 1
        if self.state is not _BUSY:
            peer.ledger.move(self, _BUSY)
        if pieces is None and self._bodies.pending:
            self._bodies.pump()
        return True

    def _refuse(self) -> None:
        if self.accepted and self.state is not _IDLE:
            # it was free, and is: the end of its connection leaves no script behind, and is no failure to connect
            self.peer.ledger.move(self, _IDLE)
        super()._refuse()

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take what the peer wrote; return whether more is due in a moment."""
        try:
            if not self._plain or type(data) is not bytes or not self._receive_whole(data):
                self._receive(data)
        except Exception as error:
            self._faulty(error)
        # FPM answers the tail some microseconds after the response: read on, without waiting for the loop's next turn
        return not self._unanswered and not self.closed and bool(self._client.probes_outstanding)

    def _receive_whole(self, data: bytes) -> bool:
        """Take an answer that came in one, as most do; False, with nothing taken, if it is anything else."""
        attempt, peer = self.attempt, self.peer
        if self._leaving is not None:
            return False
        if attempt is None:
            if self._unanswered or not self._client.receive_answer(data):
                return False
            self._probe.stop()
            self._worker_answered()
            return True
        found = self._client.receive_whole(data)
        if found is None:
            return False
        if self._shows_manner:
            self._look_at_manner()
        content, answered = found
        self.attempt, self._unanswered = None, False
        self._responses += 1
        peer.reachability.served()
        if not answered:
            peer.ledger.move(self, _FINISHING, peer.sweep.due(peer.endpoint.drain_timeout))
            if peer.manner is not _FPM:
                self._probe.expect()
        attempt.receive_whole(content, peer.backend.now())
        if answered:
            if not (self.closed or self._leaving is not None):
                self._worker_answered()
        elif not (self.closed or peer.is_unix):
            self._acknowledge()
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
        """Let FPM, which leaves Nagle's algorithm on, send the answer that follows what has just come."""
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
        self._responses += 1
        self.resume()
        peer = self.peer
        if self._head_answered:
            peer.reachability.served()
        if not peer.endpoint.handshake or (self.multiplexes and self._client.unfinished):
            self.worker_left = True  # END_REQUEST is all that such a peer says of its worker
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
        # such a peer answers a probe at any time: its END_REQUEST is what tells
        if self.multiplexes and not self.over:
            if event.protocol_status == _UNKNOWN_ROLE:
                self.worker_left = True
                self.close()
            else:
                self.is_free()

    def _tell_when_left(self, attempt: Attempt, app_status: int) -> None:
        attempt.app_status = app_status
        if self.body_awaited:
            self._cut_short()
        # an EOF in the tail's place is a worker that leaves in good order (pm.max_requests)
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
            self._answered(self)
            return True
        return not (self._unanswered or self._client.unfinished)

    def _worker_answered(self) -> None:
        """Give the worker its next request once it has read the byte after its probe; a worker that leaves does not."""
        assert self._transport is not None
        if self._transport.unread:
            self._probe.await_reading(self._transport)
        else:
            self.is_free()

    def is_free(self) -> None:
        """Take it that the worker waits for a request."""
        peer = self.peer
        if peer.manner is _UNKNOWN and self._responses:
            peer.learn(Fact.TAIL_ANSWERED)
        self.dropped = 0
        self.accepted = True
        if self._when_free is not None:
            self.tell(answered=True)
            if self.closed:
                return
        self._free(self)

    # what else its owners do with it

    def learn(self, values: dict[bytes, bytes]) -> None:
        """Learn what the peer says of itself."""
        self.values = values
        self.multiplexes = values.get(FCGI_MPXS_CONNS) == b"1"
        self._probe.names = ASK_AGAIN if self.multiplexes else ()

    def send_head_probe(self) -> None:
        """Ask for the peer's values; `answered` follows once a worker has taken the connection.

        Asked twice: a worker that was told to stop while it waited for its first record answers that one, and leaves.
        """
        self._client.get_values(ASK_ALL)
        self._client.get_values(ASK_AGAIN)
        self._client.send_ahead()
        self._flush()

    def give_back(self) -> None:
        if not self.closed:
            self.is_free()

    def ask(self, told: Callable[[bool], None]) -> None:
        self.hold()
        peer = self.peer
        peer.ledger.move(self, _FINISHING, peer.sweep.due(peer.endpoint.drain_timeout))
        self._when_free = told
        self._send_tail_probe()

    def _send_tail_probe(self) -> None:
        if not self.over:
            # what was known of the peer at the last request, if that was written in parts
            self._probe.ahead = self._probe.ahead or self.peer.manner is not _UNKNOWN
            self._probe.write()
            self._flush()

    # the end

    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self._client.open = False
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
