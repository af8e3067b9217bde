"""One queue in front of all pools: which job goes where, and when."""

from __future__ import annotations

import logging
import math
from collections import deque
from collections.abc import Callable, Mapping
from itertools import chain
from types import MappingProxyType

import attrs

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.dispatch.entry import Entry, name_of, names_of
from fcgi_async.dispatch.execution import Execution, ExecutionState
from fcgi_async.dispatch.job_log import job_logger, log_job
from fcgi_async.dispatch.probe import Probe
from fcgi_async.dispatch.queue import JobQueue
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.room import RoomWaiters
from fcgi_async.errors import (
    ConnectError,
    DispatcherClosed,
    DispatchError,
    FastCGIError,
    InvalidJob,
    JobTimeout,
    Overloaded,
    QueueTimeout,
)
from fcgi_async.job.job import Job
from fcgi_async.job.settings import Limits
from fcgi_async.net.backend import Backend, Timer, Waiter
from fcgi_async.net.connection import Connection, EncodedRequest
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.pool import Pool

__all__ = ("Scheduler",)

logger = logging.getLogger("fcgi_async.dispatch")

_NOTHING: Mapping[str, str] = MappingProxyType({})
# so many jobs fail in one turn of the event loop, which other tasks have to wait for
_FAILED_AT_ONCE = 250


@attrs.define(eq=False)
class Scheduler:
    """Gives queued jobs to free workers; all but `join()` is synchronous.

    Args:
        endpoints: the pools.
        backend: the event loop.
        limits: of each response.
        retry: what is tried again.
        max_queued: how many jobs may be queued.
    """

    endpoints: tuple[Endpoint, ...]
    backend: Backend
    limits: Limits
    retry: Retry
    max_queued: int
    pools: tuple[Pool, ...] = attrs.field(init=False)
    queue: JobQueue[Entry] = attrs.field(init=False)
    deadlines: Deadlines = attrs.field(init=False)
    running: set[Entry] = attrs.field(factory=set, init=False)
    room: RoomWaiters = attrs.field(init=False)
    # slots that are waited for, or held, and have no job yet
    _reservations: set[Reservation] = attrs.field(factory=set, init=False)
    paused: bool = attrs.field(default=False, init=False)
    completed: int = attrs.field(default=0, init=False)
    failed: int = attrs.field(default=0, init=False)
    cancelled: int = attrs.field(default=0, init=False)
    retried: int = attrs.field(default=0, init=False)
    rejected: int = attrs.field(default=0, init=False)
    queue_timeouts: int = attrs.field(default=0, init=False)
    job_timeouts: int = attrs.field(default=0, init=False)
    _encoders: dict[Pool, RequestEncoder] = attrs.field(factory=dict, init=False)
    # executions between two attempts
    _backing_off: dict[Execution, Timer] = attrs.field(factory=dict, init=False)
    _idle_waiters: list[Waiter] = attrs.field(factory=list, init=False)
    # pings that wait for a worker, ahead of all jobs
    _probes: list[Probe] = attrs.field(factory=list, init=False)
    _offering: bool = attrs.field(default=False, init=False)
    # why no endpoint can be reached, until every job that waited for one has been told; and those that have not been
    _verdict: ConnectError | None = attrs.field(default=None, init=False)
    _doomed: deque[Entry] = attrs.field(factory=deque, init=False)
    # those that a kept connection was asked for
    _asking: set[Probe] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.pools = tuple(Pool(endpoint, self.backend, self) for endpoint in self.endpoints)
        self.queue = JobQueue(self.max_queued)
        self.deadlines = Deadlines(self.backend)
        self.room = RoomWaiters(self.backend, self._room)
        self._encoders = {pool: RequestEncoder(pool.endpoint) for pool in self.pools}

    # jobs

    def check(self, job: Job) -> None:
        """Refuse a job that an endpoint would not take; raises InvalidJob."""
        for encoder in self._encoders.values():
            encoder.check(job)

    def submit(self, execution: Execution, *, follows: bool = False) -> bool:
        """Queue a job, and begin it where a worker is free; False where it stands outside a full queue.

        One that `follows` others of its caller fails with them while they fail since no endpoint can be reached.
        """
        inside = self.queue.push(execution)
        if follows and self._verdict is not None:
            self._doomed.append(execution)
        elif not self._offering:
            self._offer()
        return inside

    def reserve(self, reservation: Reservation) -> None:
        """Queue whoever wants a worker before its job is known."""
        self._reservations.add(reservation)
        self.queue.push(reservation)
        if not self._offering:
            self._offer()

    def begin_held(self, execution: Execution, reservation: Reservation) -> None:
        """Begin a job on the worker that was held for it; where that has left, queue it ahead of its equals."""
        if (held := reservation.take()) is not None:
            pool, connection, slot = held
            self.running.add(execution)
            try:
                if execution.begin(pool, connection, slot):
                    return
            except InvalidJob as refusal:
                execution.refuse(refusal)
                pool.give_back(connection, slot)
                return
            except Exception as error:
                self._begun_wrongly(execution, connection, error)
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

    async def probe(self) -> None:
        """Wait until a worker answers GET_VALUES; goes ahead of all jobs.

        Raises:
            ConnectError: no endpoint can be reached.
        """
        probe = Probe(self.backend.waiter())
        self._probes.append(probe)
        try:
            self._offer()
            if probe.answered.done():
                await self.backend.checkpoint()
            await probe.answered
        finally:
            self._asking.discard(probe)
            if probe in self._probes:
                self._probes.remove(probe)
        if probe.error is not None:
            raise probe.error

    def pause(self) -> None:
        """Begin no more jobs."""
        self.paused = True

    def resume(self) -> None:
        """Begin jobs again."""
        self.paused = False
        self._offer()

    @property
    def outstanding(self) -> int:
        """How many jobs are queued, running or between two attempts; slots without a job do not count."""
        return len(self.running) + self.queued - sum(reservation.waiting for reservation in self._reservations)

    @property
    def queued(self) -> int:
        """How many jobs have no worker, and how many slots are waited for."""
        return self.queue.total + len(self._backing_off)

    def describe_outstanding(self) -> str:
        """Return for a log how many jobs are running and queued, and which are the first of them."""
        queued = names_of(chain(self.queue, self._backing_off))
        return f"{len(self.running)} job(s) running{names_of(self.running)} and {self.queued} queued{queued}"

    @property
    def idle(self) -> bool:
        """Whether no job is queued, running or between two attempts."""
        return not self.outstanding

    async def join(self) -> None:
        """Wait until `idle`."""
        while not self.idle:
            waiter = self.backend.waiter()
            self._idle_waiters.append(waiter)
            try:
                await waiter
            finally:
                if waiter in self._idle_waiters:
                    self._idle_waiters.remove(waiter)

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

    def _close_now(self) -> None:
        probes = (*self._probes, *self._asking)
        self._probes.clear()
        self._asking.clear()
        for probe in probes:
            probe.failed(DispatcherClosed("the dispatcher was closed before a worker answered"))
        self._fail_queued(_closed)
        for execution in tuple(self.running):
            execution.end(DispatcherClosed("the dispatcher was closed while the job ran"), patience=0.0)
        for pool in self.pools:
            pool.close()
        self.deadlines.close()

    # ExecutionOwner

    def encode(self, pool: Pool, job: Job) -> EncodedRequest:
        return self._encoders[pool].encode_or_refuse(job, _NOTHING)

    def encode_with(self, pool: Pool, job: Job, extra: Mapping[str, str]) -> EncodedRequest:
        return self._encoders[pool].encode_or_refuse(job, extra)

    def try_again(
        self, execution: Execution, error: FastCGIError, *, may_have_run: bool, idempotent: bool | None = None
    ) -> bool:
        idempotent = execution.job.idempotent if idempotent is None else idempotent
        attempts = execution.attempts
        if not self.retry.allows(error, may_have_run=may_have_run, idempotent=idempotent, attempts=attempts):
            return False
        if isinstance(error, Overloaded) and execution.pool is not None:
            execution.pool.reachability.overloaded(self.backend.now())
        self.retried += 1
        self.running.discard(execution)
        execution.again()
        delay = self.retry.delay(attempts)
        if delay:
            when = self.backend.now() + delay
            self._backing_off[execution] = self.backend.call_at(when, lambda: self._back(execution))
        else:
            self.queue.push_back(execution)
            self._offer()
        return True

    def settled(self, execution: Execution, state: ExecutionState) -> None:
        if execution.response is not None:
            self.completed += 1
        elif execution.was_cancelled:
            self.cancelled += 1
        else:
            self.failed += 1
            if isinstance(execution.error, QueueTimeout):
                self.queue_timeouts += 1
            elif isinstance(execution.error, JobTimeout):
                self.job_timeouts += 1
        if state is ExecutionState.RUNNING:
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
        if self._idle_waiters and self.idle:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _back(self, execution: Execution) -> None:
        del self._backing_off[execution]
        self.queue.push_back(execution)
        self._offer()

    # ReservationOwner

    def reservation_held(self, reservation: Reservation) -> None:
        self.running.discard(reservation)  # it is no job

    def reservation_over(self, reservation: Reservation, *, held: bool) -> None:
        self._reservations.discard(reservation)
        self.running.discard(reservation)
        if not held:
            self.queue.left(reservation)
        self.room.changed()

    # JobSource

    def waiting(self) -> int:
        if self.paused:
            return len(self._probes)
        if self._verdict is not None:
            return len(self._probes) + max(self.queue.total - len(self._doomed), 0)
        return len(self._probes) + self.queue.size

    def waiting_for(self, pool: Pool) -> bool:
        if self._probes:
            return True
        first = None if self.paused else self.queue.first()
        return first is not None and pool.ledger.room_below(first.priority) > 0

    def assign(self, pool: Pool, connection: Connection) -> bool:
        if self._probes:
            self._ask(self._probes.pop(0), pool, connection)
            return True
        if self.paused:
            return False
        while (execution := self._next_of(pool) if pool.keeps else self.queue.pop()) is not None:
            self.running.add(execution)
            try:
                if execution.begin(pool, connection):
                    if self.room.waiting:
                        self.room.changed()
                    return True
            except InvalidJob as refusal:
                # it must not fail the connection that would have served it
                execution.refuse(refusal)
                continue
            except Exception as error:
                self._begun_wrongly(execution, connection, error)
                return False
            self.running.discard(execution)
            if execution.waiting:
                self.queue.push_back(execution)
            return False
        if self.room.waiting:
            self.room.changed()
        return False

    def _next_of(self, pool: Pool) -> Entry | None:
        """Take the next job, unless the slots that are left of a pool are kept for others."""
        first = self.queue.first()
        return self.queue.pop() if first is not None and pool.ledger.entering(first.priority) else None

    def _room(self, priority: int) -> int:
        """Return how many jobs of a priority would get a worker if they came now."""
        if self.paused:
            return 0
        first = self.queue.first()
        if first is not None and first.priority >= priority:
            return 0
        return sum(pool.ledger.room(priority) for pool in self.pools)

    def _begun_wrongly(self, execution: Entry, connection: Connection, error: Exception) -> None:
        """End a job that could not be begun though it was encoded: what has been written of it is not known."""
        logger.error("%s could not be begun", name_of(execution), exc_info=error)
        failure = DispatchError(
            f"the job could not be begun, by a fault in fcgi_async and not in the job: {error!r}; please report it, "
            "with the traceback in the log"
        )
        failure.__cause__ = error
        connection.close()
        # closing has settled it when it had been written
        if not execution.done:
            execution.refuse(failure, may_have_run=True)

    def worker_answered(self) -> None:
        self._verdict = None
        self._doomed.clear()
        probes, self._probes = self._probes, []
        for probe in probes:
            probe.wake()

    def capacity_freed(self) -> None:
        self._offer()
        if self.room.waiting:
            self.room.changed()

    def unreachable(self, pool: Pool, error: ConnectError) -> None:
        now = self.backend.now()
        if not all(other.reachability.given_up(now) for other in self.pools):
            return

        probes, self._probes = self._probes, []
        for probe in probes:
            probe.failed(_copy(error))
        spreading, self._verdict = self._verdict is not None, error
        self._doomed = deque(chain(self.queue, self._backing_off))
        if spreading:
            return
        if self._fail_slice():
            self.backend.spawn(self._fail_rest)
        else:
            self._verdict = None

    def _fail_slice(self) -> bool:
        """Fail some of the jobs for which no endpoint can be reached; False when there was none."""
        count = 0
        while count < _FAILED_AT_ONCE and self._doomed and self._verdict is not None:
            execution = self._doomed.popleft()
            if execution.waiting and execution.end(_copy(self._verdict)):
                count += 1
        return count > 0

    async def _fail_rest(self) -> None:
        empty = 0
        # what run_all() and map() hand in after a failed job comes in the next turn, or on trio in the one after, since
        # trio runs the tasks of a turn in any order
        while self._verdict is not None and empty < 2:
            await self.backend.checkpoint()
            empty = 0 if self._fail_slice() else empty + 1
        self._verdict = None
        self._offer()

    def _ask(self, probe: Probe, pool: Pool, connection: Connection) -> None:
        def left() -> None:
            if probe not in self._asking:
                return
            self._asking.remove(probe)
            if not connection.probe_answered:
                # it had gone without an answer: another is asked
                self._probes.insert(0, probe)
            else:
                probe.wake()

        self._asking.add(probe)
        pool.ledger.entering(None)
        pool.when_free(connection, left)
        pool.begin_probe(connection)

    def _offer(self) -> None:
        # what becomes free while jobs are offered is taken by the loop that offers them
        if self._offering:
            return
        if all(pool.saturated for pool in self.pools):
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
        pools = [pool for pool in self.pools if pool.reachability.retry_at <= now] or list(self.pools)
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


def _copy(error: ConnectError) -> ConnectError:
    copy = ConnectError(error.message, endpoint=error.endpoint)
    copy.__cause__ = error.__cause__
    return copy


def _load(pool: Pool) -> tuple[bool, float]:
    return pool.reachability.away, pool.ledger.load
