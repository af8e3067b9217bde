"""The public entry point: run PHP jobs and await their responses."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping
from os import PathLike
from types import TracebackType
from typing import Literal

import anyio
import anyio.lowlevel

from fcgi_async.dispatch.endpoints import Endpoints, parse_endpoints
from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.intake import Intake
from fcgi_async.dispatch.observer import Observer
from fcgi_async.dispatch.opening import Opening, State, check_seconds
from fcgi_async.dispatch.request import Defaults, RequestEncoder
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.statistics import Statistics, gather
from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.unretrieved import UnretrievedErrors
from fcgi_async.dispatch.view import NO_DEFAULTS, View, view_of
from fcgi_async.errors import ConfigurationError, DispatcherClosed, FastCGIError, QueueTimeout
from fcgi_async.fpm.status import PoolStatus
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.settings import UNSET, Limits, Timeout, Timeouts
from fcgi_async.net.address import Address
from fcgi_async.net.backend import Backend
from fcgi_async.net.current import current_backend
from fcgi_async.pool.discovery import discover
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.silence import what_silence_means

__all__ = ("Dispatcher",)

logger = logging.getLogger("fcgi_async.dispatch")


class Dispatcher(Intake):
    """Runs PHP jobs on PHP-FPM, on no more workers at once than its share; further jobs wait in its queue.

    Enter it with `async with`. On asyncio it may be entered and left in different tasks of one loop, as fixtures do;
    on trio both happen in one task. It can be entered only once. Use it only in the event loop that it was entered in:
    in another loop, another thread or a forked child, every method except `statistics()` raises ConfigurationError.

    Args:
        endpoints: the FPM pool's address, an `Endpoint`, or a sequence of these: a job goes to the least loaded one.
        max_children: `pm.max_children` of the pool; shorthand for a single endpoint.
        reserve: workers left to other clients of the pool; shorthand for a single endpoint.
        max_queued: how many jobs may wait for a worker, at least 1.
        overflow: what happens to one more: "wait" for room, or "reject" it with QueueFull.
        timeouts: deadlines for jobs that set none.
        limits: how much a peer may send.
        retry: which jobs are sent again, and how often.
        shutdown_timeout: how many seconds leaving waits for the jobs; None for no limit.
        on_job_error: called, in the event loop, with the error of a submitted job whose result was never retrieved.
        call_script: the script, on FPM's side, that serves `call()`: absolute, or relative to the root.

    Raises:
        ConfigurationError: an argument is out of its range.
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
        call_script: str | PathLike[str] | None = None,
    ) -> None:
        found = parse_endpoints(endpoints, max_children, reserve)
        _check_settings(timeouts, limits, retry, on_job_error)
        if not is_whole(max_queued):
            raise ConfigurationError(f"max_queued must be a whole number of jobs, not {max_queued!r}")
        if max_queued < 1:
            raise ConfigurationError(f"max_queued must be at least 1, not {max_queued}")
        if overflow not in ("wait", "reject"):
            raise ConfigurationError(f'overflow must be "wait" or "reject", not {overflow!r}')
        check_seconds("shutdown_timeout", shutdown_timeout)
        super().__init__(Opening(found, limits, overflow, call_script), timeouts)
        self._max_queued = max_queued
        self._retry = retry
        self._shutdown_timeout = shutdown_timeout
        self._on_job_error = on_job_error
        self._backend: Backend | None = None

    # life

    async def __aenter__(self) -> Dispatcher:
        """Start; the first job opens the first connection.

        If an endpoint has a status page and no `max_children`, the page is asked for it.

        Raises:
            ConfigurationError: the number of workers is not known, or the dispatcher was entered before.
            StatusUnavailable: the status page that should report the number did not answer.

        After a cancellation it can be entered again.
        """
        opening = self._opening
        if opening.state is not State.NEW:
            raise ConfigurationError("a Dispatcher can be entered only once; make a new one for each `async with`")
        opening.state = State.OPENING
        try:
            await anyio.lowlevel.checkpoint()
            opening.endpoints = tuple([await discover(endpoint) for endpoint in opening.endpoints])
        finally:
            opening.state = State.NEW
        backend = current_backend()
        opening.scheduler = Scheduler(opening.endpoints, backend, opening.limits, self._retry, self._max_queued)
        self._set_terms(opening.scheduler)
        await backend.open()
        self._backend = backend
        opening.unretrieved = UnretrievedErrors(backend, self._on_job_error)
        self._closed = anyio.Event()
        opening.state = State.OPEN
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the jobs within `shutdown_timeout`; after an exception or a cancellation, end them now."""
        await self.aclose(timeout=self._shutdown_timeout if kind is None else 0)

    async def aclose(self, *, timeout: Timeout = UNSET) -> None:
        """Refuse new jobs, finish the accepted ones, and close.

        Args:
            timeout: seconds to wait for jobs; 0 ends them now, None waits without a limit. The default is
                `shutdown_timeout`.

        If it is already closing, wait for that; give its jobs at most `timeout` seconds.

        Raises:
            ConfigurationError: this is not the event loop (on trio: the task) that it was entered in.

        Cancelling ends the jobs now, and the dispatcher is closed all the same, even if it is cancelled again. Queued
        jobs then fail with DispatcherClosed; running jobs have their connection closed.
        """
        seconds = check_seconds("timeout", self._shutdown_timeout if timeout is UNSET else timeout)
        scheduler, backend = self._scheduler, self._backend
        if scheduler is None or backend is None or self._opening.state is State.CLOSED:
            await anyio.lowlevel.checkpoint()
            return
        backend.check_here()
        if self._opening.state is State.CLOSING:
            await self._hasten(scheduler, seconds)
            return
        backend.check_owner()
        self._opening.state = State.CLOSING
        scheduler.end_reservations(_closing)
        try:
            if seconds != 0:
                await self._finish(scheduler, seconds)
        finally:
            if not scheduler.idle:
                logger.warning("closing with %s", scheduler.describe_outstanding())
            await self._end(scheduler, backend)

    async def _end(self, scheduler: Scheduler, backend: Backend) -> None:
        """Close everything, even if it is cancelled meanwhile."""
        unretrieved = self._opening.unretrieved
        assert unretrieved is not None
        # report thousands of abandoned jobs together
        unretrieved.held = True
        try:
            await backend.outlast(scheduler.close)
        finally:
            self._opening.state = State.CLOSED
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

    def view(
        self,
        *,
        root: str | PathLike[str] | None = None,
        params: Mapping[str, str] = NO_DEFAULTS,
        headers: RequestHeaders = NO_DEFAULTS,
        priority: int = 0,
        timeouts: Timeouts | None = None,
        idempotent: bool | None = None,
        name: str | None = None,
    ) -> View:
        """Return this dispatcher with the defaults of one application: it has the same queue, slots and statistics.

        A job's own settings override the view's, and the view's override the endpoint's. A view of a view has the
        defaults of both; the new view's override the older one's. A view can be made before the dispatcher is entered,
        and is closed with it.

        Args:
            root: a folder on FPM's side; replaces `Endpoint.root`, and follows the same rules.
            params: FastCGI parameters sent with every job; encoded once, not for each job.
            headers: request headers sent with every job, a mapping or a sequence of pairs; encoded once too.
            priority: priority of slots, and of jobs whose own is 0; submit a job that must have 0 to the dispatcher
                itself.
            timeouts: deadlines for jobs that set none; replace all of the dispatcher's.
            idempotent: whether running any of its jobs twice does no harm; a job cannot override that.
            name: the view's name in telemetry: the label `route` of its jobs.

        Raises:
            ConfigurationError: an argument is out of its range, or a parameter would be refused for an endpoint too.
        """
        timeouts = self._timeouts if timeouts is None else timeouts
        defaults = (Defaults(root, params, headers),)
        return view_of(self._opening, timeouts, priority, defaults, False if idempotent is None else idempotent, name)

    def pause(self) -> None:
        """Start no more jobs; running jobs continue, new ones are queued."""
        self._opening.require().pause()

    def resume(self) -> None:
        """Start jobs again."""
        self._opening.require().resume()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until no job is queued or running.

        Args:
            timeout: most seconds to wait.

        Raises:
            TimeoutError: there are still jobs.
        """
        scheduler = self._opening.require()
        with anyio.fail_after(check_seconds("timeout", timeout)):
            if scheduler.idle:
                await scheduler.backend.checkpoint()
            await scheduler.join()

    def statistics(self) -> Statistics:
        """Return the current gauges and the counters since entering; cheap, and may be called in any thread."""
        if self._scheduler is None:
            raise self._opening.refusal(None)
        return gather(self._scheduler)

    @property
    def closed(self) -> bool:
        """Whether the dispatcher was entered and left, and takes no more jobs."""
        return self._opening.state is State.CLOSED

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The FPM pools; after entering, they have the `max_children` that a peer reported."""
        return self._opening.endpoints

    def observe(self, observer: Observer) -> None:
        """Call an observer for every job that is submitted from now on; telemetry is built on this.

        Args:
            observer: the observer; those added before are called too.
        """
        self._opening.observers = (*self._opening.observers, observer)

    async def ping(self, timeout: float = 5.0) -> float:
        """Return the seconds until a worker answered GET_VALUES.

        A ping goes ahead of all jobs, and stays within the share.

        Args:
            timeout: most seconds to wait.

        Raises:
            QueueTimeout: no worker answered in time.
            ConnectError: no endpoint can be reached.
        """
        scheduler = self._opening.require()
        started = scheduler.backend.now()
        with anyio.move_on_after(check_seconds("timeout", timeout)) as scope:
            await scheduler.pings.wait()
        if scope.cancelled_caught:
            answered = all(pool.peer.reachability.ever_answered for pool in scheduler.pools)
            raise QueueTimeout(
                f"no worker answered a ping within {timeout} s: {what_silence_means(answered=answered)}",
                endpoint=str(self._opening.endpoints[0].address),
            )
        return scheduler.backend.now() - started

    async def status(self, timeout: float = 5.0, *, endpoint: str | Endpoint | None = None) -> PoolStatus:
        """Return FPM's status page of a pool, with each of its workers.

        With `pm.status_listen`, the page answers even while every worker is busy. Slots of abandoned scripts that have
        ended are released, and a WARNING is logged if other clients use more workers than are reserved for them.

        Args:
            timeout: most seconds to wait.
            endpoint: the pool, or its address; not needed if there is only one.

        Raises:
            StatusUnavailable: there is no page, or it did not answer in time; the error tells what to configure.
            ConfigurationError: the endpoint is not one of the dispatcher's.

        Cancelling closes the page's connection; jobs are not affected.
        """
        scheduler = self._opening.require()
        seconds = check_seconds("timeout", timeout)
        pools = scheduler.pools
        if endpoint is not None:
            address = endpoint.address if isinstance(endpoint, Endpoint) else Address.parse(endpoint)
            pools = tuple(pool for pool in pools if pool.peer.endpoint.address == address)
        if len(pools) != 1:
            known = ", ".join(pool.peer.name for pool in scheduler.pools)
            raise ConfigurationError(
                f"status(endpoint={str(endpoint)!r}) names none of this dispatcher; give one of {known}"
            )
        return await pools[0].monitor.fetch(math.inf if seconds is None else seconds)

    def _terms_at(self, scheduler: Scheduler) -> Terms[Execution]:
        return scheduler.terms(RequestEncoder, self._timeouts)

    def __repr__(self) -> str:
        addresses = ", ".join(str(endpoint.address) for endpoint in self._opening.endpoints)
        return f"<Dispatcher {addresses}: {self._opening.state.name.lower()}>"


def _closing() -> DispatcherClosed:
    return DispatcherClosed("the dispatcher is closing, and gives no worker to a job that is not submitted yet")


def _check_settings(timeouts: object, limits: object, retry: object, on_job_error: object) -> None:
    for name, value, kind in (("timeouts", timeouts, Timeouts), ("limits", limits, Limits), ("retry", retry, Retry)):
        if not isinstance(value, kind):
            raise ConfigurationError(f"{name} must be a {kind.__name__}(...), not {value!r}")
    if on_job_error is not None and not callable(on_job_error):
        raise ConfigurationError(f"on_job_error must be a function that takes the error, not {on_job_error!r}")
