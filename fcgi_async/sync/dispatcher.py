"""A dispatcher for threads: fcgi_async's dispatcher, in an event loop in its own thread."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from os import PathLike
from types import TracebackType
from typing import Literal, Self

from fcgi_async.dispatch import dispatcher
from fcgi_async.dispatch.endpoints import Endpoints
from fcgi_async.dispatch.observer import Observer
from fcgi_async.dispatch.retry import Retry
from fcgi_async.dispatch.statistics import Statistics
from fcgi_async.dispatch.view import NO_DEFAULTS
from fcgi_async.errors import ConfigurationError, FastCGIError
from fcgi_async.fpm.status import PoolStatus
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.settings import UNSET, Limits, Timeout, Timeouts
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.sync.intake import Intake
from fcgi_async.sync.loop_thread import LoopThread, State
from fcgi_async.sync.view import View

__all__ = ("Dispatcher",)


class Dispatcher(Intake):
    """Runs PHP jobs for code that does not await: the same dispatcher, in an event loop in its own thread.

        with Dispatcher("unix:///run/php/php8.2-fpm.sock", max_children=8) as php:
            response = php.run(Job("/srv/app/job.php"))

    Any number of threads may use it at the same time. A thread that runs an event loop may not, because the loop would
    be blocked: await `fcgi_async.Dispatcher` there. A process that was forked after it was entered may not use it
    either. Nothing is started before it is entered, so it may be created at import.

    Args:
        endpoints: the FPM pool's address, an `Endpoint`, or a sequence of those: a job goes to the least loaded one.
        max_children: `pm.max_children` of the pool; shorthand for a single endpoint.
        reserve: workers left to other clients of the pool; shorthand for a single endpoint.
        max_queued: how many jobs may wait for a worker.
        overflow: what happens to one more: "wait" for room, or "reject" it with QueueFull.
        timeouts: deadlines for jobs that set none.
        limits: how much a peer may send.
        retry: which jobs are sent again, and how often.
        shutdown_timeout: how many seconds leaving waits for the jobs; None for no limit.
        on_job_error: called, in the dispatcher's thread, with the error of a submitted job whose result was never
            retrieved.
        call_script: the script, on FPM's side, that serves `call()`: absolute, or relative to the root.
        backend: the event loop in the thread: "asyncio", or "trio".

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
        backend: Literal["asyncio", "trio"] = "asyncio",
    ) -> None:
        if backend not in ("asyncio", "trio"):
            raise ConfigurationError(f'backend={backend!r} is neither "asyncio" nor "trio"')
        if backend == "trio" and find_spec("trio") is None:
            raise ConfigurationError("backend='trio' needs trio: pip install 'fcgi-async[trio]'")
        self._dispatcher = dispatcher.Dispatcher(
            endpoints,
            max_children=max_children,
            reserve=reserve,
            max_queued=max_queued,
            overflow=overflow,
            timeouts=timeouts,
            limits=limits,
            retry=retry,
            shutdown_timeout=shutdown_timeout,
            on_job_error=on_job_error,
            call_script=call_script,
        )
        super().__init__(LoopThread(self._dispatcher, backend), self._dispatcher)

    # life

    def open(self) -> Self:
        """Start its thread and enter the dispatcher, unless any thread has done so already; return the dispatcher.

        Raises:
            ConfigurationError: the number of workers is not known; or this thread runs an event loop, or this process
                was forked.
            StatusUnavailable: the status page that should report the number did not answer; `open()` can be tried
                again.
            DispatcherClosed: it was closed before.
        """
        self._thread.open()
        return self

    def close(self, timeout: Timeout = UNSET) -> None:
        """Refuse new jobs, finish the accepted ones, and end the thread; do nothing if it was never opened.

        Args:
            timeout: seconds to wait for jobs; 0 ends them now, None waits without a limit. The default is
                `shutdown_timeout`.

        Raises:
            ConfigurationError: `timeout` is not a number of seconds, or this thread runs an event loop.

        An interruption ends the jobs now. A forked process closes nothing, because everything belongs to its parent. A
        dispatcher that was not closed ends its jobs when the program ends.
        """
        self._thread.close(timeout)

    def __enter__(self) -> Self:
        """As `open()`."""
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the jobs within `shutdown_timeout`; after an exception, end them now."""
        self.close(UNSET if kind is None else 0)

    @property
    def closed(self) -> bool:
        """Whether it was opened and closed, and takes no more jobs."""
        return self._thread.state is State.CLOSED

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """The FPM pools; after opening, they have the `max_children` that a peer reported."""
        return self._dispatcher.endpoints

    # other methods

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
        """Return this dispatcher with the defaults of one application, as `fcgi_async.Dispatcher.view()` does.

        Args:
            root: a folder on FPM's side; replaces `Endpoint.root`, and follows the same rules.
            params: FastCGI parameters sent with every job.
            headers: request headers sent with every job, a mapping or a sequence of pairs.
            priority: priority of jobs whose own is 0.
            timeouts: deadlines for jobs that set none; replace all of the dispatcher's.
            idempotent: whether running any of its jobs twice does no harm; a job cannot override that.
            name: the view's name in telemetry.

        Raises:
            ConfigurationError: an argument is out of its range, or a parameter would be refused for an endpoint too.
        """
        inner = self._dispatcher.view(
            root=root,
            params=params,
            headers=headers,
            priority=priority,
            timeouts=timeouts,
            idempotent=idempotent,
            name=name,
        )
        return View(self._thread, inner)

    def statistics(self) -> Statistics:
        """Return the current gauges and the counters since opening; may be called in any thread, even with an event
        loop.

        Raises:
            DispatcherClosed: it was never opened.
        """
        if self._thread.state is State.NEW:
            raise self._thread.refusal()
        return self._dispatcher.statistics()

    def observe(self, observer: Observer) -> None:
        """Call an observer, in the dispatcher's thread, for every job that is submitted from now on.

        Args:
            observer: the observer; those added before are called too.
        """
        self._dispatcher.observe(observer)

    def ping(self, timeout: float = 5.0) -> float:
        """Return the seconds until a worker answered, as `fcgi_async.Dispatcher.ping()` does.

        Args:
            timeout: most seconds to wait.

        Raises:
            QueueTimeout: no worker answered in time.
            ConnectError: no endpoint can be reached.
            DispatcherClosed: the dispatcher is not open.
        """
        return self._thread.call(partial(self._dispatcher.ping, timeout))

    def status(self, timeout: float = 5.0, *, endpoint: str | Endpoint | None = None) -> PoolStatus:
        """Return FPM's status page of a pool, as `fcgi_async.Dispatcher.status()` does.

        Args:
            timeout: most seconds to wait.
            endpoint: the pool, or its address; not needed if there is only one.

        Raises:
            StatusUnavailable: there is no page, or it did not answer in time; the error tells what to configure.
            ConfigurationError: the endpoint is not one of the dispatcher's.
            DispatcherClosed: the dispatcher is not open.
        """
        return self._thread.call(partial(self._dispatcher.status, timeout, endpoint=endpoint))

    def join(self, timeout: float | None = None) -> None:
        """Wait until no job is queued or running.

        Args:
            timeout: most seconds to wait.

        Raises:
            TimeoutError: there are still jobs.
            DispatcherClosed: the dispatcher is not open.
        """
        self._thread.call(partial(self._dispatcher.join, timeout))

    def __repr__(self) -> str:
        return repr(self._dispatcher)
