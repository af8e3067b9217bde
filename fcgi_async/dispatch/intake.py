"""The methods that submit jobs: what a dispatcher and its views have in common."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Literal, cast, overload

import anyio
import anyio.lowlevel

from fcgi_async.dispatch.calling import Calling
from fcgi_async.dispatch.execution import NO_PARAMS, Execution
from fcgi_async.dispatch.fan_out import Jobs, RunAll, Starter
from fcgi_async.dispatch.group import JobGroup
from fcgi_async.dispatch.handle import JobHandle
from fcgi_async.dispatch.held_slot import HeldSlot
from fcgi_async.dispatch.jobs_given import not_a_job
from fcgi_async.dispatch.observer import observe
from fcgi_async.dispatch.opening import OPEN, Opening, check_seconds
from fcgi_async.dispatch.outcomes import OutcomeStream, check_limit
from fcgi_async.dispatch.relay import RawRequest, Relay, RelayOutput
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.stream import StreamManager
from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.waiting import response_to
from fcgi_async.dispatch.watched_relay import watch
from fcgi_async.errors import ConfigurationError, FastCGIError, InvalidJob, QueueFull, QueueTimeout
from fcgi_async.job.job import Job
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout, Timeouts
from fcgi_async.job.success_mark import BodyEnd
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend
from fcgi_async.pool.sink import StreamingSink

__all__ = ("Intake",)


class Intake(Calling):
    """Takes jobs, with defaults for what a job does not set itself.

    Args:
        opening: the dispatcher's state; a dispatcher and its views share it.
        timeouts: deadlines for jobs that set none.
        priority: priority of jobs that have none, which is 0.
    """

    def __init__(self, opening: Opening, timeouts: Timeouts, priority: int = 0) -> None:
        super().__init__(opening)
        self._timeouts = timeouts
        self._priority = priority
        self._terms: Terms[Execution] | None = None

    @property
    def _scheduler(self) -> Scheduler | None:
        return self._opening.scheduler

    @abstractmethod
    def _terms_at(self, scheduler: Scheduler) -> Terms[Execution]:
        """Return the terms of the jobs that are submitted here."""

    async def run(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> Response[Tag]:
        """Run one job and return PHP's response, whatever its status.

        Args:
            job: the job to run.
            timeout: seconds from now to the response; overrides the job's and the dispatcher's.

        Raises:
            InvalidJob: the job can never be sent.
            QueueFull: the queue is full, and `overflow` is "reject".
            QueueTimeout: the deadline passed before a worker took the job.
            JobTimeout: the deadline passed after that.
            ConnectError: no endpoint can be reached.
            ConnectionLost: the connection ended before the response did.
            RemoteProtocolError: the answer was not FastCGI, or not a CGI response.
            ResponseTooLarge: the response is longer than `Limits` allow.
            DispatcherClosed: the dispatcher is, or was meanwhile, closed.

        Cancelling takes a queued job out of the queue; it never runs. A running job is left to finish: its output is
        discarded, within the endpoint's `drain_timeout` and `drain_bytes`, and its slot stays taken until then. With
        `on_cancel="close"` its output is refused instead, which ends a script at its next write.
        """
        return await response_to(job, self._backend_for, partial(self._start, job, timeout=timeout))

    def stream(self, job: Job, *, timeout: Timeout = UNSET) -> StreamManager:
        """Run one job and read its response while PHP writes it: `async with php.stream(job) as response:`.

        Entering waits for the response's head, and raises what `run()` does. Leaving before the end discards what comes
        within 20 ms and then refuses the rest, which ends a script at its next write.
        """

        return self._stream(job, lambda sink: self._start(job, _nothing, stream=sink, timeout=timeout))

    @overload
    async def run_all(self, jobs: Jobs[Tag], *, return_exceptions: Literal[False] = False) -> list[Response[Tag]]: ...

    @overload
    async def run_all(self, jobs: Jobs[Tag], *, return_exceptions: bool) -> list[Response[Tag] | FastCGIError]: ...

    async def run_all(
        self, jobs: Jobs[Tag], *, return_exceptions: bool = False
    ) -> list[Response[Tag]] | list[Response[Tag] | FastCGIError]:
        """Run jobs, any number of them, and return the responses in the order of the jobs.

        Args:
            jobs: an iterable or async iterable; read lazily, as workers become free.
            return_exceptions: whether errors are returned in place of responses.

        Raises:
            FastCGIError: without `return_exceptions`: the first error, after the other jobs were cancelled.
            Exception: whatever `jobs` raised.

        `jobs` is read by the task that calls this, with its context variables. Cancelling cancels the jobs that run;
        the others never run.
        """
        scheduler = self._opening.require()
        fan = RunAll(self._starter(), scheduler.backend, self._window(), return_exceptions)
        return cast("list[Response[Tag] | FastCGIError]", await fan.run(jobs))

    def map(self, jobs: Jobs[Tag], *, ordered: bool = True, limit: int | None = None) -> OutcomeStream[Tag]:
        """Run jobs and iterate over their outcomes as they come.

            async with php.map(jobs) as outcomes:
                async for outcome in outcomes: ...

        Args:
            jobs: an iterable or async iterable, which may be endless; it is read as outcomes are read.
            ordered: whether outcomes come in the order of the jobs, or as jobs finish.
            limit: most jobs that are submitted and whose outcomes are not read yet. The default is twice the share plus
                two, not counting outcomes that came before their turn, up to 1,000 of them or 16 MiB of content: so one
                slow job does not hold up the workers.

        Leaving the block cancels the jobs whose outcomes were not read. `outcomes.stop()` reads no more jobs and
        cancels those that no worker has taken, with `cancel=True` the running ones too; the outcomes of all jobs taken
        from the iterable still come. A failed job is an outcome, never an exception. If the dispatcher takes no more
        jobs, the outcomes of those already taken come first, and then DispatcherClosed is raised.

        Raises:
            ConfigurationError: `limit` is less than 1.
            DispatcherClosed: the dispatcher is closed.
        """
        scheduler = self._opening.require()
        return OutcomeStream(self._starter(), scheduler.backend, jobs, ordered, self._window(), limit)

    def group(self, *, limit: int | None = None, on_error: Literal["cancel", "collect"] = "cancel") -> JobGroup:
        """Return a group of jobs: `async with php.group() as group: handle = await group.submit(job)`.

        Args:
            limit: most of its jobs that are outstanding at a time; None for the queue's limit only.
            on_error: "cancel" behaves like a task group; "collect" never raises for a job.
        """
        if on_error not in ("cancel", "collect"):
            raise ConfigurationError(f'on_error must be "cancel" or "collect", not {on_error!r}')
        check_limit(limit)
        scheduler, unretrieved = self._opening.require(), self._opening.unretrieved
        assert unretrieved is not None

        async def submit(job: Job) -> JobHandle:
            return await self._submit(job, None)

        return JobGroup(submit, unretrieved.add, scheduler.backend, limit, on_error)

    async def submit(self, job: Job[Tag]) -> JobHandle[Tag]:
        """Queue a job and return its handle. Await it now, later or never: the job belongs to the dispatcher.

        Waits while the queue is full. An error that is never retrieved is logged and passed to `on_job_error`.

        Raises:
            InvalidJob: the job can never be sent.
            QueueFull: the queue is full, and `overflow` is "reject".
            DispatcherClosed: the dispatcher is closed.

        Cancelling submits nothing.
        """
        await anyio.lowlevel.checkpoint()
        unretrieved = self._opening.unretrieved
        return await self._submit(job, None if unretrieved is None else unretrieved.add)

    def slot(self, *, priority: int = 0, queue_timeout: Timeout = UNSET) -> HeldSlot:
        """Take a worker before its job is known: `async with php.slot() as slot: await slot.run(job)`.

        Entering waits in the queue like a job. From then on the worker is reserved, and nothing is written to it: so a
        program that takes jobs from elsewhere can take one only when it can start at once. Leaving without a job gives
        the worker back.

        Args:
            priority: higher comes first, also before slots and jobs that came earlier; 0 means the view's own.
            queue_timeout: seconds to wait for a worker; overrides the dispatcher's.

        Raises:
            ConfigurationError: the priority is not a whole number, or the deadline is not a number of seconds.
            DispatcherClosed: the dispatcher is closed.
        """
        if not is_whole(priority):
            raise ConfigurationError(f"slot(priority) must be a whole number, not {priority!r}")
        self._opening.require()
        seconds = check_seconds("queue_timeout", self._timeouts.queue if queue_timeout is UNSET else queue_timeout)
        wanted = priority or self._priority
        return HeldSlot(lambda: self._reserve(wanted, seconds), self._start_held, self._stream)

    def room(self, *, priority: int = 0) -> int:
        """Return how many jobs would start at once if they were submitted now.

        It is 0 while a job of the same or a higher priority waits, and while the dispatcher is paused. Workers whose
        endpoint cannot be reached count. Another caller may take them in the next moment; `slot()` reserves one.

        Args:
            priority: priority of those jobs; it decides about slots that `Endpoint.kept` keeps. 0 means the view's own.

        Raises:
            DispatcherClosed: the dispatcher is closed.
        """
        return self._opening.require().room.room(priority or self._priority)

    async def wait_room(self, n: int, *, priority: int = 0) -> None:
        """Wait until `room()` is at least `n`.

        Args:
            n: number of jobs.
            priority: as for `room()`.

        Raises:
            ConfigurationError: there is never that much room: the share, less the slots kept for higher priorities, is
                smaller.
            DispatcherClosed: the dispatcher is, or was meanwhile, closed.
        """
        await anyio.lowlevel.checkpoint()
        wanted = priority or self._priority
        most = sum(pool.peer.ledger.most(wanted) for pool in self._opening.require().pools)
        if not is_whole(n) or n > most:
            raise ConfigurationError(
                f"wait_room(n) must be a whole number, at most {most} for a job of priority {wanted}; not {n!r}"
            )
        while (scheduler := self._opening.require()).room.room(wanted) < n:
            await scheduler.room.wait(n, wanted)

    def _for_gateway(self) -> tuple[Backend, int]:
        """Return the event loop, and how many requests may be queued; raise DispatcherClosed if it is closed."""
        scheduler = self._opening.require()
        return scheduler.backend, scheduler.queue.bound

    def _relay(self, request: RawRequest, output: RelayOutput, priority: int) -> Relay:
        """Queue another client's request, for the gateway; raises QueueFull and DispatcherClosed."""
        opening = self._opening
        scheduler = opening.scheduler
        if scheduler is None or opening.state is not OPEN:
            raise opening.refusal(None)
        if scheduler.queue.full:
            self._require_room(scheduler, None)
        followed = None
        if opening.observers:
            terms = self._terms or self._set_terms(scheduler)
            request, followed = watch(request, output, opening.observers, terms, opening.limits)
            output = followed
        relay = Relay(request, scheduler.relay_terms, self._timeouts, output, priority or self._priority)
        if followed is not None:
            relay.on_over = followed.over
        scheduler.relay(relay)
        return relay

    # shared by the methods above

    def _starter(self) -> Starter:
        if not self._opening.observers:
            return partial(self._start, may_reject=False)
        # jobs start later, in any task
        context = copy_context()
        return lambda job, on_done: self._start(job, on_done, may_reject=False, context=context)

    def _start(
        self,
        job: Job,
        on_done: Callable[[Execution], None],
        *,
        stream: StreamingSink | None = None,
        timeout: Timeout = UNSET,
        may_reject: bool = True,
        context: Context | None = None,
        held: Reservation | None = None,
    ) -> Execution:
        opening = self._opening
        scheduler = opening.scheduler
        if scheduler is None or opening.state is not OPEN:
            raise opening.refusal(job)
        if not isinstance(job, Job):
            raise not_a_job(job)
        terms = self._terms or self._set_terms(scheduler)
        if not job.plain or job.script not in terms.known:
            self._check(terms, job)
        if may_reject and opening.overflow == "reject":
            self._require_room(scheduler, job)
        timeouts = self._timeouts
        if timeout is not UNSET or job.timed:
            timeouts = self._timeouts_of(job, timeout)
        if timeouts.total == 0:
            raise QueueTimeout("the job's deadline had passed before it was queued", job=job)
        extra = NO_PARAMS
        if opening.observers:
            observed = observe(terms, opening.observers, job, context)
            on_done, extra = observed.before(on_done), observed.params
        priority = job.priority or self._priority if held is None else held.priority
        execution = Execution(job, terms, timeouts, on_done, priority, stream, extra)
        if held is None:
            scheduler.submit(execution, follows=not may_reject)
        else:
            scheduler.begin_held(execution, held)
        return execution

    def _check(self, terms: Terms[Execution], job: Job) -> None:
        try:
            terms.check(job)
        except InvalidJob as error:
            error.job = job
            raise

    def _backend_for(self, job: Job) -> Backend:
        return self._opening.require(job).backend

    def _set_terms(self, scheduler: Scheduler) -> Terms[Execution]:
        self._terms = terms = self._terms_at(scheduler)
        return terms

    def _start_held(
        self,
        job: Job,
        on_done: Callable[[Execution], None],
        stream: StreamingSink | None,
        timeout: Timeout,
        held: Reservation,
    ) -> Execution:
        self._opening.require(job)
        return self._start(job, on_done, stream=stream, timeout=timeout, may_reject=False, held=held)

    def _stream(self, job: Job, begin: Callable[[StreamingSink], Execution]) -> StreamManager:
        def start() -> tuple[Execution, StreamingSink]:
            sink = StreamingSink(self._opening.limits.head, self._opening.require(job).backend.waiter)
            execution = begin(sink)
            sink.attach(execution)
            if job.success_mark is not None:
                sink.end = BodyEnd(job.success_mark)
            return execution, sink

        return StreamManager(start)

    def _reserve(self, priority: int, seconds: float | None) -> Reservation:
        scheduler = self._opening.require()
        if self._opening.overflow == "reject":
            self._require_room(scheduler, None)
        return scheduler.reserve(priority, seconds)

    def _require_room(self, scheduler: Scheduler, job: Job | None) -> None:
        if scheduler.queue.full:
            scheduler.tally.rejected += 1
            raise QueueFull(
                f"the queue is full: {scheduler.queue.size} jobs wait for a worker; try later, or raise max_queued",
                job=job,
            )

    async def _submit(self, job: Job[Tag], on_unretrieved: Callable[[FastCGIError], None] | None) -> JobHandle[Tag]:
        backend = self._opening.require(job).backend
        handle = JobHandle(job, backend, on_unretrieved)
        execution = self._start(job, handle._settle)
        handle._begun(execution)
        if execution.outside and not execution.done:
            await handle._wait_inside(execution)
        return handle

    def _timeouts_of(self, job: Job, timeout: Timeout) -> Timeouts:
        if timeout is not UNSET:
            check_seconds("timeout", timeout)
        defaults = self._timeouts
        return Timeouts(
            _first(timeout, job.timeout, defaults.total),
            _first(job.queue_timeout, UNSET, defaults.queue),
            _first(job.run_timeout, UNSET, defaults.run),
        )

    def _window(self) -> int:
        # enough to keep every worker busy, and to have the next job ready for each
        return 2 * sum(endpoint.share for endpoint in self._opening.endpoints) + 2


def _nothing(execution: Execution) -> None:
    """Do nothing: the sink tells the reader of a stream about its end."""


def _first(first: Timeout, second: Timeout, default: float | None) -> float | None:
    for value in (first, second):
        if value is not UNSET:
            return value
    return default
