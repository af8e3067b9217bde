"""One queue in front of all pools: decides which job goes where, and when."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from itertools import chain

from fcgi_async.dispatch.choice import goes_elsewhere, load
from fcgi_async.dispatch.entry import Entry, names_of
from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.fail_begun import fail_begun
from fcgi_async.dispatch.job_log import job_logger, log_job
from fcgi_async.dispatch.overdue import why_it_waits
from fcgi_async.dispatch.pings import Pings
from fcgi_async.dispatch.queue import JobQueue
from fcgi_async.dispatch.relay import Relay
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.room import RoomWaiters
from fcgi_async.dispatch.tally import Tally
from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.verdict import Verdict, copy
from fcgi_async.errors import (
    ConnectError,
    DispatcherClosed,
    FastCGIError,
    InvalidJob,
    Overloaded,
    QueueTimeout,
)
from fcgi_async.job.php_error import SERVER_ERROR, is_fatal
from fcgi_async.job.settings import Limits, Timeouts
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.bell import Bell
from fcgi_async.pool.attempt import JobSlot
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.pool import Pool

__all__ = ("Scheduler",)

logger = logging.getLogger("fcgi_async.dispatch")

# how many jobs fail in one turn of the event loop; other tasks have to wait for that turn
_FAILED_AT_ONCE = 250


class Scheduler:
    """Gives queued jobs to free workers; everything except `join()`, `ping()` and `close()` is synchronous.

    Args:
        endpoints: the pools.
        backend: the event loop.
        limits: limits of each response.
        retry: which jobs are retried.
        max_queued: how many jobs may be queued.

    Attributes:
        pools: one pool for each endpoint.
        queue: the jobs, and the callers that wait for a slot.
        running: jobs that have a slot.
        room: the tasks that wait for room.
        pings: the pings that wait for an answer.
        tally: counters of how jobs ended.
        relay_terms: terms of requests that are passed on.
        paused: whether no job is started.
    """

    def __init__(
        self, endpoints: tuple[Endpoint, ...], backend: Backend, limits: Limits, retry: Retry, max_queued: int
    ) -> None:
        self.backend, self._limits, self._retry = backend, limits, retry
        self.pools = tuple(Pool(endpoint, backend, self) for endpoint in endpoints)
        self.queue: JobQueue[Entry] = JobQueue(max_queued)
        self.running: set[Entry] = set()
        self.room = RoomWaiters(backend, self._room)
        self.pings = Pings(backend, self._offer)
        self.paused = False
        self.tally = Tally()
        rules = (self._try_again, self._settled, self._overdue)
        self.relay_terms: Terms[Relay] = Terms(backend, limits, {}, False, Timeouts(), None, *rules)
        # slots without a job, held or waited for
        self._reservations: set[Reservation] = set()
        # executions between two attempts
        self._backing_off: dict[Execution | Relay, Timer] = {}
        self._when_idle = Bell(backend)
        self._offering = False
        self._verdict = Verdict(backend, self._offer)
        # takes a free slot that the next job may have, or opens a connection for it and returns None
        self._free_slot = self.pools[0].take if len(self.pools) == 1 else self._least_loaded

    def terms(
        self,
        encoder_of: Callable[[Endpoint], RequestEncoder],
        timeouts: Timeouts,
        *,
        idempotent: bool = False,
        view: str | None = None,
    ) -> Terms[Execution]:
        """Return terms for jobs with these encoders and these default deadlines."""
        encoders = {pool.peer: encoder_of(pool.peer.endpoint) for pool in self.pools}
        rules = (self._try_again, self._settled, self._overdue)
        return Terms(self.backend, self._limits, encoders, idempotent, timeouts, view, *rules)

    def _overdue(self, waited: float) -> QueueTimeout:
        why = why_it_waits((pool.peer for pool in self.pools), paused=self.paused)
        return QueueTimeout(f"no worker took the job within its deadline, {waited:.3f} s after the call; {why}")

    # submitting

    def submit(self, execution: Execution, *, follows: bool = False) -> None:
        """Queue a job, and start it if a worker is free; it may wait outside a full queue.

        A job that `follows` others of its caller fails with them while they fail because no endpoint can be reached.
        """
        if not self.queue.push(execution):
            execution.outside = True
        if follows and self._verdict.error is not None:
            self._verdict.add(execution)
        elif (slot := self._free_slot()) is not None:
            if not self.assign(slot):
                slot.give_back()
            # a ping took the slot, or its connection was closed
            if execution.waiting:
                self._offer()

    def relay(self, relay: Relay) -> None:
        """Queue a request of another client, and start it if a worker is free."""
        self.queue.push(relay)
        self._offer()

    def reserve(self, priority: int, seconds: float | None) -> Reservation:
        """Queue a caller that wants a worker before its job is known."""
        reservation = Reservation(self.backend, priority, seconds, self.running.discard, self._reservation_over)
        self._reservations.add(reservation)
        self.queue.push(reservation)
        self._offer()
        return reservation

    def begin_held(self, execution: Execution, reservation: Reservation) -> None:
        """Start a job on the worker that was held for it; if the worker has left, queue the job ahead of its equals."""
        if (slot := reservation.take()) is not None:
            self.running.add(execution)
            try:
                if execution.begin(slot):
                    return
            except InvalidJob as refusal:
                execution.refuse(refusal)
                slot.give_back()
                return
            except Exception as error:
                fail_begun(execution, slot, error)
                return
            self.running.discard(execution)
        if execution.waiting:
            self.queue.push_back(execution)
            self._offer()

    def end_reservations(self, error: Callable[[], FastCGIError]) -> None:
        """Give back every slot held without a job, and fail the callers that wait for a slot or for room."""
        for reservation in tuple(self._reservations):
            reservation.end(error())
        self.room.wake()

    def _reservation_over(self, reservation: Reservation, held: bool) -> None:
        self._reservations.discard(reservation)
        self.running.discard(reservation)
        if not held:
            self.queue.left(reservation)
        self.room.changed()

    def pause(self) -> None:
        """Start no more jobs."""
        self.paused = True

    def resume(self) -> None:
        """Start jobs again."""
        self.paused = False
        self._offer()

    # state

    @property
    def outstanding(self) -> int:
        """Number of jobs that are queued, running or between two attempts; slots without a job do not count."""
        return len(self.running) + self.queued - sum(reservation.waiting for reservation in self._reservations)

    @property
    def queued(self) -> int:
        """Number of jobs without a worker, plus the number of slots that are waited for."""
        return self.queue.total + len(self._backing_off)

    @property
    def idle(self) -> bool:
        """Whether no job is queued, running or between two attempts."""
        return not self.outstanding

    def describe_outstanding(self) -> str:
        """Return for the log how many jobs are running and queued, and the names of the first few."""
        queued = names_of(chain(self.queue, self._backing_off))
        return f"{len(self.running)} job(s) running{names_of(self.running)} and {self.queued} queued{queued}"

    async def join(self) -> None:
        """Wait until `idle`."""
        while not self.idle:
            await self._when_idle.wait()

    def _room(self, priority: int) -> int:
        """Return how many jobs of a priority would get a worker now."""
        if self.paused:
            return 0
        first = self.queue.first()
        if first is not None and first.priority >= priority:
            return 0
        return sum(pool.peer.ledger.room(priority) for pool in self.pools)

    # closing

    async def close(self) -> None:
        """Fail every job and every ping, and close every connection; other tasks run in between.

        Cancelling does the rest at once.
        """
        try:
            self.paused = True
            while self._fail_queued(_closed, _FAILED_AT_ONCE) == _FAILED_AT_ONCE:
                await self.backend.checkpoint()
        finally:
            self._close_now()

    def _fail_queued(self, error: Callable[[], FastCGIError], most: float = math.inf) -> int:
        """Fail at most `most` jobs that have no worker, and return how many were failed."""
        count = 0
        while count < most:
            execution = self.queue.first() or next(iter(self._backing_off), None)
            if execution is None:
                break
            execution.end(error())
            count += 1
        return count

    def _close_now(self) -> None:
        self.pings.fail(lambda: DispatcherClosed("the dispatcher was closed before a worker answered"), asking=True)
        self._fail_queued(_closed)
        for execution in tuple(self.running):
            execution.end(DispatcherClosed("the dispatcher was closed while the job ran"), patience=0.0)
        for pool in self.pools:
            pool.close()

    # the end of an execution

    def _try_again(self, execution: Execution | Relay, error: FastCGIError, may_have_run: bool) -> bool:
        attempts, attempt, idempotent = execution.attempts, execution.attempt, execution.idempotent
        if not self._retry.allows(error, may_have_run=may_have_run, idempotent=idempotent, attempts=attempts):
            return False
        if isinstance(error, Overloaded) and attempt is not None:
            attempt.slot.peer.reachability.overloaded(self.backend.now())
        self.tally.retried += 1
        self.running.discard(execution)
        execution.again()
        delay = self._retry.delay(attempts)
        if delay:
            when = self.backend.now() + delay
            self._backing_off[execution] = self.backend.call_at(when, lambda: self._back(execution))
        else:
            self.queue.push_back(execution)
            self._offer()
        return True

    def _back(self, execution: Execution | Relay) -> None:
        del self._backing_off[execution]
        self.queue.push_back(execution)
        self._offer()

    def _settled(self, execution: Execution | Relay, waited: bool) -> None:
        response = execution.response
        if response is not None:
            self.tally.completed += 1
            if response.status >= SERVER_ERROR or (response.stderr and is_fatal(response.stderr)):
                self.tally.php_errors += 1
        elif execution.error is not None:
            self.tally.count(execution.error)
        else:
            self.tally.completed += 1
        if not waited:
            self.running.discard(execution)
        elif execution in self._backing_off:
            self._backing_off.pop(execution).cancel()
        else:
            self.queue.left(execution)
        if job_logger.isEnabledFor(logging.DEBUG) and isinstance(execution, Execution):
            timing = execution.timing_so_far() if response is None else response.timing
            log_job(execution.job, response, execution.error, timing)
        if self.room.waiting:
            self.room.changed()
        if self._when_idle.waiters and self.idle:
            self._when_idle.ring()

    # JobSource

    def waiting(self) -> int:
        pings = len(self.pings.waiting)
        if self.paused:
            return pings
        if self._verdict.error is not None:
            return pings + max(self.queue.total - self._verdict.outstanding, 0)
        return pings + self.queue.size

    def waiting_for(self, peer: Peer) -> bool:
        if self.pings.waiting:
            return True
        first = None if self.paused else self.queue.first()
        return first is not None and peer.ledger.room_below(first.priority) > 0

    def assign(self, slot: JobSlot) -> bool:
        if self.pings.waiting:
            self.pings.ask(slot)
            return True
        if slot.peer.reachability.retry_at and goes_elsewhere(self.queue.first(), slot.peer, self.pools):
            return False
        while not self.paused:
            execution = self._next_of(slot.peer) if slot.peer.keeps else self.queue.pop()
            if execution is None:
                break
            self.running.add(execution)
            try:
                if execution.begin(slot):
                    if self.room.waiting:
                        self.room.changed()
                    return True
            except InvalidJob as refusal:
                # this must not fail the connection that would have served it
                execution.refuse(refusal)
                continue
            except Exception as error:
                fail_begun(execution, slot, error)
                return False
            self.running.discard(execution)
            if execution.waiting:
                self.queue.push_back(execution)
            return False
        if self.room.waiting:
            self.room.changed()
        return False

    def _next_of(self, peer: Peer) -> Entry | None:
        """Take the next job, unless the peer's free slots are kept for higher priorities."""
        first = self.queue.first()
        return self.queue.pop() if first is not None and peer.ledger.entering(first.priority) else None

    def worker_answered(self) -> None:
        self._verdict.lift()
        self.pings.answered()

    def capacity_freed(self) -> None:
        self._offer()
        if self.room.waiting:
            self.room.changed()

    def unreachable(self, error: ConnectError) -> None:
        now = self.backend.now()
        if all(pool.peer.reachability.given_up(now) for pool in self.pools):
            self.pings.fail(lambda: copy(error))
            self._verdict.spread(error, chain(self.queue, self._backing_off))

    def _offer(self) -> None:
        """Start every job that may start now."""
        # the loop that offers slots also offers what becomes free meanwhile
        if self._offering:
            return
        self._offering = True
        try:
            while (slot := self._free_slot()) is not None:
                if not self.assign(slot):
                    slot.give_back()
        finally:
            self._offering = False

    def _least_loaded(self) -> JobSlot | None:
        """Do what `Pool.take()` does, for several pools."""
        pools = self.pools
        if all(pool.saturated for pool in pools) or not self.waiting():
            return None
        now = self.backend.now()
        ready = [pool for pool in pools if pool.peer.reachability.retry_at <= now] or pools
        # a pool that cannot start a job now may still open a connection for it
        for pool in sorted(ready, key=load):
            if (slot := pool.take()) is not None:
                return slot
        for pool in pools:
            if pool not in ready:
                pool.offer_later()
        return None


def _closed() -> DispatcherClosed:
    return DispatcherClosed("the dispatcher was closed before a worker took the job")
