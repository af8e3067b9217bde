"""The ways to hand in jobs, which a dispatcher and its views share."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Literal, cast, overload

import anyio
import anyio.lowlevel

from fcgi_async.dispatch.execution import NO_PARAMS, Execution, Terms
from fcgi_async.dispatch.fan_out import Jobs, RunAll, Starter
from fcgi_async.dispatch.group import JobGroup
from fcgi_async.dispatch.handle import JobHandle
from fcgi_async.dispatch.held_slot import HeldSlot
from fcgi_async.dispatch.observer import observe
from fcgi_async.dispatch.opening import OPEN, Opening, check_seconds
from fcgi_async.dispatch.outcomes import OutcomeStream, check_limit
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.stream import StreamManager
from fcgi_async.dispatch.waiting import response_to
from fcgi_async.errors import ConfigurationError, FastCGIError, InvalidJob, QueueFull, QueueTimeout
from fcgi_async.job.job import Job
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout, Timeouts
from fcgi_async.job.success_mark import BodyEnd
from fcgi_async.job.tag import Tag
from fcgi_async.pool.sink import StreamingSink

__all__ = ("Intake",)


class Intake:
    """Takes jobs, with defaults for those that do not say themselves how they are to be run.

    Args:
        opening: whether there is a dispatcher that runs them; shared by all that hand in jobs to it.
        timeouts: deadlines for jobs that bring none.
        priority: of jobs that have none, which is 0.
    """

    def __init__(self, opening: Opening, timeouts: Timeouts, priority: int = 0) -> None:
        self._opening = opening
        self._timeouts = timeouts
        self._priority = priority
        self._terms: Terms | None = None

    @property
    def _scheduler(self) -> Scheduler | None:
        return self._opening.scheduler

    @abstractmethod
    def _terms_at(self, scheduler: Scheduler) -> Terms:
        """Return on which terms jobs are run that are handed in here."""

    async def run(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> Response[Tag]:
        """Run one job and return what PHP answered, whatever the status.

        Args:
            job: what to run.
            timeout: seconds from now to the response; overrides the job's and the dispatcher's.

        Raises:
            InvalidJob: it can never be sent.
            QueueFull: the queue is full, and the dispatcher rejects.
            QueueTimeout: the deadline passed before a worker took it.
            JobTimeout: the deadline passed after that.
            ConnectError: no endpoint can be reached.
            ConnectionLost: the connection ended before the response did.
            RemoteProtocolError: the answer was no FastCGI, or no CGI response.
            ResponseTooLarge: it is longer than `Limits` allow.
            DispatcherClosed: the dispatcher is, or was meanwhile, closed.

        Cancelling takes a queued job out of the queue; it never runs. A job that runs is left to its end, its output
        thrown away, within the endpoint's `drain_timeout` and `drain_bytes`, and its worker counted as taken;
        `on_cancel="close"` refuses its output instead, of which a script that writes dies.
        """
        return await response_to(
            job,
            lambda: self._opening.require(job).backend,
            lambda on_done: self._start(job, on_done, timeout=timeout),
        )

    def stream(self, job: Job, *, timeout: Timeout = UNSET) -> StreamManager:
        """Run one job and read its response while PHP writes it: `async with php.stream(job) as response:`.

        Entering waits for the response's head, and raises what `run()` does. Leaving before the end throws away what
        comes within 20 ms and then refuses the rest, of which a script that writes dies.
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
            jobs: an iterable or async iterable; it is read as workers become free, and not in one go.
            return_exceptions: whether an error stands in its job's place.

        Raises:
            FastCGIError: without `return_exceptions` the error that happened first, once the other jobs are cancelled.
            Exception: whatever `jobs` raised.

        `jobs` is read by the task that calls this, with its context variables. Cancelling cancels the jobs that run;
        those not begun never run.
        """
        scheduler = self._opening.require()
        fan = RunAll(self._starter(), scheduler.backend, self._window(), return_exceptions)
        return cast("list[Response[Tag] | FastCGIError]", await fan.run(jobs))

    def map(self, jobs: Jobs[Tag], *, ordered: bool = True, limit: int | None = None) -> OutcomeStream[Tag]:
        """Run jobs and iterate over their outcomes as they come.

            async with php.map(jobs) as outcomes:
                async for outcome in outcomes: ...

        Args:
            jobs: an iterable or async iterable, endless if you like; it is read as outcomes are.
            ordered: whether outcomes come in the order of the jobs, or as they are there.
            limit: how many jobs are handed in and not yet read, whatever has become of them. Unless given, twice the
                share and two, and beside them outcomes that came before their turn, up to 1,000 of them or 16 MiB of
                content: so a slow job does not hold up the workers.

        Leaving the block cancels what was not read. A failed job is an outcome, never an exception. Once the dispatcher
        takes no more jobs the outcomes of those that were read come, and then DispatcherClosed is raised.

        Raises:
            ConfigurationError: `limit` is less than 1.
            DispatcherClosed: the dispatcher is closed.
        """
        scheduler = self._opening.require()
        return OutcomeStream(self._starter(), scheduler.backend, jobs, ordered, self._window(), limit)

    def group(self, *, limit: int | None = None, on_error: Literal["cancel", "collect"] = "cancel") -> JobGroup:
        """Return a group of jobs: `async with php.group() as group: handle = await group.submit(job)`.

        Args:
            limit: how many of its jobs are outstanding at most; None for no limit but the queue's.
            on_error: "cancel" behaves as a task group does; "collect" never raises for a job.
        """
        if on_error not in ("cancel", "collect"):
            raise ConfigurationError(f'on_error={on_error!r} is neither "cancel" nor "collect"')
        check_limit(limit)
        scheduler, unretrieved = self._opening.require(), self._opening.unretrieved
        assert unretrieved is not None

        async def submit(job: Job) -> JobHandle:
            return await self._submit(job, None)

        return JobGroup(submit, unretrieved.add, scheduler.backend, limit, on_error)

    async def submit(self, job: Job[Tag]) -> JobHandle[Tag]:
        """Hand a job in and return its handle, to be awaited later or not at all: the job belongs to the dispatcher.

        Waits while the queue is full. An error that nobody retrieves is logged, and given to `on_job_error`.

        Raises:
            InvalidJob: the job can never be sent.
            QueueFull: the queue is full, and the dispatcher rejects.
            DispatcherClosed: the dispatcher is closed.

        Cancelling hands nothing in.
        """
        await anyio.lowlevel.checkpoint()
        unretrieved = self._opening.unretrieved
        return await self._submit(job, None if unretrieved is None else unretrieved.add)

    def slot(self, *, priority: int = 0, queue_timeout: Timeout = UNSET) -> HeldSlot:
        """Take a worker before its job is known: `async with php.slot() as slot: await slot.run(job)`.

        Entering waits in the queue as a job does. The worker is ours from then on, and nothing has been written to it:
        whoever takes a job from somewhere else takes it when it can begin at once. Leaving unused gives it back.

        Args:
            priority: higher comes first, before the slots and jobs that came earlier; 0 is a view's own.
            queue_timeout: seconds to wait for a worker; overrides the dispatcher's.

        Raises:
            ConfigurationError: the priority is no whole number, or the deadline no number of seconds.
            DispatcherClosed: the dispatcher is closed.
        """
        if not is_whole(priority):
            raise ConfigurationError(f"slot(priority={priority!r}) is not a whole number")
        self._opening.require()
        seconds = check_seconds("queue_timeout", self._timeouts.queue if queue_timeout is UNSET else queue_timeout)
        wanted = priority or self._priority
        return HeldSlot(lambda: self._reserve(wanted, seconds), self._start_held, self._stream)

    def room(self, *, priority: int = 0) -> int:
        """Return how many jobs would get a worker at once if they were handed in now.

        0 while a job of the same or a higher priority waits, and while the dispatcher is paused. Workers whose endpoint
        cannot be reached count. Somebody else may take them in the next moment; `slot()` keeps one.

        Args:
            priority: of those jobs, which decides about slots that `Endpoint.kept` keeps; 0 is a view's own.

        Raises:
            DispatcherClosed: the dispatcher is closed.
        """
        return self._opening.require().room.room(priority or self._priority)

    async def wait_room(self, n: int, *, priority: int = 0) -> None:
        """Wait until `room()` is at least `n`.

        Args:
            n: for how many jobs.
            priority: as for `room()`.

        Raises:
            ConfigurationError: there never is so much room: the share, less what is kept for others, is smaller.
            DispatcherClosed: the dispatcher is, or was meanwhile, closed.
        """
        await anyio.lowlevel.checkpoint()
        wanted = priority or self._priority
        most = sum(pool.peer.ledger.most(wanted) for pool in self._opening.require().pools)
        if not is_whole(n) or n > most:
            raise ConfigurationError(
                f"wait_room({n!r}): a job of priority {wanted} never finds room for more than {most}"
            )
        while (scheduler := self._opening.require()).room.room(wanted) < n:
            await scheduler.room.wait(n, wanted)

    # what these share

    def _starter(self) -> Starter:
        if not self._opening.observers:
            return partial(self._start, may_reject=False)
        # jobs are begun later, and by whoever happens to run then
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
            raise InvalidJob(f"a job is a Job, not {type(job).__name__}")
        terms = self._terms or self._set_terms(scheduler)
        try:
            terms.check(job)
        except InvalidJob as error:
            error.job = job
            raise
        if may_reject and opening.overflow == "reject":
            self._require_room(scheduler, job)
        timeouts = self._timeouts_of(job, timeout)
        if timeouts.total == 0:
            raise QueueTimeout("the job's deadline had passed before it was queued", job=job)
        priority = job.priority or self._priority if held is None else held.priority
        extra = NO_PARAMS
        if opening.observers:
            observed = observe(terms, opening.observers, job, context)
            on_done, extra = observed.before(on_done), observed.params
        execution = Execution(job, terms, stream, timeouts, on_done, priority, extra)
        if held is None:
            execution.outside = not scheduler.submit(execution, follows=not may_reject)
        else:
            scheduler.begin_held(execution, held)
        return execution

    def _set_terms(self, scheduler: Scheduler) -> Terms:
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
            raise QueueFull(f"{scheduler.queue.size} jobs wait for a worker already; try again later", job=job)

    async def _submit(self, job: Job[Tag], on_unretrieved: Callable[[FastCGIError], None] | None) -> JobHandle[Tag]:
        backend = self._opening.require(job).backend
        handle = JobHandle(job, backend, on_unretrieved)
        execution = self._start(job, handle._settle)
        handle._begun(execution)
        if execution.outside and not execution.done:
            await handle._wait_inside(execution)
        return handle

    def _timeouts_of(self, job: Job, timeout: Timeout) -> Timeouts:
        if timeout is UNSET and job.timeout is UNSET and job.queue_timeout is UNSET and job.run_timeout is UNSET:
            return self._timeouts
        if timeout is not UNSET:
            check_seconds("timeout", timeout)
        defaults = self._timeouts
        return Timeouts(
            _first(timeout, job.timeout, defaults.total),
            _first(job.queue_timeout, UNSET, defaults.queue),
            _first(job.run_timeout, UNSET, defaults.run),
        )

    def _window(self) -> int:
        # enough to keep every worker busy, and the next job at hand for each
        return 2 * sum(endpoint.share for endpoint in self._opening.endpoints) + 2


def _nothing(execution: Execution) -> None:
    """The reader of a stream learns of its end from the sink."""


def _first(first: Timeout, second: Timeout, default: float | None) -> float | None:
    for value in (first, second):
        if value is not UNSET:
            return value
    return default
