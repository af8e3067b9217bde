"""A PHP worker that is ours: its slot, the socket to it, and the one request on it."""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable

from fcgi_async.net.backend import Timer
from fcgi_async.net.bodies import Bodies
from fcgi_async.net.transport import Transport
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.manner import Fact, Manner
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.pool.slots import SlotState
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded, Stderr, Stdout, Stray, Terminated, ValuesReceived
from fcgi_async.wire.request import EncodedRequest
from fcgi_async.wire.spec import FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS, MAX_CONTENT, ProtocolStatus, Role

__all__ = ("Worker",)

logger = logging.getLogger("fcgi_async.net")

_HEAD_PROBE = (FCGI_MPXS_CONNS, FCGI_MAX_REQS, FCGI_MAX_CONNS)
# what Go's net/http/fcgi must be asked for, since its second, empty answer would else be taken for the next one's
_TAIL_PROBE = (FCGI_MPXS_CONNS,)
# the worker that has just answered reads on within microseconds: look again at once, and leave it the processor then
_LOOKS_AT_ONCE = 3
_LOOK_SECONDS = 0.0005
# a peer that answers the tail has done so long before; it is asked again so that one that drops the tail shows it
_ASK_AGAIN_SECONDS = 0.1
# whoever reads ahead reads at least so much at once
_SMALL_REQUEST = 4096
# how often the kernel is asked whether an abandoned script has left its worker: the longer it runs, the less often
_WATCH_SECONDS_MIN, _WATCH_SECONDS_MAX, _WATCH_SHARE = 0.0005, 0.05, 0.05
# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_AUTHORIZER, _UNKNOWN_ROLE = Role.AUTHORIZER, int(ProtocolStatus.UNKNOWN_ROLE)
_BUSY, _FINISHING = SlotState.BUSY, SlotState.FINISHING
_DRAINING, _LEAVING = SlotState.DRAINING, SlotState.LEAVING
_UNKNOWN, _FPM, _ANSWERS, _TAILLESS = Manner.UNKNOWN, Manner.FPM, Manner.ANSWERS, Manner.TAILLESS


class Worker(JobSlot):
    """One connection that serves one request at a time, as PHP-FPM does; its state is the slot's.

    Args:
        peer: whose worker it is.
        answered: called when the head probe is answered, before `free`.
        free: called when the worker is known to wait for a request.
        ended: called once, when the connection has ended.

    Attributes:
        requests: how many were begun on it.
        values: what the peer said of itself, or None.
        multiplexes: whether that is that it serves several requests on a connection at once.
        spent: whether it is not used for another request.
        worker_left: whether its worker is known to have left it: the peer closed, or said so.
        close_cause: what ended it, if something did but an EOF or we ourselves.
        closed: whether it has ended.
    """

    __slots__ = (
        "_answered",
        "_bodies",
        "_client",
        "_connect_time",
        "_connected_at",
        "_end_is_seen",
        "_ended",
        "_eof",
        "_free",
        "_has_answered",
        "_head_answered",
        "_leaves_unread",
        "_leaving",
        "_leaving_since",
        "_listener",
        "_look",
        "_paused",
        "_plain",
        "_refused",
        "_refusing",
        "_request_id",
        "_responding",
        "_responses",
        "_send_ahead",
        "_shows_manner",
        "_transport",
        "_unanswered",
        "_when_free",
        "close_cause",
        "closed",
        "multiplexes",
        "requests",
        "spent",
        "values",
        "worker_left",
    )

    def __init__(
        self,
        peer: Peer,
        answered: Callable[[Worker], None],
        free: Callable[[Worker], None],
        ended: Callable[[Worker], None],
    ) -> None:
        super().__init__(peer)
        self._answered, self._free, self._ended = answered, free, ended
        self._client = ClientConnection()
        self._bodies = Bodies(self._client, peer.backend, self._tail, self._flush)
        # None until attach()
        self._transport: Transport | None = None
        self._connect_time = self._connected_at = 0.0
        self._request_id = 0
        # whether a request is begun whose END_REQUEST has not come, and whether a byte of its response has
        self._unanswered = self._responding = False
        self.requests = self._responses = 0
        self.values: dict[bytes, bytes] | None = None
        self.multiplexes = False
        self._head_answered = False
        # whether the last probe is answered, and the byte after it not read yet
        self._has_answered = False
        self.closed = self.spent = self.worker_left = False
        self.close_cause: Exception | None = None
        # whether the peer has closed, and whether it was gone before it took all that was written
        self._eof = self._refused = False
        self._leaves_unread = False
        self._listener = peer.listener
        # whether the first byte of the next request is sent together with a tail probe
        self._send_ahead = True
        # whether the answer may be taken in one
        self._plain = False
        # the last request is small, and whether bytes that follow it are left unread has not been seen
        self._shows_manner = False
        # whether the rest of a response is refused or will be, and the connection kept to see its worker leave
        self._leaving = self._refusing = False
        self._leaving_since = 0.0
        # whether the script has ended when the bytes that follow its request are read
        self._end_is_seen = True
        # when it is looked again: whether the worker has read on, has answered, or has left an abandoned script
        self._look: Timer | None = None
        self._paused = False
        self._when_free: Callable[[bool], None] | None = None

    def attach(self, sock: socket.socket, connect_time: float) -> None:
        """Take a connected socket, which `connect_time` seconds were spent on."""
        self._listener = self.peer.listener
        self._transport = Transport(sock, self, self.peer.backend)
        self._connect_time, self._connected_at = connect_time, self.peer.backend.now()

    @property
    def over(self) -> bool:
        """Whether nothing can be written any more: it is closed, or will be once what came before a fault is told."""
        return self.closed or not self._client.open

    @property
    def leaves_unread(self) -> bool:
        """Whether the peer leaves unread what follows a request until its script has ended."""
        if not self._leaves_unread and self.peer.manner is _FPM and self._listener == self.peer.listener:
            self._leaves_unread = True
        return self._leaves_unread

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
            request_id = self._write_request(request)
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

    def _write_request(self, request: EncodedRequest) -> int:
        client, peer = self._client, self.peer
        keep = peer.endpoint.handshake
        # a peer that is not known yet may drop the tail, and would drop this byte with it
        self._send_ahead = peer.manner is not _UNKNOWN
        tail = keep and not self.multiplexes and peer.manner is not _TAILLESS
        if request.pieces is not None:
            request_id = client.send_pieces(request.pieces, keep_conn=keep)
            if tail:
                self._tail()
            return request_id
        request_id = client.begin_request(request.role, keep_conn=keep)
        client.send_params(request_id, request.params)
        if request.body is None:
            self._bodies.open(request_id, tail=tail)
        elif request.role is _AUTHORIZER or len(request.body) <= MAX_CONTENT:
            if request.role is not _AUTHORIZER:
                client.send_stdin(request_id, request.body, end=True)
            if tail:
                self._tail()
        else:
            self._bodies.add(request_id, request.body, tail=tail)
        return request_id

    def _refuse(self) -> None:
        """Give up a connection whose peer took not one byte of a request."""
        self._bodies.drop()
        self.worker_left, self._client.open = True, False
        # not now: whoever writes the request first puts it where another slot finds it
        backend = self.peer.backend
        backend.call_at(backend.now(), self.close)

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
        if self._leaving:
            return False
        if attempt is None:
            if self._unanswered or not self._client.receive_answer(data):
                return False
            self._look_no_more()
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
                self._expect_tail()
        attempt.receive_whole(content, peer.backend.now())
        if answered:
            if not (self.closed or self._leaving):
                self._worker_answered()
        elif not (self.closed or peer.is_unix):
            self._acknowledge()
        return True

    def _receive(self, data: bytes | memoryview) -> None:
        if self._leaving:
            if not self._refusing:
                self._receive_unwanted(data)
            return
        free = False
        for event in self._client.receive_data(data):
            if self.closed or self._leaving:
                return
            free = False
            if isinstance(event, Stdout):
                self._receive_output(event)
            elif isinstance(event, RequestEnded):
                self._receive_end(event)
            elif isinstance(event, ValuesReceived):
                free = self._receive_values(event)
            elif isinstance(event, Stderr):
                self._receive_output(event)
            elif isinstance(event, Stray):
                self.peer.stray_records += 1
            elif isinstance(event, Terminated):
                self._terminate(Ending.FAULT, event.error)
                return
        if self.closed or self._leaving:
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
                self._expect_tail()
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
                self._is_free()

    def _tell_when_left(self, attempt: Attempt, app_status: int) -> None:
        attempt.app_status = app_status
        if self.body_awaited:
            self._cut_short()
        # an EOF in the tail's place is a worker that leaves in good order (pm.max_requests)
        self._when_free = lambda answered: attempt.worker_left(answered=answered or self._eof)

    def _receive_values(self, event: ValuesReceived) -> bool:
        if self.values is None:
            self.learn(event.values)
        self._look_no_more()
        if event.dropped:
            self.peer.tail_dropped()
        if self._client.probes_outstanding:
            return False
        if not self._head_answered and not self.requests:
            self._head_answered = True
            self._answered(self)
            return True
        return not (self._unanswered or self._client.unfinished)

    def _worker_answered(self, looks: int = 1) -> None:
        """Tell that the worker is free once it has read the byte after its probe.

        A worker that was told to stop leaves between its answer and its next read: a job written then is lost, and
        the reset does not tell whether it ran. One that reads has nothing but the next request before it.
        """
        self._look = None
        assert self._transport is not None
        if self._transport.unread:
            self._has_answered = True
            now = self.peer.backend.now()
            when = now if looks < _LOOKS_AT_ONCE else now + _LOOK_SECONDS
            self._look = self.peer.backend.call_at(when, lambda: self._worker_answered(looks + 1))
        else:
            self._is_free()

    def _is_free(self) -> None:
        peer = self.peer
        if peer.manner is _UNKNOWN and self._responses:
            peer.learn(Fact.TAIL_ANSWERED)
        self.dropped = 0
        self.accepted = True
        self._has_answered = False
        if self._when_free is not None:
            self.tell(answered=True)
            if self.closed:
                return
        self._free(self)

    def tell(self, *, answered: bool) -> None:
        """Tell whoever waits for the worker that it has answered, or left before."""
        told, self._when_free = self._when_free, None
        if told is not None:
            told(answered or self._has_answered)

    # what else its owners do with it

    def learn(self, values: dict[bytes, bytes]) -> None:
        """Take note of what the peer says of itself."""
        self.values = values
        self.multiplexes = values.get(FCGI_MPXS_CONNS) == b"1"

    def send_head_probe(self) -> None:
        """Ask for the peer's values; `answered` follows once a worker has taken the connection.

        Asked twice: a worker that was told to stop while it waited for its first record answers that one, and leaves.
        """
        self._client.get_values(_HEAD_PROBE)
        self._tail(_TAIL_PROBE)
        self._flush()

    def is_free(self) -> None:
        """Take it that it can be given a request: a peer that multiplexes need not be asked."""
        self._is_free()

    def hold(self) -> None:
        if self.state is not _BUSY:
            self.peer.ledger.move(self, _BUSY)

    def give_back(self) -> None:
        if not self.closed:
            self._is_free()

    def ask(self, told: Callable[[bool], None]) -> None:
        self.hold()
        peer = self.peer
        peer.ledger.move(self, _FINISHING, peer.sweep.due(peer.endpoint.drain_timeout))
        self._when_free = told
        self._send_tail_probe()

    def multiplexing_refused(self) -> None:
        self.peer.multiplexing_refused = True

    def pause(self) -> None:
        if self._transport is not None and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()

    # a body that comes in parts

    @property
    def body_awaited(self) -> bool:
        return self._bodies.needs_caller(self._request_id)

    async def send(self, data: bytes) -> bool:
        return await self._bodies.send(self._request_id, data)

    def end_body(self) -> None:
        self._bodies.end(self._request_id)

    def give_up_body(self, *, refused: bool = False) -> None:
        if refused:
            self.close()
        else:
            self._cut_short()

    def _cut_short(self) -> None:
        """End a body of which a part is missing, so that the script does not wait for it."""
        self.spent = True
        self._bodies.end(self._request_id, short=True)

    # the caller is gone

    def leave(self, patience: float | None = None) -> None:
        if self.closed or self._leaving:
            return
        endpoint = self.peer.endpoint
        self.attempt = None
        self.resume()
        if patience is None:
            patience = 0.0 if endpoint.on_cancel == "close" else endpoint.drain_timeout
        if self.body_awaited:
            # the script gets what came of the body, and its output is refused, as if the connection were closed
            self._cut_short()
            if self._can_be_watched:
                patience = 0.0
        if self.state is _FINISHING or self.closed:
            return
        if not patience or not endpoint.handshake:
            self._refuse_rest()
        elif self.state is _BUSY:
            self.peer.ledger.move(self, _DRAINING, self.peer.sweep.due(patience))

    @property
    def _can_be_watched(self) -> bool:
        return self.peer.is_unix and self.leaves_unread

    @property
    def is_relayed(self) -> bool:
        """Whether something stands between us and the worker, as far as a unix socket tells."""
        return self.peer.manner is _ANSWERS and self.peer.is_unix and not self.leaves_unread

    def overdue(self) -> None:
        """Called when its script, or its answer, has taken too long."""
        if self.state is _FINISHING:
            self.peer.learn(Fact.TAIL_UNANSWERED)
        self._refuse_rest()

    def _refuse_rest(self) -> None:
        """Refuse the rest of a response, and hold the slot until the worker has left the script.

        On unix sockets a script that writes dies at its next write. Until then the bytes that follow the request stay
        unread, if the peer is one that leaves them there; otherwise the end tells nothing: the connection is closed.

        A script that has written nothing yet is refused once it has, and not at its end: if its one write failed,
        fastcgi_finish_request() would read those bytes, and the script go on unseen. But in a pool that is ours alone
        it is refused at once, so that it dies when it flushes: FPM itself then bounds what runs, and a job that waits
        gets the worker that is free.
        """
        if not self._can_be_watched or self.over or self._leaving or self._transport is None:
            self.close()
            return
        self.peer.ledger.move(self, _LEAVING)
        self._leaving = True
        self.tell(answered=False)
        at_once = self.peer.may_ask_for_lingering
        self._look_no_more()
        self._leaving_since = self.peer.backend.now()
        self._end_is_seen = self._responding or not self._unanswered or not at_once
        if self._responding or not self._unanswered or at_once:
            self._refuse_output(self._transport)
        self._watch()

    def _refuse_output(self, transport: Transport) -> None:
        self._refusing = True
        transport.shut_reading()

    def _watch(self) -> None:
        """Close once the worker has read what follows the request it was on."""
        self._look = None
        if self.closed or self._transport is None:
            return
        if self._transport.unread or self._transport.unsent or self._bodies.pending:
            now = self.peer.backend.now()
            delay = min((now - self._leaving_since) * _WATCH_SHARE, _WATCH_SECONDS_MAX)
            self._look = self.peer.backend.call_at(now + max(delay, _WATCH_SECONDS_MIN), self._watch)
        else:
            self.worker_left = self.leaves_unread and self._end_is_seen
            self.close()

    def _receive_unwanted(self, data: bytes | memoryview) -> None:
        """Take what comes from a script that had written nothing when it was left: its end, or output to be refused."""
        for event in self._client.receive_data(data):
            if isinstance(event, Stdout | Stderr):
                self._responding = True
            elif isinstance(event, RequestEnded):
                self._responding = self._unanswered = False
            elif isinstance(event, Terminated):
                self._terminate(Ending.FAULT, event.error)
                return
        if self._responding and self._transport is not None:
            self._refuse_output(self._transport)
        elif not (self._client.unfinished or self._client.probes_outstanding):
            self.worker_left = True
            self.close()

    # probes

    def _send_tail_probe(self) -> None:
        if not self.over:
            self._tail()
            self._flush()

    def _tail(self, names: tuple[bytes, ...] | None = None) -> None:
        if names is None:
            names = _TAIL_PROBE if self.multiplexes else ()
        self._client.get_values(names)
        if self._send_ahead:
            self._client.send_ahead()

    def _expect_tail(self) -> None:
        """Ask once more if the tail probe is not answered soon, so that a peer that drops it shows it."""
        if self._client.probes_outstanding and self._look is None and not self.over:
            self._look = self.peer.backend.call_at(self.peer.backend.now() + _ASK_AGAIN_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        self._look = None
        if self._client.probes_outstanding and not self.over and not self._leaving:
            # the tail asked for nothing: whoever names this has not answered that
            self._client.get_values((FCGI_MPXS_CONNS,))
            # libfcgi answers when it has read on
            self._client.send_ahead()
            self._flush()

    def _look_at_manner(self) -> None:
        self._shows_manner = False
        if self._transport is not None and self._transport.unread:
            self.peer.learn(Fact.TAIL_LEFT_UNREAD)

    def _look_no_more(self) -> None:
        if self._look is not None:
            self._look.cancel()
            self._look = None

    # the end

    def eof_received(self) -> None:
        """Take it that the peer has closed in good order."""
        self._eof = True
        for event in self._client.receive_eof():
            if isinstance(event, Terminated):
                self.worker_left = True
                self._end(Ending.EOF if event.error is None else Ending.FAULT, event.error)

    def connection_lost(self, error: Exception | None) -> None:
        """Take it that the connection has ended."""
        if not self.closed:
            self.worker_left = error is not None
            self._end(Ending.OURS if error is None else Ending.RESET, error)

    def pause_writing(self) -> None:
        """Write no more of a body until `resume_writing()`."""
        self._bodies.pause()

    def resume_writing(self) -> None:
        """Write on."""
        try:
            self._bodies.resume()
        except Exception as error:
            self._faulty(error)

    def close(self) -> None:
        self._terminate(Ending.OURS)

    def _flush(self) -> bool:
        if self._transport is None or self.closed:
            return False
        # a peer that has gone is left to the reader, which first gets what it sent before
        taken = self._transport.write(self._client.data_to_send())
        self._refused = self._refused or not taken
        return taken

    def _faulty(self, error: Exception) -> None:
        """End this connection, and no other, because of a fault in our own code."""
        logger.error("a connection to %s is closed because of a fault in fcgi_async", self.peer.name, exc_info=error)
        self._terminate(Ending.OURS, error)

    def _end(self, ending: Ending, cause: Exception | None) -> None:
        try:
            self._terminate(ending, cause)
        except Exception as error:
            self._faulty(error)

    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed = True
        self._client.open = False
        self._look_no_more()
        self.close_cause = cause
        transport, attempt = self._transport, self.attempt
        self.attempt = None
        written = not self._refused and (transport is None or not transport.unsent)
        written = written and not self._bodies.incomplete(self._request_id)
        if transport is not None:
            transport.abort()
        self._ended(self)
        if attempt is not None:
            attempt.lose(ending, cause, eof=self._eof, written=written, leaves_unread=self.leaves_unread)
        self._bodies.close()
