"""One queue in front of all pools: which job goes where, and when."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from itertools import chain

from fcgi_async.dispatch.entry import Entry, name_of, names_of
from fcgi_async.dispatch.execution import Execution, ExecutionState, Terms
from fcgi_async.dispatch.job_log import job_logger, log_job
from fcgi_async.dispatch.pings import Pings
from fcgi_async.dispatch.queue import JobQueue
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.room import RoomWaiters
from fcgi_async.dispatch.tally import Tally
from fcgi_async.dispatch.verdict import Verdict, copy
from fcgi_async.errors import (
    ConnectError,
    DispatcherClosed,
    DispatchError,
    FastCGIError,
    InvalidJob,
    Overloaded,
)
from fcgi_async.job.settings import Limits
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.bell import Bell
from fcgi_async.pool.attempt import JobSlot
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.pool import Pool

__all__ = ("Scheduler",)

logger = logging.getLogger("fcgi_async.dispatch")

# so many jobs fail in one turn of the event loop, which other tasks have to wait for
_FAILED_AT_ONCE = 250
# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_RUNNING = ExecutionState.RUNNING


class Scheduler:
    """Gives queued jobs to free workers; all but `join()`, `ping()` and `close()` is synchronous.

    Args:
        endpoints: the pools.
        backend: the event loop.
        limits: of each response.
        retry: what is tried again.
        max_queued: how many jobs may be queued.

    Attributes:
        pools: of the endpoints.
        queue: of the jobs, and of those who wait for a slot.
        running: jobs that have a slot.
        room: who waits until so many workers are free.
        pings: who waits for a worker's answer.
        tally: how many jobs came to what.
        paused: whether no job is begun.
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
        # slots that are waited for, or held, and have no job yet
        self._reservations: set[Reservation] = set()
        # executions between two attempts
        self._backing_off: dict[Execution, Timer] = {}
        self._when_idle = Bell(backend)
        self._offering = False
        self._verdict = Verdict(backend, self._offer)

    def terms(self, encoder_of: Callable[[Endpoint], RequestEncoder], *, idempotent: bool = False) -> Terms:
        """Return the terms of jobs that are encoded in this way."""
        encoders = {pool.peer: encoder_of(pool.peer.endpoint) for pool in self.pools}
        return Terms(self.backend, self._limits, encoders, idempotent, self._try_again, self._settled)

    # jobs come in

    def submit(self, execution: Execution, *, follows: bool = False) -> bool:
        """Queue a job, and begin it if a worker is free; False if it stands outside a full queue.

        One that `follows` others of its caller fails with them while they fail since no endpoint can be reached.
        """
        inside = self.queue.push(execution)
        if follows and self._verdict.error is not None:
            self._verdict.add(execution)
        elif not self._offering:
            self._offer()
        return inside

    def reserve(self, priority: int, seconds: float | None) -> Reservation:
        """Queue whoever wants a worker before its job is known."""
        reservation = Reservation(self.backend, priority, seconds, self.running.discard, self._reservation_over)
        self._reservations.add(reservation)
        self.queue.push(reservation)
        if not self._offering:
            self._offer()
        return reservation

    def begin_held(self, execution: Execution, reservation: Reservation) -> None:
        """Begin a job on the worker that was held for it; if that has left, queue it ahead of its equals."""
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
                self._begun_wrongly(execution, slot, error)
                return
            self.running.discard(execution)
        if execution.waiting:
            self.queue.push_back(execution)
            self._offer()

    def end_reservations(self, error: Callable[[], FastCGIError]) -> None:
        """Give back every slot that is held for no job, and fail whoever waits for one, or for room."""
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
        """Begin no more jobs."""
        self.paused = True

    def resume(self) -> None:
        """Begin jobs again."""
        self.paused = False
        self._offer()

    # what there is

    @property
    def outstanding(self) -> int:
        """How many jobs are queued, running or between two attempts; slots without a job do not count."""
        return len(self.running) + self.queued - sum(reservation.waiting for reservation in self._reservations)

    @property
    def queued(self) -> int:
        """How many jobs have no worker, and how many slots are waited for."""
        return self.queue.total + len(self._backing_off)

    @property
    def idle(self) -> bool:
        """Whether no job is queued, running or between two attempts."""
        return not self.outstanding

    def describe_outstanding(self) -> str:
        """Return for a log how many jobs are running and queued, and which are the first of them."""
        queued = names_of(chain(self.queue, self._backing_off))
        return f"{len(self.running)} job(s) running{names_of(self.running)} and {self.queued} queued{queued}"

    async def join(self) -> None:
        """Wait until `idle`."""
        while not self.idle:
            await self._when_idle.wait()

    def _room(self, priority: int) -> int:
        """Return how many jobs of a priority would get a worker if they came now."""
        if self.paused:
            return 0
        first = self.queue.first()
        if first is not None and first.priority >= priority:
            return 0
        return sum(pool.peer.ledger.room(priority) for pool in self.pools)

    # the end

    async def close(self) -> None:
        """Fail every job and every ping, and close every connection; other tasks run in between.

        Cancelling does the rest of it at once.
        """
        try:
            self.paused = True
            while self._fail_queued(_closed, _FAILED_AT_ONCE) == _FAILED_AT_ONCE:
                await self.backend.checkpoint()
        finally:
            self._close_now()

    def _fail_queued(self, error: Callable[[], FastCGIError], most: float = math.inf) -> int:
        """Fail jobs that have no worker, `most` of them at most, and tell how many they were."""
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

    # what becomes of executions

    def _try_again(self, execution: Execution, error: FastCGIError, may_have_run: bool) -> bool:
        attempts, attempt = execution.attempts, execution.attempt
        idempotent = execution.job.idempotent or execution.terms.idempotent
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

    def _back(self, execution: Execution) -> None:
        del self._backing_off[execution]
        self.queue.push_back(execution)
        self._offer()

    def _settled(self, execution: Execution, state: ExecutionState) -> None:
        self.tally.count(execution.response is not None, execution.error)
        if state is _RUNNING:
            self.running.discard(execution)
        elif execution in self._backing_off:
            self._backing_off.pop(execution).cancel()
        else:
            self.queue.left(execution)
        if job_logger.isEnabledFor(logging.DEBUG):
            response = execution.response
            timing = execution.timing_so_far() if response is None else response.timing
            log_job(execution.job, response, execution.error, timing)
        if self.room.waiting:
            self.room.changed()
        if self._when_idle and self.idle:
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
        if self.paused:
            return False
        keeps = slot.peer.keeps
        while (execution := self._next_of(slot.peer) if keeps else self.queue.pop()) is not None:
            self.running.add(execution)
            try:
                if execution.begin(slot):
                    if self.room.waiting:
                        self.room.changed()
                    return True
            except InvalidJob as refusal:
                # it must not fail the connection that would have served it
                execution.refuse(refusal)
                continue
            except Exception as error:
                self._begun_wrongly(execution, slot, error)
                return False
            self.running.discard(execution)
            if execution.waiting:
                self.queue.push_back(execution)
            return False
        if self.room.waiting:
            self.room.changed()
        return False

    def _next_of(self, peer: Peer) -> Entry | None:
        """Take the next job, unless the slots that are left of a pool are kept for others."""
        first = self.queue.first()
        return self.queue.pop() if first is not None and peer.ledger.entering(first.priority) else None

    def _begun_wrongly(self, execution: Entry, slot: JobSlot, error: Exception) -> None:
        """End a job that could not be begun though it was encoded: what has been written of it is not known."""
        logger.error("%s could not be begun", name_of(execution), exc_info=error)
        failure = DispatchError(
            f"the job could not be begun, by a fault in fcgi_async and not in the job: {error!r}; please report it, "
            "with the traceback in the log"
        )
        failure.__cause__ = error
        slot.close()
        # closing has settled it when it had been written
        if not execution.done:
            execution.refuse(failure, may_have_run=True)

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
        # what becomes free while jobs are offered is taken by the loop that offers them
        if self._offering:
            return
        for pool in self.pools:
            if not pool.saturated:
                break
        else:
            return
        self._offering = True
        try:
            self._offer_all()
        finally:
            self._offering = False

    def _offer_all(self) -> None:
        if len(self.pools) == 1:
            while self.waiting() and self.pools[0].offer():
                pass
            return
        now = self.backend.now()
        pools = [pool for pool in self.pools if pool.peer.reachability.retry_at <= now] or list(self.pools)
        while self.waiting():
            # the least loaded first; one that cannot begin a job now may still open a connection for it
            pools.sort(key=_load)
            if not any(pool.offer() for pool in pools):
                break
        if self.waiting():
            for pool in self.pools:
                if pool not in pools:
                    pool.offer_later()


def _closed() -> DispatcherClosed:
    return DispatcherClosed("the dispatcher was closed before a worker took the job")


def _load(pool: Pool) -> tuple[bool, float]:
    return pool.peer.reachability.away, pool.peer.ledger.load
