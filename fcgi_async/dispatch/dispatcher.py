"""Dispatcher: PHP jobs, awaited."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from contextvars import Context, copy_context
from enum import StrEnum
from types import TracebackType
from typing import Literal, cast, overload

import anyio
import anyio.lowlevel

from fcgi_async.dispatch.endpoints import Endpoints, parse_endpoints
from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.fan_out import Jobs, RunAll, Starter
from fcgi_async.dispatch.group import JobGroup
from fcgi_async.dispatch.handle import JobHandle
from fcgi_async.dispatch.job import Job
from fcgi_async.dispatch.observer import Observer, observe
from fcgi_async.dispatch.outcomes import OutcomeStream, check_limit
from fcgi_async.dispatch.response import Response
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.settings import UNSET, Limits, Timeout, Timeouts, check_timeout
from fcgi_async.dispatch.sink import CollectingSink, Sink, StreamingSink
from fcgi_async.dispatch.statistics import Statistics, gather
from fcgi_async.dispatch.stream import StreamManager
from fcgi_async.dispatch.success_mark import BodyEnd
from fcgi_async.dispatch.tag import Tag
from fcgi_async.dispatch.unretrieved import UnretrievedErrors
from fcgi_async.errors import (
    ConfigurationError,
    DispatcherClosed,
    FastCGIError,
    InvalidJob,
    QueueFull,
    QueueTimeout,
)
from fcgi_async.fpm.status import PoolStatus
from fcgi_async.net.address import Address
from fcgi_async.net.backend import Backend
from fcgi_async.net.current import current_backend
from fcgi_async.pool.discovery import discover
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.numbers import is_whole
from fcgi_async.pool.silence import what_silence_means

__all__ = ("Dispatcher",)

logger = logging.getLogger("fcgi_async.dispatch")


class _State(StrEnum):
    NEW = "not entered yet; use `async with Dispatcher(...) as php:`"
    OPENING = "being entered"
    OPEN = "open"
    CLOSING = "closing and takes no more jobs"
    CLOSED = "closed"


# a plain name: on Python 3.11 looking up a member of an enum costs more than what is done with it
_OPEN = _State.OPEN


class Dispatcher:
    """Runs PHP jobs on PHP-FPM, never more at once than its share of the workers; the others wait in its queue.

    Enter it with `async with`. On asyncio it may be entered and left in different tasks of one loop, as fixtures do;
    on trio both happen in one task. It cannot be entered a second time. It is used in the event loop that it was
    entered in, and nowhere else: another loop, another thread, or a child forked off gets ConfigurationError, from
    every method but `statistics()`.

    Args:
        endpoints: the FPM pool's address, an `Endpoint`, or a sequence of those: a job goes to the least loaded.
        max_children: `pm.max_children` of the pool; a shortcut where there is one endpoint.
        reserve: workers left to everybody else; a shortcut where there is one endpoint.
        max_queued: how many jobs may wait for a worker.
        overflow: what happens to one more: "wait" for room, or "reject" it with QueueFull.
        timeouts: deadlines for jobs that bring none.
        limits: how much a peer may send.
        retry: what is tried again.
        shutdown_timeout: seconds that leaving waits for the jobs it has; None for as long as they take.
        on_job_error: called, in the event loop, with the error of a submitted job that nobody retrieved.

    Raises:
        ConfigurationError: what is asked for cannot work.
    """

    def __init__(
        self,
        endpoints: Endpoints,
        *,
        max_children: int | None = None,
        reserve: int = 0,
        max_queued: int = 10_000,
        overflow: Literal["wait", "reject"] = "wait",
        timeouts: Timeouts = Timeouts(),  # noqa: B008 - frozen
        limits: Limits = Limits(),  # noqa: B008 - frozen
        retry: Retry = Retry(),  # noqa: B008 - frozen
        shutdown_timeout: float | None = None,
        on_job_error: Callable[[FastCGIError], None] | None = None,
    ) -> None:
        self._endpoints = parse_endpoints(endpoints, max_children, reserve)
        _check_settings(timeouts, limits, retry, on_job_error)
        if not is_whole(max_queued):
            raise ConfigurationError(f"max_queued={max_queued!r} is not a whole number of jobs")
        if max_queued < 1:
            raise ConfigurationError(f"max_queued={max_queued}: at least one job must be able to wait")
        if overflow not in ("wait", "reject"):
            raise ConfigurationError(f'overflow={overflow!r} is neither "wait" nor "reject"')
        _check_seconds("shutdown_timeout", shutdown_timeout)
        self._max_queued = max_queued
        self._overflow = overflow
        self._timeouts = timeouts
        self._limits = limits
        self._retry = retry
        self._shutdown_timeout = shutdown_timeout
        self._on_job_error = on_job_error
        self._observers: tuple[Observer, ...] = ()
        self._state = _State.NEW
        self._backend: Backend | None = None
        self._scheduler: Scheduler | None = None
        self._unretrieved: UnretrievedErrors | None = None

    # life

    async def __aenter__(self) -> Dispatcher:
        """Get ready; nothing is connected before there is a job.

        Where an endpoint has a status page and no `max_children`, the page is asked for it.

        Raises:
            ConfigurationError: the number of workers is not known, or it was entered before.
            StatusUnavailable: the status page that should tell it did not answer.

        Cancelling leaves it as it was: it can be entered again.
        """
        if self._state is not _State.NEW:
            raise ConfigurationError("a dispatcher is entered once; make a new one")
        self._state = _State.OPENING
        try:
            await anyio.lowlevel.checkpoint()
            self._endpoints = tuple([await discover(endpoint) for endpoint in self._endpoints])
        finally:
            self._state = _State.NEW
        backend = current_backend()
        self._scheduler = Scheduler(self._endpoints, backend, self._limits, self._retry, self._max_queued)
        await backend.open()
        self._backend = backend
        self._unretrieved = UnretrievedErrors(backend, self._on_job_error)
        self._closed = anyio.Event()
        self._state = _State.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the jobs it has, within `shutdown_timeout`; on an exception or a cancellation end them now."""
        await self.aclose(timeout=self._shutdown_timeout if kind is None else 0)

    async def aclose(self, *, timeout: Timeout = UNSET) -> None:
        """Refuse new jobs, finish those there are, and close.

        Args:
            timeout: seconds to wait for jobs; 0 ends them now, None waits as long as they take, else as
                `shutdown_timeout`.

        Where it is being closed already, wait for that, and no longer than `timeout` for its jobs.

        Raises:
            ConfigurationError: this is not the event loop that it was entered in, or on trio not the task.

        Cancelling ends the jobs now; it is closed all the same, however often that is done. What is not done then gets
        DispatcherClosed where it was queued, and its connection closed where it ran.
        """
        seconds = _check_seconds("timeout", self._shutdown_timeout if timeout is UNSET else timeout)
        scheduler, backend = self._scheduler, self._backend
        if scheduler is None or backend is None or self._state is _State.CLOSED:
            await anyio.lowlevel.checkpoint()
            return
        backend.check_here()
        if self._state is _State.CLOSING:
            await self._hasten(scheduler, seconds)
            return
        backend.check_owner()
        self._state = _State.CLOSING
        try:
            if seconds != 0:
                await self._finish(scheduler, seconds)
        finally:
            if not scheduler.idle:
                logger.warning("closing with %s", scheduler.describe_outstanding())
            await self._end(scheduler, backend)

    async def _end(self, scheduler: Scheduler, backend: Backend) -> None:
        """Close all there is, whatever happens meanwhile."""
        unretrieved = self._unretrieved
        assert unretrieved is not None
        # so that thousands of jobs given up are told of together
        unretrieved.held = True
        try:
            await backend.outlast(scheduler.close)
        finally:
            self._state = _State.CLOSED
            try:
                await backend.aclose()
            finally:
                self._closed.set()
                unretrieved.held = False
                unretrieved.flush()

    async def _hasten(self, scheduler: Scheduler, seconds: float | None) -> None:
        with anyio.move_on_after(seconds):
            await self._closed.wait()
        if not self._closed.is_set():
            await scheduler.close()
            await self._closed.wait()

    async def _finish(self, scheduler: Scheduler, seconds: float | None) -> None:
        scheduler.resume()
        if not scheduler.idle:
            logger.info("closing: waiting for %s", scheduler.describe_outstanding())
        with anyio.move_on_after(seconds):
            await scheduler.join()

    # jobs

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
        try:
            scheduler = self._require_open(job)
            waiter = scheduler.backend.waiter()

            def wake(execution: Execution) -> None:
                if not waiter.done():
                    waiter.set_result(None)

            execution = self._start(job, wake, timeout=timeout)
        except FastCGIError:
            # whoever tries again at once lets the others run
            await anyio.lowlevel.checkpoint()
            raise
        try:
            if execution.done:
                await scheduler.backend.checkpoint()
            await waiter
        except BaseException:
            execution.cancel()
            raise
        return _result(execution, job)

    def stream(self, job: Job, *, timeout: Timeout = UNSET) -> StreamManager:
        """Run one job and read its response while PHP writes it: `async with php.stream(job) as response:`.

        Entering waits for the response's head, and raises what `run()` does. Leaving before the end throws away what
        comes within 20 ms and then refuses the rest, of which a script that writes dies.
        """

        def start() -> tuple[Execution, StreamingSink]:
            sink = StreamingSink(self._limits.head, self._require_open(job).backend.waiter)
            execution = self._start(job, _nothing, sink=sink, timeout=timeout)
            sink.attach(execution)
            if job.success_mark is not None:
                sink.end = BodyEnd(job.success_mark)
            return execution, sink

        return StreamManager(start)

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
        scheduler = self._require_open()
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
        scheduler = self._require_open()
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
        scheduler, unretrieved = self._require_open(), self._unretrieved
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
        unretrieved = self._unretrieved
        return await self._submit(job, None if unretrieved is None else unretrieved.add)

    def pause(self) -> None:
        """Begin no more jobs; those that run go on, new ones are queued."""
        self._require_open().pause()

    def resume(self) -> None:
        """Begin jobs again."""
        self._require_open().resume()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until no job is queued or running.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: there are still jobs.
        """
        scheduler = self._require_open()
        with anyio.fail_after(_check_seconds("timeout", timeout)):
            if scheduler.idle:
                await scheduler.backend.checkpoint()
            await scheduler.join()

    def statistics(self) -> Statistics:
        """Return what is going on and what has gone on; free to call, in any thread."""
        if self._scheduler is None:
            raise DispatcherClosed(f"the dispatcher is {self._state.value}")
        return gather(self._scheduler)

    @property
    def closed(self) -> bool:
        """Whether it was entered and left: there will be no job any more."""
        return self._state is _State.CLOSED

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The FPM pools; once it is entered, with `max_children` where the peer told it."""
        return self._endpoints

    def observe(self, observer: Observer) -> None:
        """Show every job that is handed in from now on to an observer; telemetry stands on this.

        Args:
            observer: sees the jobs beside those that were added before.
        """
        self._observers = (*self._observers, observer)

    async def ping(self, timeout: float = 5.0) -> float:
        """Return the seconds until a worker answered GET_VALUES.

        It goes ahead of all jobs, and takes no more than the share.

        Args:
            timeout: seconds to wait at most.

        Raises:
            QueueTimeout: no worker answered in time.
            ConnectError: no endpoint can be reached.
        """
        scheduler = self._require_open()
        started = scheduler.backend.now()
        with anyio.move_on_after(_check_seconds("timeout", timeout)) as scope:
            await scheduler.probe()
        if scope.cancelled_caught:
            answered = all(pool.reachability.ever_answered for pool in scheduler.pools)
            raise QueueTimeout(
                f"no worker answered a ping within {timeout} s: {what_silence_means(answered=answered)}",
                endpoint=str(self._endpoints[0].address),
            )
        return scheduler.backend.now() - started

    async def status(self, timeout: float = 5.0, *, endpoint: str | Endpoint | None = None) -> PoolStatus:
        """Return what FPM's status page says of a pool now, its workers one by one.

        With `pm.status_listen` it answers also while every worker is busy. Slots of abandoned scripts that have ended
        are given back with it, and a WARNING says where others use more workers than are left to them.

        Args:
            timeout: seconds to wait at most.
            endpoint: the pool, or its address; may be left out where there is one.

        Raises:
            StatusUnavailable: there is no page, or no answer in time; says what to configure.
            ConfigurationError: the endpoint is not one of the dispatcher's.

        Cancelling closes the page's connection; jobs do not notice.
        """
        scheduler = self._require_open()
        seconds = _check_seconds("timeout", timeout)
        pools = scheduler.pools
        if endpoint is not None:
            address = endpoint.address if isinstance(endpoint, Endpoint) else Address.parse(endpoint)
            pools = tuple(pool for pool in pools if pool.endpoint.address == address)
        if len(pools) != 1:
            known = ", ".join(pool.name for pool in scheduler.pools)
            raise ConfigurationError(f"status(endpoint=...): name one of {known}")
        return await pools[0].monitor.fetch(math.inf if seconds is None else seconds)

    def __repr__(self) -> str:
        addresses = ", ".join(str(endpoint.address) for endpoint in self._endpoints)
        return f"<Dispatcher {addresses}: {self._state.name.lower()}>"

    # what these share

    def _require_open(self, job: Job | None = None) -> Scheduler:
        if self._scheduler is None or self._state is not _OPEN:
            raise self._not_open(job)
        self._scheduler.backend.check_here()
        return self._scheduler

    def _not_open(self, job: Job | None) -> DispatcherClosed:
        return DispatcherClosed(f"the dispatcher is {self._state.value}", job=job)

    def _starter(self) -> Starter:
        if not self._observers:
            return self._start_later
        # jobs are begun later, and by whoever happens to run then
        context = copy_context()
        return lambda job, on_done: self._start(job, on_done, may_reject=False, context=context)

    def _start_later(self, job: Job, on_done: Callable[[Execution], None]) -> Execution:
        return self._start(job, on_done, may_reject=False)

    def _start(
        self,
        job: Job,
        on_done: Callable[[Execution], None],
        *,
        sink: Sink | None = None,
        timeout: Timeout = UNSET,
        may_reject: bool = True,
        context: Context | None = None,
    ) -> Execution:
        scheduler = self._scheduler
        if scheduler is None or self._state is not _OPEN:
            raise self._not_open(job)
        if not isinstance(job, Job):
            raise InvalidJob(f"a job is a Job, not {type(job).__name__}")
        try:
            scheduler.check(job)
        except InvalidJob as error:
            error.job = job
            raise
        if may_reject and self._overflow == "reject" and scheduler.queue.full:
            scheduler.rejected += 1
            raise QueueFull(f"{scheduler.queue.size} jobs wait for a worker already; try again later", job=job)
        limits, deadlines = self._limits, self._deadlines(job, timeout)
        if deadlines.total == 0:
            raise QueueTimeout("the job's deadline had passed before it was queued", job=job)
        owner = observe(scheduler, self._observers, job, context) if self._observers else scheduler
        execution = Execution(job, owner, sink or CollectingSink(limits.head, limits.response), deadlines, on_done)
        execution.outside = not scheduler.submit(execution, follows=not may_reject)
        return execution

    async def _submit(self, job: Job[Tag], on_unretrieved: Callable[[FastCGIError], None] | None) -> JobHandle[Tag]:
        backend = self._require_open(job).backend
        handle = JobHandle(job, backend, on_unretrieved)
        execution = self._start(job, handle._settle)
        handle._begun(execution)
        if execution.outside and not execution.done:
            await handle._wait_inside(execution)
        return handle

    def _deadlines(self, job: Job, timeout: Timeout) -> Timeouts:
        if timeout is UNSET and job.timeout is UNSET and job.queue_timeout is UNSET and job.run_timeout is UNSET:
            return self._timeouts
        if timeout is not UNSET:
            _check_seconds("timeout", timeout)
        defaults = self._timeouts
        return Timeouts(
            _first(timeout, job.timeout, defaults.total),
            _first(job.queue_timeout, UNSET, defaults.queue),
            _first(job.run_timeout, UNSET, defaults.run),
        )

    def _window(self) -> int:
        # enough to keep every worker busy, and the next job at hand for each
        return 2 * sum(endpoint.share for endpoint in self._endpoints) + 2


def _nothing(execution: Execution) -> None:
    """The reader of a stream learns of its end from the sink."""


def _result(execution: Execution, job: Job[Tag]) -> Response[Tag]:
    if execution.error is not None:
        raise execution.error
    assert execution.response is not None
    return cast("Response[Tag]", execution.response)


def _first(first: Timeout, second: Timeout, default: float | None) -> float | None:
    for value in (first, second):
        if value is not UNSET:
            return value
    return default


def _check_settings(timeouts: object, limits: object, retry: object, on_job_error: object) -> None:
    for name, value, kind in (("timeouts", timeouts, Timeouts), ("limits", limits, Limits), ("retry", retry, Retry)):
        if not isinstance(value, kind):
            raise ConfigurationError(f"{name}={value!r} is not a {kind.__name__}; write {kind.__name__}(...)")
    if on_job_error is not None and not callable(on_job_error):
        raise ConfigurationError(f"on_job_error={on_job_error!r} is not a function; it is called with the error")


def _check_seconds(name: str, value: Timeout) -> float | None:
    try:
        check_timeout(name, value)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    return None if value is UNSET else value
