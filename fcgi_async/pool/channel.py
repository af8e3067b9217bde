"""A connection to a peer that multiplexes: a slot is a request id, and the connection occupies no worker."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.net.bodies import Bodies
from fcgi_async.net.values import ASK_AGAIN, requests_at_once
from fcgi_async.pool.attempt import Attempt
from fcgi_async.pool.idling import Idling
from fcgi_async.pool.link import Link
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.pool.reading_on import ReadingOn
from fcgi_async.pool.request_slot import RequestSlot
from fcgi_async.pool.slots import SlotState
from fcgi_async.pool.slow_readers import SlowReaders
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded, Stderr, Stdout, Stray, Terminated, ValuesReceived
from fcgi_async.wire.request import EncodedRequest
from fcgi_async.wire.spec import MAX_REQUEST_ID, ProtocolStatus
from fcgi_async.wire.states import RequestState

__all__ = ("Channel",)

# how many request ids may be lost to aborted requests before a connection is given up
_ABORTED_MAX = 1000
# seconds for a peer that takes no more to answer what it has taken, and to close
_LAST_ANSWERS = 1.0
_UNKNOWN_ROLE = int(ProtocolStatus.UNKNOWN_ROLE)
_CONNECTING, _BUSY = SlotState.CONNECTING, SlotState.BUSY
_DRAINING = SlotState.DRAINING


class Channel(Link):
    """One connection on which requests are served at once. FastCGI has no windows: a slow reader holds up all.

    Args:
        peer: the peer, which has reported that it multiplexes.
        free: called when a request has ended; begins the next one on its slot, and returns whether it did.
        capacity_freed: called when there may be room for waiting jobs, here or on another connection.
        ended: called once, when the connection has ended.
    """

    def __init__(
        self,
        peer: Peer,
        free: Callable[[RequestSlot], bool],
        capacity_freed: Callable[[], None],
        ended: Callable[[Channel], None],
    ) -> None:
        super().__init__(peer, ClientConnection(multiplexing=True))
        self._free, self._capacity_freed, self._ended = free, capacity_freed, ended
        self._limit = requests_at_once(peer.values or {}) or MAX_REQUEST_ID
        # whether it gets no more requests, and is closed when those that it has have ended
        self._retiring = False
        # by id, until END_REQUEST
        self._slots: dict[int, RequestSlot] = {}
        self._client.reuse_ended(self._slots)
        # probes that are not answered
        self._asked = self._client.asked
        # taken for requests that have not begun: their body has not, or their job is not known yet
        self._held: set[RequestSlot] = set()
        self._slow: SlowReaders[RequestSlot] = SlowReaders(self._slots, self._open_transport)
        self._told: list[Callable[[bool], None]] = []
        self._idling = Idling(peer.backend, peer.endpoint.keepalive.idle, self._is_idle, self.close)
        patience = peer.endpoint.drain_timeout
        self._reading_on: ReadingOn[RequestSlot] = ReadingOn(peer.backend, patience, self._give_up, self._lose)

    @property
    def helps(self) -> bool:
        """Whether it should be filled before another connection is opened."""
        begin = self.requests + len(self._held)
        return not (self._retiring or self._slow.behind) and begin < self.peer.most_requests

    @property
    def has_room(self) -> bool:
        """Whether it may get another request.

        It gets none while it has a slow reader, because other requests might have to wait too. It also gets none while
        the peer may have stopped reading and has not answered a probe.
        """
        # requests may yet begin on the slots that are held
        held = len(self._held)
        most = self.peer.most_requests
        return self._is_ready and len(self._slots) + held < self._limit and self.requests + held < most

    @property
    def _is_ready(self) -> bool:
        return not (self._retiring or self._slow.behind or self._asked or self.closed) and self._client.open

    def take(self) -> RequestSlot:
        """Take a slot for a request; there is room."""
        slot, peer = RequestSlot(self), self.peer
        # which of the slots are kept for others is known when the job is
        peer.ledger.take(slot, _CONNECTING if peer.keeps else _BUSY)
        self._held.add(slot)
        return slot

    def give_back(self, slot: RequestSlot) -> None:
        """Give back a slot that was taken but got no request."""
        if self.forget(slot):
            self._left()

    def forget(self, slot: RequestSlot) -> bool:
        """Give back an unused slot. Return False if it has a request, or the connection has ended."""
        if held := slot in self._held:
            self._held.remove(slot)
            self.peer.ledger.release(slot)
        return held

    def begin(self, slot: RequestSlot, attempt: Attempt, request: EncodedRequest) -> bool:
        """Write a request. Return False if the peer had closed, as `JobSlot.start()` does."""
        client, transport = self._client, self._transport
        if transport is None or self.closed or not client.open:
            return False
        if request.pieces is None:
            request_id = self._write_request(request)
            data = client.data_to_send()
        else:
            request_id, data = client.send_shared(request.pieces)
        if not transport.write(data):
            self._refuse()
            return False
        self._held.discard(slot)
        self._slots[request_id] = slot
        slot.request_id, slot.attempt = request_id, attempt
        if self._begun is not None:
            self._begun.append(slot)
        if self._asked:
            self._reading_on.begun(slot)
        if slot.state is not _BUSY:
            self.peer.ledger.move(slot, _BUSY)
        attempt.may_have_run = True
        if not self.requests:
            attempt.connect, attempt.connected_at = self._connect_time, self._connected_at
        self.requests += 1
        if self._slow.behind:
            self._slow.regulate()
        if self._bodies.pending:
            self._bodies.pump()
        return True

    @property
    def bodies(self) -> Bodies:
        """The parts of request bodies that are not written yet."""
        return self._bodies

    def abandon(self, slot: RequestSlot) -> None:
        """Ask the peer to end a request whose caller has left."""
        if slot.state is _BUSY and not self.closed:
            self.peer.ledger.move(slot, _DRAINING, self.peer.sweep.due(self.peer.endpoint.drain_timeout))
        self.abort(slot)
        self.close_where_retired()

    def abort(self, slot: RequestSlot) -> None:
        """Forget the caller, and ask the peer to end the request; its id stays taken.

        A probe follows: gevent-fastcgi stops reading if the request has ended meanwhile.
        """
        slot.attempt = None
        self.resume(slot)
        request_id = slot.request_id
        if self.over or self._client.state(request_id) in (RequestState.IDLE, RequestState.ABORTED):
            return
        # the unwritten part of its body is not needed any more
        self._bodies.forget(request_id)
        self._client.abort_request(request_id)
        self._limit = min(self._limit, MAX_REQUEST_ID - self._client.aborted)
        self._probe()

    def ask(self, slot: RequestSlot, told: Callable[[bool], None]) -> None:
        """Ask whether the peer is there; no slot is needed for that."""
        self.forget(slot)
        if not self.requests:
            # gevent-fastcgi would close after its answer; its answer on an earlier connection is enough
            told(True)
            return
        self._told.append(told)
        if not self.over:
            self._probe()

    def retire(self) -> None:
        """Give it no more requests, and close it when those that it has have ended."""
        self._retiring = True
        self.close_where_retired()

    def close_where_retired(self) -> None:
        """Close it if it gets no more requests, and the end of none is awaited."""
        if self.requests >= self.peer.most_requests or self._client.aborted >= _ABORTED_MAX:
            self._retiring = True
        if self._retiring and not self.closed:
            reads_on = not self._reading_on.late
            if not any(slot.is_awaited(reads_on=reads_on) for slot in self._slots.values()):
                self.close()

    def pause(self, slot: RequestSlot) -> None:
        """Stop reading, unless this slow reader must not hold up the others yet: it first has 16 MiB of its own."""
        self._slow.add(slot)

    def resume(self, slot: RequestSlot) -> None:
        """Continue reading and taking requests, if no other reader is slow."""
        if self._slow.remove(slot) and not self.closed and not self._slow.behind:
            self._capacity_freed()

    # receiving

    def _receive(self, data: bytes | memoryview) -> None:
        if type(data) is bytes:
            answers = self._client.receive_answers(data)
            for request_id, stdout in answers:
                self._receive_whole(request_id, stdout)
                if self.closed:
                    return
            if answers:
                self._left()
                return
        for event in self._client.receive_data(data):
            if self.closed:
                return
            if isinstance(event, Stdout | Stderr):
                self._receive_output(event)
            elif isinstance(event, RequestEnded):
                self._receive_end(event)
            elif isinstance(event, ValuesReceived):
                self._receive_values()
            elif isinstance(event, Stray):
                self.peer.stray_records += 1
            elif isinstance(event, Terminated):
                self._terminate(Ending.FAULT, event.error)
                return

    def _receive_output(self, event: Stdout | Stderr) -> None:
        slot = self._slots[event.request_id]
        attempt = slot.attempt
        if attempt is None:
            slot.dropped += len(event.data)
            if slot.dropped > self.peer.endpoint.drain_bytes:
                self.retire()
            return
        if self._slow.behind:
            self._slow.took(slot, len(event.data))
        if isinstance(event, Stdout):
            attempt.receive_stdout(event.data, self.peer.backend.now())
        else:
            attempt.receive_stderr(event.data)

    def _receive_whole(self, request_id: int, stdout: bytes) -> None:
        """Take the rest of an answer; usually it is the whole answer."""
        slot = self._slots[request_id]
        attempt, now = slot.attempt, self.peer.backend.now()
        if attempt is not None and attempt.first_byte is None:
            # before its end can wake others, which must not take its place
            self._held.add(slot)
            self._end_one(slot)
            attempt.first_byte, attempt.whole = now, stdout
            attempt.end()
            self._reuse(slot)
            return
        self._receive_output(Stdout(request_id, stdout))
        attempt = slot.attempt
        self._release_one(slot)
        if attempt is not None:
            attempt.receive_end(0, 0)

    def _reuse(self, slot: RequestSlot) -> None:
        """Begin the next request on the slot of one that has ended, or give the slot back."""
        peer = self.peer
        # its own slot is among those that are held
        begin = self.requests + len(self._held)
        if self._is_ready and not peer.keeps and begin <= peer.most_requests and self._free(slot):
            return
        # `_left()` follows for waiting jobs
        self.forget(slot)

    def _receive_end(self, event: RequestEnded) -> None:
        request_id = event.request_id
        slot = self._slots[request_id]
        attempt = slot.attempt
        if self._bodies.incomplete(request_id):
            # the rest will not be read
            self.abort(slot)
        elif event.protocol_status == _UNKNOWN_ROLE and not self.over:
            # gevent-fastcgi reads nothing more
            self._probe()
        self._release_one(slot)
        if attempt is not None:
            attempt.receive_end(event.app_status, event.protocol_status)
        # after a refusal, which tells that jobs should go elsewhere, was seen
        self._left()

    def _release_one(self, slot: RequestSlot) -> None:
        """Give back the slot of a request that has ended."""
        self._end_one(slot)
        slot.request_ended()

    def _end_one(self, slot: RequestSlot) -> None:
        slot.attempt = None
        if self._reading_on.unread:
            self._reading_on.ended(slot)
        del self._slots[slot.request_id]
        if self._slow.behind:
            self.resume(slot)
            self._slow.regulate()
        reachability = self.peer.reachability
        if not reachability.proven:
            reachability.served()

    def _receive_values(self) -> None:
        if self._client.probes_outstanding:
            return
        self._reading_on.close()
        self._tell(answered=True)
        self._left()

    def _tell(self, *, answered: bool) -> None:
        told, self._told = self._told, []
        for function in told:
            function(answered)

    def _probe(self) -> None:
        """Ask whether the peer reads on; it gets no more requests if it does not answer in time."""
        self._tail()
        self._flush()
        if not self.closed:
            waited_for = (slot for slot in self._slots.values() if slot.attempt is not None)
            self._reading_on.asked(slot for slot in waited_for if self._bodies.incomplete(slot.request_id))

    def _give_up(self) -> None:
        self.retire()
        self._capacity_freed()

    def _lose(self, slots: tuple[RequestSlot, ...]) -> None:
        """Called when the peer has not read these requests; those that it has read continue."""
        cause = RemoteProtocolError("the peer reads nothing more on this connection, and has not read all of the job")
        for slot in slots:
            attempt = slot.attempt
            self.abandon(slot)
            if attempt is not None:
                attempt.lose(Ending.FAULT, cause, eof=False, written=False, leaves_unread=False)

    def _left(self) -> None:
        """Called when a request has ended, or the peer reads on."""
        self.close_where_retired()
        if not self.peer.closed:
            self._capacity_freed()
        if self._is_idle():
            self._idling.begin()

    def _is_idle(self) -> bool:
        return not (self._slots or self._held or self.closed)

    def _tail(self) -> None:
        self._client.get_values(ASK_AGAIN)

    # the end

    def _refuse(self) -> None:
        """Write nothing more, but read the answers to what was written: a leaving gateway refuses what came late."""
        if any(slot.attempt is not None for slot in self._slots.values()):
            self._bodies.drop()
            self._retiring = True
            backend = self.peer.backend
            backend.call_at(backend.now() + _LAST_ANSWERS, self._lose_rest)
        else:
            super()._refuse()

    def _lose_rest(self) -> None:
        self.worker_left = True
        self.close()

    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed, self.close_cause = True, cause
        self._client.close()
        self._reading_on.close()
        self._idling.stop()
        written = self._written
        if self._transport is not None:
            self._transport.abort()
        slots = tuple(self._slots.values())
        for held in self._held:
            self.peer.ledger.release(held)
        self._held.clear()
        for slot in slots:
            slot.connection_ended(may_run_on=not (self.worker_left or self.peer.closed))
        # the caller asks another connection before the pool looks for waiting jobs
        self._tell(answered=False)
        self._ended(self)
        for slot in slots:
            attempt, slot.attempt = slot.attempt, None
            if attempt is not None:
                whole = written and not self._bodies.incomplete(slot.request_id)
                # a peer that reads several requests at once leaves none of them unread
                attempt.lose(ending, cause, eof=self._eof, written=whole, leaves_unread=False)
        self._bodies.close()
