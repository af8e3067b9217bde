"""The connections of one FPM pool: opened up to the share, given work only when their worker is known to be free."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from random import uniform
from typing import Protocol

import attrs

from fcgi_async.errors import ConnectError
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.connection import Connection, EncodedRequest, Exchange
from fcgi_async.net.dial import dial
from fcgi_async.net.listener import Listener, listener_of
from fcgi_async.net.transport import Transport
from fcgi_async.net.values import connections_at_once
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.kept import ledger_of
from fcgi_async.pool.manner import Fact, Manner, learn
from fcgi_async.pool.monitor import StatusMonitor
from fcgi_async.pool.reachability import Reachability
from fcgi_async.pool.shared import SharedConnection
from fcgi_async.pool.silence import Silence
from fcgi_async.pool.slots import Slot, SlotLedger, SlotState
from fcgi_async.pool.sweep import Sweep
from fcgi_async.wire.spec import MAX_REQUEST_ID

__all__ = ("JobSource", "Pool")

logger = logging.getLogger("fcgi_async.pool")

_DEFAULT_LINGER = 5.0
# a connection without an answer is dialled again: a burst strands connections under pm = ondemand
_ANSWER_WAIT_MIN = 1.0
_ANSWER_WAIT_MAX = 30.0
# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_CONNECTING, _IDLE, _BUSY = SlotState.CONNECTING, SlotState.IDLE, SlotState.BUSY
_FINISHING, _DRAINING = SlotState.FINISHING, SlotState.DRAINING
_LEAVING, _LINGERING = SlotState.LEAVING, SlotState.LINGERING
_FPM, _TAILLESS = Manner.FPM, Manner.TAILLESS


class JobSource(Protocol):
    """Where a pool gets its work from; all synchronous."""

    def waiting(self) -> int:
        """Return how many jobs wait for a worker."""

    def waiting_for(self, pool: Pool) -> bool:
        """Return whether the next job may take one of this pool's slots, of which some are kept for others."""

    def assign(self, pool: Pool, connection: Connection) -> bool:
        """Begin the next job on `connection`; False where none is waiting, or the slots left are kept for others."""

    def worker_answered(self) -> None:
        """Take note that a worker which is ours from now on has answered GET_VALUES."""

    def capacity_freed(self) -> None:
        """Take note that a slot was given back."""

    def unreachable(self, pool: Pool, error: ConnectError) -> None:
        """Take note that jobs should not wait for this pool any longer."""


@attrs.define(eq=False)
class Pool:
    """One endpoint's slots and connections; everything but dialling is synchronous.

    Args:
        endpoint: what is known of the FPM pool.
        backend: the event loop.
        source: where the jobs come from.
    """

    endpoint: Endpoint
    backend: Backend
    source: JobSource
    ledger: SlotLedger = attrs.field(init=False)
    # whether some of its slots are kept for jobs of some priority
    keeps: bool = attrs.field(init=False)
    reachability: Reachability = attrs.field(init=False)
    monitor: StatusMonitor = attrs.field(init=False)
    connections_opened: int = attrs.field(default=0, init=False)
    connections_failed: int = attrs.field(default=0, init=False)
    stray_records: int = attrs.field(default=0, init=False)
    closed: bool = attrs.field(default=False, init=False)
    _slots: dict[Connection, Slot] = attrs.field(factory=dict, init=False)
    # to a peer that multiplexes
    _shared: dict[Connection, SharedConnection] = attrs.field(factory=dict, init=False)
    # what a peer that multiplexes said of itself, and whether it refused to all the same
    _values: dict[bytes, bytes] | None = attrs.field(default=None, init=False)
    _multiplexing_refused: bool = attrs.field(default=False, init=False)
    # the most recently used last: the others get the chance to expire
    _idle: dict[Connection, None] = attrs.field(factory=dict, init=False)
    _when_free: dict[Connection, Callable[[], None]] = attrs.field(factory=dict, init=False)
    _answer_wait: float = attrs.field(default=_ANSWER_WAIT_MIN, init=False)
    # how the peer treats what follows a request, and who it is
    manner: Manner = attrs.field(default=Manner.UNKNOWN, init=False)
    _listener: Listener | None = attrs.field(default=None, init=False)
    _silence: Silence = attrs.field(init=False)
    _sweep: Sweep = attrs.field(init=False)
    _retry: Timer | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        kept = {priority: slots for priority, slots in self.endpoint.kept.items() if slots}
        self.ledger, self.keeps = ledger_of(self.endpoint.share, kept), bool(kept)
        self.reachability = Reachability(self.endpoint.reconnect_timeout)
        self.monitor = StatusMonitor(self.endpoint, self.backend, self.ledger, self.source.capacity_freed)
        self._sweep = Sweep(self.backend, self._run_sweep)
        self._silence = Silence(
            self.name,
            self.backend,
            lambda: not self.closed and bool(self.ledger.counts[_CONNECTING] and self.source.waiting()),
            lambda: self.reachability.ever_answered,
        )

    @property
    def name(self) -> str:
        """The endpoint's address, for errors and logs."""
        return str(self.endpoint.address)

    @property
    def saturated(self) -> bool:
        """Whether every slot is taken by what cannot take a job now, so that an offer would come to nothing."""
        if self._idle or len(self.ledger.slots) < self.ledger.share:
            return False
        return not (self.ledger.counts[_LINGERING] and self._may_ask_for_lingering)

    @property
    def _may_ask_for_lingering(self) -> bool:
        """Whether a new connection that is answered has certainly got a worker that an abandoned script has left.

        Only if all workers are ours, and nothing runs before the answer.
        """
        endpoint = self.endpoint
        if not endpoint.handshake or endpoint.reserve or endpoint.processes > 1:
            return False
        multiplexes = self._shared or self._values is not None
        return not (multiplexes or self.reachability.closes_after_values(self.backend.now()))

    # work

    def offer(self) -> bool:
        """Give a waiting job to an idle connection, or see to it that there will be one; True where a job was begun."""
        if self.closed or self.saturated:
            return False
        if self._shared and self.ledger.free:
            shared = self._roomy()
            if shared is not None and self.source.assign(self, shared.connection):
                return True
        while self._idle:
            connection, _ = self._idle.popitem()
            if self.source.assign(self, connection):
                return True
            if not connection.over:
                self._idle[connection] = None
                return False
        self._grow()
        return False

    def offer_later(self) -> None:
        """See to it that a waiting job is offered again once the peer need not be left alone any longer."""
        if self._retry is None and not self.closed:
            self._retry = self.backend.call_at(self.reachability.retry_at, self._try_again)

    def begin(
        self, connection: Connection, exchange: Exchange, request: EncodedRequest, held: Slot | None = None
    ) -> int | None:
        """Write a job to a connection that `assign()` was called with; return None if the peer had gone.

        It is closed in the next turn then: whoever begins the job puts it back into the queue first.

        Args:
            connection: the one.
            exchange: who gets the response.
            request: the job.
            held: what `hold()` returned for it, if that was called.
        """
        shared = self._shared.get(connection)
        if shared is not None:
            request_id = connection.begin(exchange, request, tail=False)
            if request_id is not None:
                shared.begun(request_id, held)
            return request_id
        keep = self.endpoint.handshake
        tail = keep and not connection.says_it_multiplexes and self.manner is not _TAILLESS
        # one that drops the tail would drop this byte with it
        connection.send_ahead = self.manner is not Manner.UNKNOWN
        request_id = connection.begin(exchange, request, keep_conn=keep, tail=tail)
        if request_id is not None:
            self._occupy(connection)
        return request_id

    def hold(self, connection: Connection) -> Slot:
        """Keep the worker of a connection that `assign()` was called with for a job that is not ready to be written."""
        shared = self._shared.get(connection)
        if shared is not None:
            return shared.hold()
        self._occupy(connection)
        return self._slots[connection]

    def _occupy(self, connection: Connection) -> None:
        self._idle.pop(connection, None)
        slot = self._slots[connection]
        if slot.state is not _BUSY:
            self.ledger.move(slot, _BUSY)

    def give_back(self, connection: Connection, slot: Slot) -> None:
        """Give back the slot of a connection that was held and not written to."""
        shared = self._shared.get(connection)
        if shared is not None:
            shared.give_back(slot)
            self._left(shared)
        elif not connection.closed:
            self.worker_free(connection)

    def begin_probe(self, connection: Connection) -> None:
        """Ask the worker of a connection that `assign()` was called with whether it is there; `when_free` tells."""
        shared = self._shared.get(connection)
        if shared is None:
            self.hold(connection)
            slot = self._slots[connection]
            self.ledger.move(slot, _FINISHING, self._sweep.due(self.endpoint.drain_timeout))
        elif not connection.requests:
            # gevent-fastcgi would close behind its answer; that it has answered on the connection before must do
            connection.probe_answered = True
            self._tell_free(connection)
            return
        connection.send_tail_probe()
        if shared is not None:
            shared.expect_answer()

    def abandon(self, connection: Connection, request_id: int, *, patience: float | None = None) -> None:
        """Take back a request whose caller is gone; its slot stays taken until the worker is known to be free.

        Args:
            connection: the request is on it.
            request_id: of the request.
            patience: seconds in which the rest of the response is read and thrown away, 0 for not at all; None for
                the endpoint's `on_cancel` and `drain_timeout`.
        """
        shared = self._shared.get(connection)
        if shared is not None:
            shared.abandoned(request_id, self._sweep.due(self.endpoint.drain_timeout))
            connection.abort(request_id)
            shared.expect_answer()
            shared.close_where_retired()
            return
        connection.abandon(request_id)
        slot = self._slots.get(connection)
        if slot is None:
            return
        if patience is None:
            patience = 0.0 if self.endpoint.on_cancel == "close" else self.endpoint.drain_timeout
        if connection.bodies.needs_caller(request_id):
            # the script gets what came of the body, and its output is refused, as if the connection were closed
            connection.cut_short(request_id)
            if self._can_watch(connection):
                patience = 0.0
        if slot.state is _FINISHING:
            return
        if not patience or not self.endpoint.handshake:
            self._leave(connection, slot)
        elif slot.state is _BUSY:
            self.ledger.move(slot, _DRAINING, self._sweep.due(patience))

    def _leave(self, connection: Connection, slot: Slot) -> None:
        """Refuse the rest of a response, and hold the slot until the worker has left the script."""
        if self._can_watch(connection):
            self.ledger.move(slot, _LEAVING)
            self._tell_free(connection)
            # then FPM itself bounds what runs, and a job that waits gets the worker that is free
            connection.leave(at_once=self._may_ask_for_lingering)
        else:
            connection.close()

    def _is_relayed(self, connection: Connection) -> bool:
        """Whether something stands between us and the worker, as far as a unix socket tells."""
        return self.manner is Manner.ANSWERS and self.endpoint.address.is_unix and not connection.leaves_unread

    def _can_watch(self, connection: Connection) -> bool:
        return self.endpoint.address.is_unix and connection.leaves_unread

    def cut_short(self, connection: Connection, request_id: int, *, refused: bool = False) -> None:
        """Give up the rest of the body of a request that was answered; if it was `refused`, nothing runs of it."""
        shared = self._shared.get(connection)
        if shared is not None:
            connection.abort(request_id)
            shared.expect_answer()
        elif refused:
            connection.close()
        else:
            connection.cut_short(request_id)

    def multiplexing_refused(self, connection: Connection) -> None:
        """Take note of CANT_MPX_CONN: from now on one request at a time on a connection."""
        self._multiplexing_refused = True
        shared = self._shared.get(connection)
        if shared is not None:
            logger.warning("%s says that it multiplexes, and refuses it; one request on a connection then", self.name)
            shared.retire()

    def when_free(self, connection: Connection, callback: Callable[[], None]) -> None:
        """Call `callback` once the worker behind `connection` has left the job it is on, or the connection is over.

        Where the peer multiplexes END_REQUEST says so already; the callback is then for an answer to `begin_probe()`.
        """
        self._when_free[connection] = callback

    def close(self) -> None:
        """Close every connection and stop dialling; jobs that run are failed."""
        self.closed = True
        self.monitor.close()
        self._silence.broken()
        self._sweep.close()
        if self._retry is not None:
            self._retry.cancel()
        for connection in (*self._slots, *self._shared):
            connection.close()
        # what lingers, and what is being dialled
        for slot in self.ledger.overdue(math.inf):
            self.ledger.release(slot)

    # opening

    def _grow(self) -> None:
        if not self.ledger.free and not self.ledger.counts[_LINGERING]:
            return
        if self._retry is not None or not self.source.waiting():
            return
        if self.keeps and not self.source.waiting_for(self):
            return
        # one at a time: a burst of new connections strands some of them under pm = ondemand
        if self.ledger.counts[_CONNECTING] or ((self._shared or self._values) and self._full()):
            return
        slot = self.ledger.take()
        if slot is None and self._may_ask_for_lingering:
            slot = self.ledger.take_lingering()
        if slot is not None:
            self._silence.begun()
            self.backend.spawn(lambda: self._open(slot))

    async def _open(self, slot: Slot) -> None:
        connection = Connection(self.endpoint.address, self.backend, self)
        started = self.backend.now()
        try:
            sock = await dial(self.endpoint.address, connect_timeout=self.endpoint.connect_timeout)
            if self.closed:
                sock.close()
                return
            self._slots[connection] = slot
            self._meet(listener_of(sock, self.endpoint.address))
            connection.leaves_unread = self.manner is _FPM
            connection.transport = Transport(sock, connection, self.backend)
        except Exception as error:
            self._forget(connection, slot)
            self._unreachable(error)
        except BaseException:
            self._forget(connection, slot)
            raise
        else:
            connection.connected_at = now = self.backend.now()
            connection.connect_time = now - started
            self._opened(connection, slot)

    def _forget(self, connection: Connection, slot: Slot) -> None:
        if self._slots.pop(connection, None) is None and slot not in self.ledger.slots:
            return
        self.ledger.release(slot)

    def _opened(self, connection: Connection, slot: Slot) -> None:
        self.connections_opened += 1
        if connection.closed or self.closed:
            if connection.transport is not None:
                connection.transport.abort()
            connection.close()
        elif self._values is not None:
            self._use_without_probes(connection, self._values)
        elif self.endpoint.handshake and not self.reachability.closes_after_values(self.backend.now()):
            slot.deadline = self._sweep.due(self._answer_wait)
            connection.send_head_probe()
        elif self.source.assign(self, connection):
            self._grow()
        else:
            connection.close()

    def _unreachable(self, cause: Exception | None, *, closed: bool = False) -> None:
        if self.closed:
            return
        self.connections_failed += 1
        self._silence.broken()
        now = self.backend.now()
        known = self.reachability.meant
        delay = self.reachability.failed(now, closed=closed)
        if self.reachability.meant and not known:
            logger.warning("%s", self.reachability.explain(self.name, cause))
        if self.reachability.given_up(now):
            error = ConnectError(self.reachability.explain(self.name, cause), endpoint=self.name)
            error.__cause__ = cause
            self.source.unreachable(self, error)
        if self._retry is None and self.source.waiting():
            self._retry = self.backend.call_at(now + uniform(delay / 2, delay), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self.source.capacity_freed()

    # ConnectionOwner

    def connection_answered(self, connection: Connection) -> None:
        if self.reachability.meant:
            logger.info("%s is back", self.name)
        self.reachability.answered()
        self._silence.broken()
        self._answer_wait = _ANSWER_WAIT_MIN
        self.source.worker_answered()
        if connection.says_it_multiplexes:
            # gevent-fastcgi closes a connection on which nothing but GET_VALUES has come: the jobs get another one
            self._values = connection.values
            connection.close()

    def request_ended(self, connection: Connection, request_id: int) -> None:
        shared = self._shared.get(connection)
        if connection.answered or shared is not None:
            self.reachability.served()
        if shared is not None:
            shared.ended(request_id)
            self._left(shared)
            return
        slot = self._slots[connection]
        if not self.endpoint.handshake or (connection.says_it_multiplexes and connection.client.unfinished):
            connection.worker_left = True  # END_REQUEST is all that such a peer says of its worker
            connection.close()
            return
        if slot.state is _BUSY:
            self.ledger.move(slot, _FINISHING, self._sweep.due(self.endpoint.drain_timeout))
        if self.manner is _TAILLESS:
            connection.send_tail_probe()
        elif self.manner is not _FPM:
            connection.expect_tail()

    def worker_free(self, connection: Connection) -> None:
        shared = self._shared.get(connection)
        if shared is not None:
            shared.answered()
            self._tell_free(connection)
            self._left(shared)
            return
        slot = self._slots[connection]
        if connection.responses:
            self.manner = learn(self.manner, Fact.TAIL_ANSWERED)
        self.ledger.move(slot, _IDLE)
        slot.dropped = 0
        self._idle[connection] = None
        self._tell_free(connection)
        keepalive = self.endpoint.keepalive
        worn_out = keepalive.max_requests is not None and connection.requests >= keepalive.max_requests
        headless = self.reachability.closes_after_values(self.backend.now())
        if connection.closed or slot.state is not _IDLE:
            return
        if worn_out or headless or connection.spent or self.closed:
            connection.close()
        elif self.source.assign(self, connection):
            self._grow()
        elif not connection.over:
            if keepalive.idle:
                slot.deadline = self._sweep.due(keepalive.idle)
            else:
                connection.close()

    def output_dropped(self, connection: Connection, request_id: int, size: int) -> None:
        shared = self._shared.get(connection)
        slot = self._slots[connection] if shared is None else shared.slot(request_id)
        slot.dropped += size
        if slot.dropped <= self.endpoint.drain_bytes:
            return
        if shared is not None:
            shared.retire()
        else:
            self._leave(connection, self._slots[connection])

    def stray_received(self, connection: Connection) -> None:
        self.stray_records += 1

    def readers_caught_up(self, connection: Connection) -> None:
        if connection in self._shared:
            self.source.capacity_freed()

    def tail_left_unread(self, connection: Connection) -> None:
        self.manner = learn(self.manner, Fact.TAIL_LEFT_UNREAD)
        for other in (connection, *self._slots):
            other.leaves_unread = self.manner is _FPM

    def tail_dropped(self, connection: Connection) -> None:
        if self.manner is not _TAILLESS:
            logger.warning(
                "%s drops a probe that is sent with a request, as servers built on libfcgi do: it is asked after each "
                "response instead, which costs a round trip for each job",
                self.name,
            )
        self.manner = learn(self.manner, Fact.TAIL_DROPPED)

    def _meet(self, listener: Listener) -> None:
        """Learn from who listens."""
        if listener != self._listener:
            if self._listener is not None:
                self.manner = learn(self.manner, Fact.LISTENER_CHANGED)
            self._listener = listener
        if listener.is_php:
            self.manner = learn(self.manner, Fact.LISTENER_IS_PHP)

    def connection_closed(self, connection: Connection) -> None:
        shared = self._shared.pop(connection, None)
        if shared is not None:
            self._shared_closed(shared)
            return
        slot = self._slots.pop(connection, None)
        self._idle.pop(connection, None)
        if slot is None:
            return
        state = slot.state
        # a relay that died takes its connections along, and not the scripts behind it
        left = connection.worker_left and not (state in (_BUSY, _DRAINING) and self._is_relayed(connection))
        if state in (_CONNECTING, _IDLE) or left or self.closed:
            self.ledger.release(slot)
        else:
            self.ledger.move(slot, _LINGERING, self._linger_until())
            self.monitor.slot_lingers()
        self._tell_free(connection)
        if connection.worker_left and connection.values is not None and not connection.requests:
            self.reachability.answered()
            if not connection.says_it_multiplexes:
                if self.reachability.closed_early(self.backend.now()):
                    logger.warning(
                        "%s closes a connection behind its answer to GET_VALUES, as PHP before 8.2.13 does: each job "
                        "gets a connection of its own, and one that waits for a worker counts as begun, so that it is "
                        "not taken back when it is cancelled; upgrade PHP",
                        self.name,
                    )
            else:
                self._values = connection.values
        # whoever takes the next connection may be another peer: ask it
        if connection.requests:
            self._values = None
        away = connection.worker_left or connection.close_cause is not None
        if state is _CONNECTING and away and self._values is None:
            self._unreachable(connection.close_cause, closed=connection.worker_left)
        elif not self.closed:
            self.source.capacity_freed()

    # multiplexing

    def _use_without_probes(self, connection: Connection, values: dict[bytes, bytes]) -> None:
        """Give jobs to a connection whose peer multiplexes: END_REQUEST alone frees its slots."""
        connection.learn(values)
        if self.endpoint.multiplex == "never" or self._multiplexing_refused:
            # the job that it was opened for may have gone elsewhere: it is kept for the next
            self.worker_free(connection)
            return
        # from here on its requests hold the slots
        self.ledger.release(self._slots.pop(connection))
        connection.multiplex()
        limit = connection.max_requests_at_once or MAX_REQUEST_ID
        self._shared[connection] = SharedConnection(
            connection, self.ledger, self.backend, self.endpoint.keepalive, limit, self.source.capacity_freed
        )
        self.source.capacity_freed()

    def _roomy(self) -> SharedConnection | None:
        return next((shared for shared in self._shared.values() if shared.has_room), None)

    def _full(self) -> bool:
        """Whether a connection more would not help: what there is has room, or the peer serves or accepts no more."""
        most = None if self._values is None else connections_at_once(self._values)
        if most is not None and len(self._slots) + len(self._shared) >= most:
            return True
        return any(not (shared.retiring or shared.connection.slow_reader) for shared in self._shared.values())

    def _left(self, shared: SharedConnection) -> None:
        """Take note that a request on a shared connection is over."""
        shared.close_where_retired()
        if not self.closed:
            self.source.capacity_freed()
        shared.rest()

    def _shared_closed(self, shared: SharedConnection) -> None:
        connection = shared.connection
        # whoever takes the next connection may be another peer: ask it
        self._values = None
        over = connection.worker_left or self.closed
        shared.closed(None if over else self._linger_until())
        self._tell_free(connection)
        if not self.closed:
            self.source.capacity_freed()

    def _tell_free(self, connection: Connection) -> None:
        callback = self._when_free.pop(connection, None)
        if callback is not None:
            callback()

    # deadlines

    def _linger_until(self) -> float:
        linger = self.endpoint.linger
        return self._sweep.due(_DEFAULT_LINGER if linger is None else linger)

    def _run_sweep(self, now: float) -> None:
        connections = {slot: connection for connection, slot in self._slots.items()}
        holders = {slot: shared for shared in self._shared.values() for slot in shared.slots}
        for slot in self.ledger.overdue(now):
            # what was done to the ones before may have changed it
            if slot not in self.ledger.slots or slot.deadline > now:
                continue
            if slot.state is _LINGERING:
                self.ledger.release(slot)
                self.source.capacity_freed()
                continue
            if slot not in connections:
                # a request on a shared connection: its id stays taken, its neighbours go on, new ones go elsewhere
                self.ledger.move(slot, _LINGERING, self._linger_until())
                holders[slot].retire()
                self.source.capacity_freed()
                continue
            connection = connections[slot]
            if slot.state is _CONNECTING:
                self._answer_wait = min(self._answer_wait * 2, _ANSWER_WAIT_MAX)
                logger.debug("%s: no answer to a new connection, dialling again", self.name)
                connection.close()
            elif slot.state is _IDLE:
                connection.close()
            else:
                if slot.state is _FINISHING:
                    self.manner = learn(self.manner, Fact.TAIL_UNANSWERED)
                self._leave(connection, slot)
        nearest = self.ledger.next_deadline()
        if nearest < math.inf:
            self._sweep.due(max(nearest - now, 0.0))
