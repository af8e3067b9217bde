"""A dispatcher as one application sees it: the same queue and workers, and defaults of its own."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType

import attrs

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.dispatch.execution import Execution, ExecutionState, JobOwner
from fcgi_async.dispatch.intake import Intake
from fcgi_async.dispatch.opening import Opening
from fcgi_async.dispatch.request import Defaults, RequestEncoder
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.errors import ConfigurationError, FastCGIError
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.job import Job
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.settings import Limits, Timeouts
from fcgi_async.net.backend import Backend
from fcgi_async.net.connection import EncodedRequest
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.pool import Pool

__all__ = ("NO_DEFAULTS", "View", "view_of")

NO_DEFAULTS: Mapping[str, str] = MappingProxyType({})


@attrs.define(eq=False)
class ViewOwner:
    """Owns the executions of a view's jobs in place of the scheduler: encodes them with the view's defaults.

    So an execution knows nothing of views.
    """

    scheduler: Scheduler
    idempotent: bool
    encoders: Mapping[Pool, RequestEncoder]
    backend: Backend = attrs.field(init=False)
    limits: Limits = attrs.field(init=False)
    deadlines: Deadlines = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.backend, self.limits = self.scheduler.backend, self.scheduler.limits
        self.deadlines = self.scheduler.deadlines

    def check(self, job: Job) -> None:
        for encoder in self.encoders.values():
            encoder.check(job)

    def encode(self, pool: Pool, job: Job) -> EncodedRequest:
        return self.encode_with(pool, job, NO_DEFAULTS)

    def encode_with(self, pool: Pool, job: Job, extra: Mapping[str, str]) -> EncodedRequest:
        return self.encoders[pool].encode_or_refuse(job, extra)

    def try_again(self, execution: Execution, error: FastCGIError, *, may_have_run: bool) -> bool:
        idempotent = self.idempotent or execution.job.idempotent
        return self.scheduler.try_again(execution, error, may_have_run=may_have_run, idempotent=idempotent)

    def settled(self, execution: Execution, state: ExecutionState) -> None:
        self.scheduler.settled(execution, state)


class View(Intake):
    """What `Dispatcher.view()` returns: hands jobs to its dispatcher, with defaults for what they do not say.

    It shares the dispatcher's queue, slots, observers and statistics, and is open as long as that is.
    """

    def __init__(
        self,
        opening: Opening,
        timeouts: Timeouts,
        priority: int,
        defaults: tuple[Defaults, ...],
        idempotent: bool,
    ) -> None:
        super().__init__(opening, timeouts, priority)
        self._defaults = defaults
        self._idempotent = idempotent
        # so that what is not allowed is refused now
        for endpoint in opening.endpoints:
            _encoder(endpoint, defaults)

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
        """Return a view with this one's defaults where these do not say otherwise; as `Dispatcher.view()`.

        Raises:
            ConfigurationError: what is asked for cannot work.
        """
        return view_of(
            self._opening,
            self._timeouts if timeouts is None else timeouts,
            priority or self._priority,
            (*self._defaults, Defaults(root, params, headers)),
            self._idempotent if idempotent is None else idempotent,
        )

    def _owner_at(self, scheduler: Scheduler) -> JobOwner:
        encoders = {pool: _encoder(pool.endpoint, self._defaults) for pool in scheduler.pools}
        return ViewOwner(scheduler, self._idempotent, encoders)

    def __repr__(self) -> str:
        addresses = ", ".join(str(endpoint.address) for endpoint in self._opening.endpoints)
        return f"<View of {addresses}: {self._opening.state.name.lower()}>"


def view_of(
    opening: Opening, timeouts: object, priority: object, defaults: tuple[Defaults, ...], idempotent: object
) -> View:
    """Return a view; raise ConfigurationError where its settings are none."""
    if not isinstance(timeouts, Timeouts):
        raise ConfigurationError(f"view(timeouts={timeouts!r}) is not a Timeouts; write Timeouts(...)")
    if not isinstance(priority, int) or not is_whole(priority):
        raise ConfigurationError(f"view(priority={priority!r}) is not a whole number")
    if not isinstance(idempotent, bool):
        raise ConfigurationError(f"view(idempotent={idempotent!r}) is neither True nor False")
    return View(opening, timeouts, priority, defaults, idempotent)


def _encoder(endpoint: Endpoint, defaults: tuple[Defaults, ...]) -> RequestEncoder:
    roots = [level.root for level in defaults if level.root is not None]
    return RequestEncoder(attrs.evolve(endpoint, root=roots[-1]) if roots else endpoint, defaults)
