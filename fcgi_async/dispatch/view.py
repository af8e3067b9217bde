"""A dispatcher with the defaults of one application: the same queue and workers."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType

import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.intake import Intake
from fcgi_async.dispatch.opening import Opening
from fcgi_async.dispatch.request import Defaults, RequestEncoder
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.dispatch.terms import Terms
from fcgi_async.errors import ConfigurationError
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.settings import Timeouts
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("NO_DEFAULTS", "View", "view_of")

NO_DEFAULTS: Mapping[str, str] = MappingProxyType({})


class View(Intake):
    """What `Dispatcher.view()` returns: submits jobs to its dispatcher, with defaults for what they do not set.

    It shares the dispatcher's queue, slots, observers and statistics, and is open as long as the dispatcher is.
    """

    def __init__(
        self,
        opening: Opening,
        timeouts: Timeouts,
        priority: int,
        defaults: tuple[Defaults, ...],
        idempotent: bool,
        name: str | None,
    ) -> None:
        super().__init__(opening, timeouts, priority)
        self._defaults = defaults
        self._idempotent = idempotent
        self._name = name
        # refuse now what is not allowed
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
        name: str | None = None,
    ) -> View:
        """Return a view that adds these defaults to this view's own, as `Dispatcher.view()` does.

        Raises:
            ConfigurationError: an argument is out of its range, or a parameter is refused.
        """
        return view_of(
            self._opening,
            self._timeouts if timeouts is None else timeouts,
            priority or self._priority,
            (*self._defaults, Defaults(root, params, headers)),
            self._idempotent if idempotent is None else idempotent,
            self._name if name is None else name,
        )

    def _terms_at(self, scheduler: Scheduler) -> Terms[Execution]:
        return scheduler.terms(
            lambda endpoint: _encoder(endpoint, self._defaults),
            self._timeouts,
            idempotent=self._idempotent,
            view=self._name,
        )

    def __repr__(self) -> str:
        addresses = ", ".join(str(endpoint.address) for endpoint in self._opening.endpoints)
        return f"<View of {addresses}: {self._opening.state.name.lower()}>"


def view_of(
    opening: Opening,
    timeouts: object,
    priority: object,
    defaults: tuple[Defaults, ...],
    idempotent: object,
    name: object,
) -> View:
    """Return a view; raise ConfigurationError if a setting is invalid."""
    if not isinstance(timeouts, Timeouts):
        raise ConfigurationError(f"view(timeouts) must be a Timeouts(...), not {timeouts!r}")
    if not isinstance(priority, int) or not is_whole(priority):
        raise ConfigurationError(f"view(priority) must be a whole number, not {priority!r}")
    if not isinstance(idempotent, bool):
        raise ConfigurationError(f"view(idempotent) must be True or False, not {idempotent!r}")
    if name is not None and not isinstance(name, str):
        raise ConfigurationError(f"view(name) must be a string, not {name!r}")
    return View(opening, timeouts, priority, defaults, idempotent, name)


def _encoder(endpoint: Endpoint, defaults: tuple[Defaults, ...]) -> RequestEncoder:
    roots = [level.root for level in defaults if level.root is not None]
    return RequestEncoder(attrs.evolve(endpoint, root=roots[-1]) if roots else endpoint, defaults)
