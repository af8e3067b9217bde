"""A dispatcher as one application sees it: the same queue and workers, and defaults of its own."""

from __future__ import annotations

from collections.abc import Mapping
from os import PathLike
from types import MappingProxyType

import attrs

from fcgi_async.dispatch.execution import Terms
from fcgi_async.dispatch.intake import Intake
from fcgi_async.dispatch.opening import Opening
from fcgi_async.dispatch.request import Defaults, RequestEncoder
from fcgi_async.dispatch.scheduler import Scheduler
from fcgi_async.errors import ConfigurationError
from fcgi_async.job.headers import RequestHeaders
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.settings import Timeouts
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("NO_DEFAULTS", "View", "view_of")

NO_DEFAULTS: Mapping[str, str] = MappingProxyType({})


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

    def _terms_at(self, scheduler: Scheduler) -> Terms:
        return scheduler.terms(lambda endpoint: _encoder(endpoint, self._defaults), idempotent=self._idempotent)

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
