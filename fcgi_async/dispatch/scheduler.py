"""One queue in front of all pools: which job goes where, and when."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from itertools import chain, islice

import attrs

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.dispatch.execution import Execution, ExecutionState
from fcgi_async.dispatch.job import Job
from fcgi_async.dispatch.job_log import job_logger, log_job
from fcgi_async.dispatch.queue import JobQueue
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.settings import Limits
from fcgi_async.errors import (
    ConnectError,
    DispatcherClosed,
    FastCGIError,
    InvalidJob,
    JobTimeout,
    Overloaded,
    QueueTimeout,
)
from fcgi_async.net.backend import Backend, Timer, Waiter
from fcgi_async.net.connection import Connection, EncodedRequest
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.pool import Pool

__all__ = ("Scheduler",)

# of the jobs that a closing dispatcher waits for, or gives up, the log names so many
_NAMED_MAX = 5


@attrs.define(eq=False)
class Probe:
    """Somebody who wants to know whether a worker answers."""

    answered: Waiter
    error: FastCGIError | None = attrs.field(default=None, init=False)

    def failed(self, error: FastCGIError) -> None:
        """Take it that there is none."""
        self.error = error
        self.wake()

    def wake(self) -> None:
        """Take it that one did, or that there is an error."""
        if not self.answered.done():
            self.answered.set_result(None)


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
    queue: JobQueue[Execution] = attrs.field(init=False)
    deadlines: Deadlines = attrs.field(init=False)
    running: set[Execution] = attrs.field(factory=set, init=False)
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
    # those that a kept connection was asked for
    _asking: set[Probe] = attrs.field(factory=set, init=False)

    def __attrs_post_init__(self) -> None:
        self.pools = tuple(Pool(endpoint, self.backend, self) for endpoint in self.endpoints)
        self.queue = JobQueue(self.max_queued)
        self.deadlines = Deadlines(self.backend)
        self._encoders = {pool: RequestEncoder(pool.endpoint) for pool in self.pools}

    # jobs

    def check(self, job: Job) -> None:
        """Refuse a job that an endpoint would not take; raises InvalidJob."""
        for encoder in self._encoders.values():
            encoder.check(job)

    def submit(self, execution: Execution) -> bool:
        """Queue a job, and begin it where a worker is free; False where it stands outside a full queue."""
        inside = self.queue.push(execution)
        if not self._offering:
            self._offer()
        return inside

    async def probe(self) -> None:
        """Wait until a worker answers GET_VALUES; goes ahead of all jobs.

        Raises:
            ConnectError: no endpoint can be reached.
        """
        probe = Probe(self.backend.waiter())
        self._probes.append(probe)
        try:
            self._offer()
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
        """How many jobs are queued, running or between two attempts."""
        return len(self.running) + self.queued

    @property
    def queued(self) -> int:
        """How many jobs have no worker."""
        return self.queue.total + len(self._backing_off)

    def describe_outstanding(self) -> str:
        """Return for a log how many jobs are running and queued, and which are the first of them."""
        queued = _scripts(chain(self.queue, self._backing_off))
        return f"{len(self.running)} job(s) running{_scripts(self.running)} and {self.queued} queued{queued}"

    @property
    def idle(self) -> bool:
        """Whether no job is queued, running or between two attempts."""
        return not self.outstanding

    async def join(self) -> None:
        """Wait until `idle`."""
        while not self.idle:
            waiter = self.backend.waiter()
            self._idle_waiters.append(waiter)
            await waiter

    def fail_queued(self, error: Callable[[], FastCGIError]) -> int:
        """Fail every job that has no worker, and tell how many they were."""
        executions = [*self.queue, *self._backing_off]
        for execution in executions:
            execution.end(error())
        return len(executions)

    def close(self) -> None:
        """Fail every job and every ping, and close every connection."""
        probes = (*self._probes, *self._asking)
        self._probes.clear()
        self._asking.clear()
        for probe in probes:
            probe.failed(DispatcherClosed("the dispatcher was closed before a worker answered"))
        self.fail_queued(lambda: DispatcherClosed("the dispatcher was closed before a worker took the job"))
        for execution in tuple(self.running):
            execution.end(DispatcherClosed("the dispatcher was closed while the job ran"), patience=0.0)
        for pool in self.pools:
            pool.close()
        self.deadlines.close()

    # ExecutionOwner

    def encode(self, pool: Pool, job: Job) -> EncodedRequest:
        return self._encoders[pool].encode(job)

    def encode_with(self, pool: Pool, job: Job, extra: Mapping[str, str]) -> EncodedRequest:
        """Return a job, with parameters that are not its own, as the bytes that this pool gets."""
        return self._encoders[pool].encode_with(job, extra)

    def try_again(self, execution: Execution, error: FastCGIError, *, may_have_run: bool) -> bool:
        job, attempts = execution.job, execution.attempts
        if not self.retry.allows(error, may_have_run=may_have_run, idempotent=job.idempotent, attempts=attempts):
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
        if self._idle_waiters and self.idle:
            waiters, self._idle_waiters = self._idle_waiters, []
            for waiter in waiters:
                if not waiter.done():
                    waiter.set_result(None)

    def _back(self, execution: Execution) -> None:
        del self._backing_off[execution]
        self.queue.push_back(execution)
        self._offer()

    # JobSource

    def waiting(self) -> int:
        return len(self._probes) + (0 if self.paused else self.queue.size)

    def assign(self, pool: Pool, connection: Connection) -> bool:
        if self._probes:
            self._ask(self._probes.pop(0), pool, connection)
            return True
        if self.paused:
            return False
        while (execution := self.queue.pop()) is not None:
            self.running.add(execution)
            try:
                if execution.begin(pool, connection):
                    return True
            except Exception as error:
                # a job that cannot be encoded must not fail the connection that would have served it
                refusal = InvalidJob(f"the job could not be encoded: {error!r}")
                refusal.__cause__ = error
                execution.refuse(refusal)
                continue
            self.running.discard(execution)
            if execution.waiting:
                self.queue.push_back(execution)
            return False
        return False

    def worker_answered(self) -> None:
        probes, self._probes = self._probes, []
        for probe in probes:
            probe.wake()

    def capacity_freed(self) -> None:
        self._offer()

    def unreachable(self, pool: Pool, error: ConnectError) -> None:
        now = self.backend.now()
        if not all(other.reachability.given_up(now) for other in self.pools):
            return

        def failure() -> ConnectError:
            copy = ConnectError(error.message, endpoint=error.endpoint)
            copy.__cause__ = error.__cause__
            return copy

        probes, self._probes = self._probes, []
        for probe in probes:
            probe.failed(failure())
        # what a failed job lets in, as in run_all(), fails for the same reason
        while self.fail_queued(failure):
            pass

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


def _load(pool: Pool) -> tuple[bool, float]:
    return pool.reachability.away, pool.ledger.load


def _scripts(executions: Iterable[Execution]) -> str:
    names = [
        repr(job.script) if job.tag is None else f"{job.script!r} tag {job.tag!r}"
        for job in (execution.job for execution in islice(executions, _NAMED_MAX + 1))
    ]
    if len(names) > _NAMED_MAX:
        names[-1] = "..."
    return f" ({', '.join(names)})" if names else ""
