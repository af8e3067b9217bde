"""Dispatcher: PHP jobs, awaited."""

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
from fcgi_async.dispatch.execution import Terms
from fcgi_async.dispatch.intake import Intake
from fcgi_async.dispatch.observer import Observer
from fcgi_async.dispatch.opening import Opening, State, check_seconds
from fcgi_async.dispatch.request import Defaults, RequestEncoder
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.statistics import Statistics, gather
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
        found = parse_endpoints(endpoints, max_children, reserve)
        _check_settings(timeouts, limits, retry, on_job_error)
        if not is_whole(max_queued):
            raise ConfigurationError(f"max_queued={max_queued!r} is not a whole number of jobs")
        if max_queued < 1:
            raise ConfigurationError(f"max_queued={max_queued}: at least one job must be able to wait")
        if overflow not in ("wait", "reject"):
            raise ConfigurationError(f'overflow={overflow!r} is neither "wait" nor "reject"')
        check_seconds("shutdown_timeout", shutdown_timeout)
        super().__init__(Opening(found, limits, overflow), timeouts)
        self._max_queued = max_queued
        self._retry = retry
        self._shutdown_timeout = shutdown_timeout
        self._on_job_error = on_job_error
        self._backend: Backend | None = None

    # life

    async def __aenter__(self) -> Dispatcher:
        """Get ready; nothing is connected before there is a job.

        Where an endpoint has a status page and no `max_children`, the page is asked for it.

        Raises:
            ConfigurationError: the number of workers is not known, or it was entered before.
            StatusUnavailable: the status page that should tell it did not answer.

        Cancelling leaves it as it was: it can be entered again.
        """
        opening = self._opening
        if opening.state is not State.NEW:
            raise ConfigurationError("a dispatcher is entered once; make a new one")
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
        """Close all there is, whatever happens meanwhile."""
        unretrieved = self._opening.unretrieved
        assert unretrieved is not None
        # so that thousands of jobs given up are told of together
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
    ) -> View:
        """Return this dispatcher as one application sees it: the same queue, slots and statistics, and other defaults.

        What a job says itself goes first, then what a view says, then the endpoint. A view of a view has the defaults
        of both, the inner one's first. It can be made before the dispatcher is entered, and is closed with it.

        Args:
            root: a folder on FPM's side, which takes the place of `Endpoint.root` and has its rules.
            params: FastCGI parameters sent with every job; encoded once, and not for each job.
            headers: request headers sent with every job, a mapping or a sequence of pairs; encoded once too.
            priority: of jobs whose own is 0, and of slots; one that is to have 0 is handed to the dispatcher.
            timeouts: deadlines for jobs that bring none, in place of all of the dispatcher's.
            idempotent: whether running any of its jobs twice does no harm; a job cannot take that back.

        Raises:
            ConfigurationError: what is asked for cannot work, or a parameter is refused as an endpoint's would be.
        """
        timeouts = self._timeouts if timeouts is None else timeouts
        defaults = (Defaults(root, params, headers),)
        return view_of(self._opening, timeouts, priority, defaults, False if idempotent is None else idempotent)

    def pause(self) -> None:
        """Begin no more jobs; those that run go on, new ones are queued."""
        self._opening.require().pause()

    def resume(self) -> None:
        """Begin jobs again."""
        self._opening.require().resume()

    async def join(self, timeout: float | None = None) -> None:
        """Wait until no job is queued or running.

        Args:
            timeout: seconds to wait at most.

        Raises:
            TimeoutError: there are still jobs.
        """
        scheduler = self._opening.require()
        with anyio.fail_after(check_seconds("timeout", timeout)):
            if scheduler.idle:
                await scheduler.backend.checkpoint()
            await scheduler.join()

    def statistics(self) -> Statistics:
        """Return what is going on and what has gone on; free to call, in any thread."""
        if self._scheduler is None:
            raise self._opening.refusal(None)
        return gather(self._scheduler)

    @property
    def closed(self) -> bool:
        """Whether it was entered and left: there will be no job any more."""
        return self._opening.state is State.CLOSED

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The FPM pools; once it is entered, with `max_children` where the peer told it."""
        return self._opening.endpoints

    def observe(self, observer: Observer) -> None:
        """Show every job that is handed in from now on to an observer; telemetry stands on this.

        Args:
            observer: sees the jobs beside those that were added before.
        """
        self._opening.observers = (*self._opening.observers, observer)

    async def ping(self, timeout: float = 5.0) -> float:
        """Return the seconds until a worker answered GET_VALUES.

        It goes ahead of all jobs, and takes no more than the share.

        Args:
            timeout: seconds to wait at most.

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
        scheduler = self._opening.require()
        seconds = check_seconds("timeout", timeout)
        pools = scheduler.pools
        if endpoint is not None:
            address = endpoint.address if isinstance(endpoint, Endpoint) else Address.parse(endpoint)
            pools = tuple(pool for pool in pools if pool.peer.endpoint.address == address)
        if len(pools) != 1:
            known = ", ".join(pool.peer.name for pool in scheduler.pools)
            raise ConfigurationError(f"status(endpoint=...): name one of {known}")
        return await pools[0].monitor.fetch(math.inf if seconds is None else seconds)

    def _terms_at(self, scheduler: Scheduler) -> Terms:
        return scheduler.terms(RequestEncoder)

    def __repr__(self) -> str:
        addresses = ", ".join(str(endpoint.address) for endpoint in self._opening.endpoints)
        return f"<Dispatcher {addresses}: {self._opening.state.name.lower()}>"


def _closing() -> DispatcherClosed:
    return DispatcherClosed("the dispatcher is being closed, and gives no worker to a job that is not handed in yet")


def _check_settings(timeouts: object, limits: object, retry: object, on_job_error: object) -> None:
    for name, value, kind in (("timeouts", timeouts, Timeouts), ("limits", limits, Limits), ("retry", retry, Retry)):
        if not isinstance(value, kind):
            raise ConfigurationError(f"{name}={value!r} is not a {kind.__name__}; write {kind.__name__}(...)")
    if on_job_error is not None and not callable(on_job_error):
        raise ConfigurationError(f"on_job_error={on_job_error!r} is not a function; it is called with the error")
