"""The slots of one FPM pool: opens them up to the share, and gives them work only when their worker is free."""

from __future__ import annotations

import logging
import math
import socket
from random import uniform
from typing import Protocol

from fcgi_async.errors import ConnectError
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.dial import dial
from fcgi_async.net.listener import listener_of
from fcgi_async.net.values import connections_at_once
from fcgi_async.pool.advice import explain
from fcgi_async.pool.attempt import JobSlot
from fcgi_async.pool.channel import Channel
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.monitor import StatusMonitor
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.request_slot import RequestSlot
from fcgi_async.pool.silence import Silence
from fcgi_async.pool.slots import SlotState
from fcgi_async.pool.sweep import Sweep
from fcgi_async.pool.worker import Worker

__all__ = ("JobSource", "Pool")

logger = logging.getLogger("fcgi_async.pool")

# connect again if there is no answer: a burst strands connections under pm = ondemand
_ANSWER_WAIT_MIN = 1.0
_ANSWER_WAIT_MAX = 30.0
# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_CONNECTING, _IDLE, _BUSY = SlotState.CONNECTING, SlotState.IDLE, SlotState.BUSY
_DRAINING, _LINGERING = SlotState.DRAINING, SlotState.LINGERING


class JobSource(Protocol):
    """The source of a pool's work; synchronous."""

    def waiting(self) -> int:
        """Return how many jobs wait for a worker."""

    def waiting_for(self, peer: Peer) -> bool:
        """Return whether the next job may take a slot of this peer; some may be kept for higher priorities."""

    def assign(self, slot: JobSlot) -> bool:
        """Start the next job on `slot`. Return False if none waits, or other slots are kept for higher priorities."""

    def worker_answered(self) -> None:
        """Called when a worker has answered GET_VALUES; it is ours from now on."""

    def capacity_freed(self) -> None:
        """Called when a slot was given back."""

    def unreachable(self, error: ConnectError) -> None:
        """Called when jobs should no longer wait for this pool."""


class Pool:
    """One endpoint's slots and connections; everything except connecting is synchronous.

    Args:
        endpoint: the configuration of the FPM pool.
        backend: the event loop.
        source: the source of jobs.

    Attributes:
        peer: the state that its slots share.
        monitor: asks the status page.
        connections_opened: connections made.
        connections_failed: connections that failed.
    """

    def __init__(self, endpoint: Endpoint, backend: Backend, source: JobSource) -> None:
        self.backend, self._source = backend, source
        self._sweep = Sweep(backend, self._run_sweep)
        self.peer = peer = Peer(endpoint, backend, self._sweep)
        self.monitor = StatusMonitor(endpoint, backend, peer.ledger, source.capacity_freed)
        self._silence = Silence(
            peer.name,
            backend,
            lambda: not peer.closed and bool(peer.ledger.counts[_CONNECTING] and source.waiting()),
            lambda: peer.reachability.ever_answered,
        )
        self.connections_opened = self.connections_failed = 0
        # connections that serve one request at a time
        self._workers: set[Worker] = set()
        # the most recently used last, so that the others can expire
        self._idle: dict[Worker, None] = {}
        self._channels: list[Channel] = []
        self._answer_wait = _ANSWER_WAIT_MIN
        self._retry: Timer | None = None

    @property
    def saturated(self) -> bool:
        """Whether no slot can take a job now."""
        ledger = self.peer.ledger
        if self._idle or not ledger.full:
            return False
        return not (ledger.counts[_LINGERING] and self.peer.may_ask_for_lingering)

    # work

    def take(self) -> JobSlot | None:
        """Take a free slot for the next job, or open a connection for it and return None."""
        peer, ledger = self.peer, self.peer.ledger
        if ledger.full and not (self._idle or ledger.counts[_LINGERING]):
            return None
        if peer.closed or not self._source.waiting() or (peer.keeps and not self._source.waiting_for(peer)):
            return None
        if self._channels and ledger.free:
            for channel in self._channels:
                if channel.has_room:
                    return channel.take()
        if self._idle:
            return self._idle.popitem()[0]
        self._grow()
        return None

    def offer_later(self) -> None:
        """Offer waiting jobs again when the peer may be tried again."""
        if self._retry is None and not self.peer.closed:
            self._retry = self.backend.call_at(self.peer.reachability.retry_at, self._try_again)

    def _free(self, worker: Worker) -> None:
        """Give a job to a free worker, or keep its connection, or close it."""
        peer = self.peer
        if (
            worker.spent
            or peer.closed
            or worker.requests >= peer.most_requests
            or (peer.reachability.headless_until and peer.reachability.closes_after_values(self.backend.now()))
        ):
            if worker.state is not _IDLE:
                peer.ledger.move(worker, _IDLE)
            worker.close()
            return
        if peer.keeps and worker.state is not _IDLE:
            # the priority that the slot was taken for no longer counts when the next job asks for a slot
            peer.ledger.move(worker, _IDLE)
        if self._source.assign(worker):
            if not peer.ledger.full:
                self._grow()
        elif not worker.over:
            if worker.state is not _IDLE:
                peer.ledger.move(worker, _IDLE)
            self._idle[worker] = None
            if idle := peer.endpoint.keepalive.idle:
                worker.deadline = self._sweep.due(idle)
            else:
                worker.close()

    def close(self) -> None:
        """Close every connection and stop connecting; running jobs fail."""
        self.peer.closed = True
        self.monitor.close()
        self._silence.broken()
        self._sweep.close()
        if self._retry is not None:
            self._retry.cancel()
        for worker in tuple(self._workers):
            worker.close()
        for channel in tuple(self._channels):
            channel.close()
        # lingering slots, and connections being opened
        for slot in self.peer.ledger.overdue(math.inf):
            self.peer.ledger.release(slot)

    # opening

    def _grow(self) -> None:
        peer, ledger = self.peer, self.peer.ledger
        if not ledger.free and not ledger.counts[_LINGERING]:
            return
        if self._retry is not None or not self._source.waiting():
            return
        if peer.keeps and not self._source.waiting_for(peer):
            return
        # one at a time: a burst of new connections strands some of them under pm = ondemand
        if ledger.counts[_CONNECTING] or ((self._channels or peer.values) and self._full()):
            return
        if not ledger.free:
            lingering = ledger.longest_lingering() if peer.may_ask_for_lingering else None
            if lingering is None:
                return
            # the connection that is answered has its worker, because all the others are held
            ledger.release(lingering)
        worker = Worker(peer, self._answered, self._free, self._worker_ended)
        ledger.take(worker)
        self._silence.begun()
        self.backend.spawn(lambda: self._open(worker))

    async def _open(self, worker: Worker) -> None:
        peer = self.peer
        channel = None
        started = self.backend.now()
        try:
            sock = await dial(peer.endpoint.address, connect_timeout=peer.endpoint.connect_timeout)
            if peer.closed:
                sock.close()
                return
            peer.meet(listener_of(sock, peer.endpoint.address))
            channel = self._attach(worker, sock, self.backend.now() - started)
        except Exception as error:
            self._forget(worker)
            self._unreachable(error)
            return
        except BaseException:
            self._forget(worker)
            raise
        self.connections_opened += 1
        if channel is None:
            self._use(worker)
        else:
            self._source.capacity_freed()

    def _attach(self, worker: Worker, sock: socket.socket, connect_time: float) -> Channel | None:
        peer = self.peer
        if not peer.multiplexes:
            self._workers.add(worker)
            worker.attach(sock, connect_time)
            return None
        # from now on its requests hold the slots
        peer.ledger.release(worker)
        channel = Channel(peer, self._source.assign, self._source.capacity_freed, self._channel_ended)
        channel.attach(sock, connect_time)
        self._channels.append(channel)
        peer.channels = len(self._channels)
        return channel

    def _forget(self, worker: Worker) -> None:
        self._workers.discard(worker)
        if worker in self.peer.ledger.slots:
            self.peer.ledger.release(worker)

    def _use(self, worker: Worker) -> None:
        """Ask a new connection for a worker, or use it at once if asking is not needed or not possible."""
        peer = self.peer
        if peer.values is not None:
            # it multiplexes, but must not; the job that it was opened for may have gone elsewhere
            worker.learn(peer.values)
            worker.is_free()
        elif peer.endpoint.handshake and not peer.reachability.closes_after_values(self.backend.now()):
            worker.deadline = self._sweep.due(self._answer_wait)
            worker.send_head_probe()
        elif self._source.assign(worker):
            self._grow()
        else:
            worker.close()

    def _answered(self, worker: Worker) -> None:
        """Called when the head probe of a new connection is answered: a worker is ours."""
        peer = self.peer
        if peer.reachability.down:
            logger.info("%s is back", peer.name)
        peer.reachability.answered()
        self._silence.broken()
        self._answer_wait = _ANSWER_WAIT_MIN
        self._source.worker_answered()
        if worker.multiplexes:
            # gevent-fastcgi closes a connection that has sent only GET_VALUES: the jobs get another one
            peer.values = worker.values
            worker.close()

    def _unreachable(self, cause: Exception | None, *, closed: bool = False) -> None:
        peer, reachability = self.peer, self.peer.reachability
        if peer.closed:
            return
        self.connections_failed += 1
        self._silence.broken()
        now = self.backend.now()
        known = reachability.down
        delay = reachability.failed(now, closed=closed)
        if reachability.down and not known:
            logger.warning("%s", explain(peer.name, cause))
        if reachability.given_up(now):
            error = ConnectError(explain(peer.name, cause), endpoint=peer.name)
            error.__cause__ = cause
            self._source.unreachable(error)
        if self._retry is None and self._source.waiting():
            self._retry = self.backend.call_at(now + uniform(delay / 2, delay), self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._source.capacity_freed()

    def _full(self) -> bool:
        """Whether another connection would not help: there is room already, or the peer serves or accepts no more."""
        values = self.peer.values
        most = None if values is None else connections_at_once(values)
        if most is not None and len(self._workers) + len(self._channels) >= most:
            return True
        return any(channel.helps for channel in self._channels)

    # closing

    def _worker_ended(self, worker: Worker) -> None:
        """Called once, when the connection to a worker has ended."""
        if worker not in self._workers:
            return
        self._workers.remove(worker)
        self._idle.pop(worker, None)
        peer, ledger, state = self.peer, self.peer.ledger, worker.state
        # a relay that died closes its connections, but does not end the scripts
        left = worker.worker_left and not (state in (_BUSY, _DRAINING) and worker.is_relayed)
        if state in (_CONNECTING, _IDLE) or left or peer.closed:
            ledger.release(worker)
        else:
            ledger.move(worker, _LINGERING, peer.linger_until())
            self.monitor.slot_lingers()
        worker.tell(answered=False)
        if worker.worker_left and worker.values is not None and not worker.requests:
            self._closed_after_values(worker)
        # the next connection may reach another peer: ask it
        if worker.requests:
            peer.values = None
        away = worker.worker_left or worker.close_cause is not None
        if state is _CONNECTING and away and peer.values is None:
            self._unreachable(worker.close_cause, closed=worker.worker_left)
        elif not peer.closed:
            self._source.capacity_freed()

    def _closed_after_values(self, worker: Worker) -> None:
        peer = self.peer
        peer.reachability.answered()
        if worker.multiplexes:
            peer.values = worker.values
        elif peer.reachability.closed_early(self.backend.now()):
            logger.warning(
                "%s closes the connection after answering GET_VALUES, as PHP before 8.2.13 does: using one connection "
                "for each job, and cancelling cannot recall a job that waits for a worker; upgrade PHP",
                peer.name,
            )

    def _channel_ended(self, channel: Channel) -> None:
        """Called once, when a connection that requests shared has ended."""
        if channel in self._channels:
            self._channels.remove(channel)
        peer = self.peer
        peer.channels = len(self._channels)
        # the next connection may reach another peer: ask it
        peer.values = None
        if not peer.closed:
            self._source.capacity_freed()

    # deadlines

    def _run_sweep(self, now: float) -> None:
        ledger = self.peer.ledger
        for slot in ledger.overdue(now):
            # handling an earlier slot may have changed this one
            if slot not in ledger.slots or slot.deadline > now:
                continue
            if slot.state is _LINGERING:
                ledger.release(slot)
                self._source.capacity_freed()
            elif isinstance(slot, RequestSlot):
                slot.overdue()
                self._source.capacity_freed()
            elif isinstance(slot, Worker):
                self._worker_overdue(slot)
        nearest = ledger.next_deadline()
        if nearest < math.inf:
            self._sweep.due(max(nearest - now, 0.0))

    def _worker_overdue(self, worker: Worker) -> None:
        if worker.state is _CONNECTING:
            self._answer_wait = min(self._answer_wait * 2, _ANSWER_WAIT_MAX)
            logger.debug("%s: no answer on a new connection, connecting again", self.peer.name)
            worker.close()
        elif worker.state is _IDLE:
            worker.close()
        else:
            worker.overdue()
            # a ping that it did not answer needs another worker
            self._source.capacity_freed()
