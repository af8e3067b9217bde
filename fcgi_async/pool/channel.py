"""A connection to a peer that multiplexes: a slot is a request id there, and the connection itself occupies nobody."""

from __future__ import annotations

import logging
from collections.abc import Callable

from fcgi_async.net.backend import Timer
from fcgi_async.net.bodies import Bodies
from fcgi_async.net.values import ASK_AGAIN, requests_at_once
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.link import Link
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.pool.slots import SlotState
from fcgi_async.pool.slow_readers import SlowReaders
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded, Stderr, Stdout, Stray, Terminated, ValuesReceived
from fcgi_async.wire.request import EncodedRequest
from fcgi_async.wire.spec import MAX_REQUEST_ID, ProtocolStatus
from fcgi_async.wire.states import RequestState

__all__ = ("Channel", "RequestSlot")

logger = logging.getLogger("fcgi_async.pool")

# request ids that are lost to aborted requests before a connection is given up
_ABORTED_MAX = 1000
# seconds in which a peer says that it reads on behind what may have stopped it
_ANSWER_SECONDS = 1.0
_UNKNOWN_ROLE = int(ProtocolStatus.UNKNOWN_ROLE)
_BUSY, _DRAINING, _LINGERING = SlotState.BUSY, SlotState.DRAINING, SlotState.LINGERING


class RequestSlot(JobSlot):
    """A request id on a channel.

    Args:
        channel: the connection.

    Attributes:
        request_id: the id; 0 until a request is begun.
    """

    __slots__ = ("_channel", "request_id")

    def __init__(self, channel: Channel) -> None:
        super().__init__(channel.peer)
        self._channel = channel
        self.request_id = 0

    @property
    def over(self) -> bool:
        return self._channel.over

    def start(self, attempt: Attempt, request: EncodedRequest) -> bool:
        return self._channel.begin(self, attempt, request)

    def give_back(self) -> None:
        self._channel.give_back(self)

    def ask(self, told: Callable[[bool], None]) -> None:
        self._channel.ask(self, told)

    def leave(self, patience: float | None = None) -> None:
        self._channel.abandon(self)

    def overdue(self) -> None:
        """Called when its end has not come in time: its id stays taken, its neighbours go on, new ones go elsewhere."""
        self.peer.ledger.move(self, _LINGERING, self.peer.linger_until())
        self._channel.retire()

    def multiplexing_refused(self) -> None:
        self.peer.multiplexing_refused = True
        logger.warning("%s says that it multiplexes, and refuses it; one request on a connection then", self.peer.name)
        self._channel.retire()

    def close(self) -> None:
        self._channel.close()

    def pause(self) -> None:
        self._channel.pause(self)

    def resume(self) -> None:
        self._channel.resume(self)

    @property
    def body_awaited(self) -> bool:
        return self._channel.bodies.needs_caller(self.request_id)

    async def send(self, data: bytes) -> bool:
        return await self._channel.bodies.send(self.request_id, data)

    def end_body(self) -> None:
        self._channel.bodies.end(self.request_id)

    def give_up_body(self, *, refused: bool = False) -> None:
        self._channel.abort(self)


class Channel(Link):
    """One connection on which requests are served at once. FastCGI has no windows: a slow reader holds up all.

    Args:
        peer: who serves them; it has said that it multiplexes.
        capacity_freed: called when waiting jobs may find room, here or on another connection.
        ended: called once, when the connection has ended.
    """

    def __init__(self, peer: Peer, capacity_freed: Callable[[], None], ended: Callable[[Channel], None]) -> None:
        super().__init__(peer, ClientConnection(multiplexing=True))
        self._capacity_freed, self._ended = capacity_freed, ended
        self._limit = requests_at_once(peer.values or {}) or MAX_REQUEST_ID
        # whether it gets no more requests, and is closed when nobody waits for the last
        self._retiring = False
        # by id, until END_REQUEST
        self._slots: dict[int, RequestSlot] = {}
        # taken for requests that are not begun: their bodies are not, or they are not known yet
        self._held: set[RequestSlot] = set()
        self._slow: SlowReaders[RequestSlot] = SlowReaders(self._slots, self._open_transport)
        self._told: list[Callable[[bool], None]] = []
        # when it is looked again whether it has been without a request for long enough
        self._expiry: Timer | None = None
        self._idle_since = 0.0
        # when it is given up unless its probe is answered
        self._unanswered: Timer | None = None

    @property
    def helps(self) -> bool:
        """Whether it is to be filled before another connection is opened."""
        return not (self._retiring or self._slow)

    @property
    def has_room(self) -> bool:
        """Whether it may get one more request.

        One whose reader is behind gets none: its neighbours might have to wait with it. Nor does one whose peer may
        have stopped to read, before it has answered.
        """
        if self._retiring or self.over or self._client.probes_outstanding or self._slow:
            return False
        return len(self._slots) + len(self._held) < self._limit

    def take(self) -> RequestSlot:
        """Take a slot for a request; there is room."""
        slot = RequestSlot(self)
        self.peer.ledger.take(slot)
        self._held.add(slot)
        return slot

    def give_back(self, slot: RequestSlot) -> None:
        """Give back a slot that was taken, and has got no request."""
        if self.forget(slot):
            self._left()

    def forget(self, slot: RequestSlot) -> bool:
        """Give back a slot that nobody wanted; False if it has a request, or the connection has ended."""
        if held := slot in self._held:
            self._held.remove(slot)
            self.peer.ledger.release(slot)
        return held

    def begin(self, slot: RequestSlot, attempt: Attempt, request: EncodedRequest) -> bool:
        """Write a request; False if the peer had gone, as `JobSlot.start()` says."""
        if self.over or self._transport is None:
            return False
        request_id = self._write_request(request)
        if not self._transport.write(self._client.data_to_send()):
            self._refuse()
            return False
        self._held.discard(slot)
        self._slots[request_id] = slot
        slot.request_id, slot.attempt = request_id, attempt
        slot.hold()
        attempt.may_have_run = True
        self.requests += 1
        if self.requests == 1:
            attempt.connect, attempt.connected_at = self._connect_time, self._connected_at
        self._slow.regulate()
        self._bodies.pump()
        return True

    @property
    def bodies(self) -> Bodies:
        """What of the requests' bodies is not written yet."""
        return self._bodies

    def abandon(self, slot: RequestSlot) -> None:
        """Take it that nobody waits for a request any more, and ask the peer to end it."""
        slot.attempt = None
        if slot.state is _BUSY and not self.closed:
            self.peer.ledger.move(slot, _DRAINING, self.peer.sweep.due(self.peer.endpoint.drain_timeout))
        self.abort(slot)
        self.close_where_retired()

    def abort(self, slot: RequestSlot) -> None:
        """Forget who waits for a response, and ask the peer to end the request; its id stays taken.

        A probe follows: gevent-fastcgi reads nothing more where the request had ended meanwhile.
        """
        slot.attempt = None
        self.resume(slot)
        request_id = slot.request_id
        if self.over or self._client.state(request_id) in (RequestState.IDLE, RequestState.ABORTED):
            return
        # what is not written of its body is not owed any more
        self._bodies.forget(request_id)
        self._client.abort_request(request_id)
        self._tail()
        self._flush()
        self._expect_answer()

    def ask(self, slot: RequestSlot, told: Callable[[bool], None]) -> None:
        """Ask whether the peer is there, for which no slot is needed."""
        self.forget(slot)
        if not self.requests:
            # gevent-fastcgi would close behind its answer; that it has answered on a connection before must do
            told(True)
            return
        self._told.append(told)
        if not self.over:
            self._tail()
            self._flush()
        self._expect_answer()

    def retire(self) -> None:
        """Give it no more requests, and close it when nobody waits for what runs on it."""
        self._retiring = True
        self.close_where_retired()

    def close_where_retired(self) -> None:
        """Close it if it gets no more requests and nobody waits for what runs on it."""
        worn_out = self.peer.endpoint.keepalive.max_requests
        if self._client.aborted >= _ABORTED_MAX:
            self._retiring = True
        if worn_out is not None and self.requests >= worn_out:
            self._retiring = True
        if self._retiring and not self.closed and not any(slot.attempt is not None for slot in self._slots.values()):
            self.close()

    def pause(self, slot: RequestSlot) -> None:
        """Read nothing more, if that reader's slowness is to hold up the others; 16 MiB of its own it has first."""
        self._slow.add(slot)

    def resume(self, slot: RequestSlot) -> None:
        """Read on, and give it requests again, if no other reader is behind."""
        if self._slow.remove(slot) and not self.closed and not self._slow:
            self._capacity_freed()

    # what the peer did

    def _receive(self, data: bytes | memoryview) -> None:
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
        if self._slow:
            self._slow.took(slot, len(event.data))
        if isinstance(event, Stdout):
            attempt.receive_stdout(event.data, self.peer.backend.now())
        else:
            attempt.receive_stderr(event.data)

    def _receive_end(self, event: RequestEnded) -> None:
        request_id = event.request_id
        slot = self._slots[request_id]
        attempt = slot.attempt
        if self._bodies.incomplete(request_id):
            # nobody reads the rest
            self.abort(slot)
        elif event.protocol_status == _UNKNOWN_ROLE and not self.over:
            # gevent-fastcgi reads nothing more
            self._tail()
            self._flush()
        slot.attempt = None
        del self._slots[request_id]
        self.resume(slot)
        self._slow.regulate()
        self.peer.reachability.served()
        # one that lingered for too long was given back before
        if slot in self.peer.ledger.slots:
            self.peer.ledger.release(slot)
        self._expect_answer()
        self._left()
        if attempt is not None:
            attempt.receive_end(event.app_status, event.protocol_status)

    def _receive_values(self) -> None:
        if self._client.probes_outstanding:
            return
        if self._unanswered is not None:
            self._unanswered.cancel()
            self._unanswered = None
        self._tell(answered=True)
        self._left()

    def _tell(self, *, answered: bool) -> None:
        told, self._told = self._told, []
        for function in told:
            function(answered)

    def _expect_answer(self) -> None:
        """Retire it where its probe is not answered in time."""
        if self._unanswered is None and self._client.probes_outstanding and not self.closed:
            backend = self.peer.backend
            self._unanswered = backend.call_at(backend.now() + _ANSWER_SECONDS, self._give_up)

    def _give_up(self) -> None:
        self._unanswered = None
        self.retire()
        self._capacity_freed()

    def _left(self) -> None:
        """Called when a request is over, or the peer reads on."""
        self.close_where_retired()
        if not self.peer.closed:
            self._capacity_freed()
        if not self._slots and not self._held and not self.closed:
            self._idle_since = self.peer.backend.now()
            if self._expiry is None:
                self._expire()

    def _expire(self) -> None:
        """Close once it has been without a request for long enough."""
        self._expiry = None
        if self._slots or self._held or self.closed:
            return
        when = self._idle_since + self.peer.endpoint.keepalive.idle
        if when <= self.peer.backend.now():
            self.close()
        else:
            self._expiry = self.peer.backend.call_at(when, self._expire)

    def _tail(self) -> None:
        self._client.get_values(ASK_AGAIN)

    # the end

    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        if self.closed:
            return
        self.closed, self.close_cause = True, cause
        self._client.open = False
        for timer in (self._expiry, self._unanswered):
            if timer is not None:
                timer.cancel()
        written = self._written
        if self._transport is not None:
            self._transport.abort()
        slots = tuple(self._slots.values())
        self._release()
        # whoever asked asks another one: before the pool looks who is waiting
        self._tell(answered=False)
        self._ended(self)
        for slot in slots:
            attempt, slot.attempt = slot.attempt, None
            if attempt is not None:
                whole = written and not self._bodies.incomplete(slot.request_id)
                # a peer that reads several requests at once leaves none of them unread
                attempt.lose(ending, cause, eof=self._eof, written=whole, leaves_unread=False)
        self._bodies.close()

    def _release(self) -> None:
        """Give back its slots, but for those whose scripts may run on."""
        ledger = self.peer.ledger
        for slot in self._held:
            ledger.release(slot)
        self._held.clear()
        for begun in self._slots.values():
            if begun not in ledger.slots or begun.state is _LINGERING:
                continue
            if self.worker_left or self.peer.closed:
                ledger.release(begun)
            else:
                ledger.move(begun, _LINGERING, self.peer.linger_until())
