"""Run jobs and return their responses: one by one, or many at once without a task for each.

`outcomes.py` has what `map` returns, `handle.py` what `submit` does.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterable, Callable, Iterator
from contextvars import Context, copy_context
from functools import partial
from itertools import islice
from typing import Literal, cast, overload

import anyio
import attrs

from fcgi_async.dispatch.calling import Calling
from fcgi_async.dispatch.execution import NO_PARAMS, Execution
from fcgi_async.dispatch.jobs_given import Jobs, iterate, not_a_job
from fcgi_async.dispatch.observer import observe
from fcgi_async.dispatch.opening import OPEN, Opening, check_seconds
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.waiting import response_to
from fcgi_async.errors import FastCGIError, InvalidJob, QueueFull, QueueTimeout
from fcgi_async.job.closing import close_iterator
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout, Timeouts
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend, Waiter
from fcgi_async.pool.sink import StreamingSink

__all__ = ("RunAll", "Running", "Starter")

# starts a job and returns its execution; raises the error if it is refused
Starter = Callable[[Job, Callable[[Execution], None]], Execution]

# how many jobs are read from the caller's iterable in one turn of the event loop; other tasks have to wait for that
# turn
_TAKEN_AT_ONCE = 250


class Running(Calling):
    """Runs jobs, with defaults for what a job does not set itself.

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
        try:
            if isinstance(jobs, AsyncIterable):
                await fan.feed(jobs)
            else:
                await fan.draw(iterate(jobs))
            return cast("list[Response[Tag] | FastCGIError]", await fan.results())
        finally:
            fan.cancel()

    # shared with the other ways to submit jobs

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

    def _require_room(self, scheduler: Scheduler, job: Job | None) -> None:
        if scheduler.queue.full:
            scheduler.tally.rejected += 1
            raise QueueFull(
                f"the queue is full: {scheduler.queue.size} jobs wait for a worker; try later, or raise max_queued",
                job=job,
            )

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


@attrs.define(eq=False)
class RunAll:
    """Runs jobs, with at most `window` of them outstanding at a time.

    Only the caller's own task reads the caller's iterable, with its context variables; a job that ends only wakes that
    task.

    Args:
        start: starts a job.
        backend: the event loop.
        window: most jobs that are outstanding at a time.
        return_exceptions: whether an error is returned in its job's place, instead of ending everything.
    """

    start: Starter
    backend: Backend
    window: int
    return_exceptions: bool
    _results: list[Response | FastCGIError | None] = attrs.field(factory=list, init=False)
    _outstanding: dict[Execution, int] = attrs.field(factory=dict, init=False)
    # the first is raised, and ends everything
    _failures: list[BaseException] = attrs.field(factory=list, init=False)
    _waiter: Waiter | None = attrs.field(default=None, init=False)
    # wake the task at this number of outstanding jobs, while the iterable has more
    _wake_at: int = attrs.field(default=0, init=False)
    # around reading an async iterable, so that a failed job interrupts it
    _scope: anyio.CancelScope | None = attrs.field(default=None, init=False)

    async def draw(self, source: Iterator[Job]) -> None:
        """Start the jobs of an iterator, reading them as workers become free."""
        results, outstanding = self._results, self._outstanding
        more = True
        while more and not self._failures:
            room = min(self.window - len(outstanding), _TAKEN_AT_ONCE)
            if room <= 0:
                # several at a time, and before a free worker would find no job
                await self._wait(self.window - max(self.window // 4, min(2, self.window - 1)))
                continue
            end = len(results) + room
            try:
                for job in islice(source, room):
                    index = len(results)
                    results.append(None)
                    try:
                        execution = self.start(job, self._done)
                    except FastCGIError as error:
                        self._take(index, error)
                    else:
                        outstanding[execution] = index
                        if execution.done:
                            self._done(execution)
                    if self._failures:
                        break
            except Exception as error:
                # the caller's iterable failed
                self._fail(error)
            more = len(results) == end
            if more and len(outstanding) < self.window:
                await self.backend.checkpoint()

    async def feed(self, jobs: AsyncIterable[Job]) -> None:
        """Start the jobs of an async iterable, reading them as workers become free."""
        source = aiter(jobs)
        try:
            with anyio.CancelScope() as self._scope:
                try:
                    async for job in source:
                        await self.draw(iter((job,)))
                        if self._failures:
                            break
                        if len(self._results) % _TAKEN_AT_ONCE == 0:
                            await self.backend.checkpoint()
                finally:
                    await close_iterator(source)
        except Exception as error:
            # of several errors the first is raised
            self._failures.append(error)
        self._scope = None

    async def results(self) -> list[Response | FastCGIError]:
        """Wait for all jobs, and return the results in their order.

        Raises:
            BaseException: a job or the caller's iterable has failed.
        """
        while self._outstanding and not self._failures:
            await self._wait(0)
        if self._waiter is None:
            await self.backend.checkpoint()
        if self._failures:
            raise self._failures[0]
        results = [result for result in self._results if result is not None]
        assert len(results) == len(self._results), "a job ended without a result"
        return results

    def cancel(self) -> None:
        """Cancel the jobs that have not ended."""
        for execution in tuple(self._outstanding):
            execution.cancel()

    def _done(self, execution: Execution) -> None:
        index = self._outstanding.pop(execution, None)
        if index is None:
            return
        error = execution.error
        if error is None:
            self._results[index] = execution.response
        else:
            self._take(index, error)
        if len(self._outstanding) <= self._wake_at:
            self._wake()

    def _take(self, index: int, error: FastCGIError) -> None:
        self._results[index] = error
        if not self.return_exceptions:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        self._failures.append(error)
        if self._scope is not None:
            self._scope.cancel()
        self._wake()

    async def _wait(self, until: int) -> None:
        """Wait until at most `until` jobs are outstanding, or one has failed."""
        self._wake_at = until
        self._waiter = self.backend.waiter()
        await self._waiter

    def _wake(self) -> None:
        # once
        self._wake_at = -1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


def _first(first: Timeout, second: Timeout, default: float | None) -> float | None:
    for value in (first, second):
        if value is not UNSET:
            return value
    return default
