"""The label `route`: the caller's name for a kind of job; there must be few of them."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Final

import attrs

from fcgi_async.job.job import Job

__all__ = ("OTHER", "Route", "Routes", "Scripts")

logger = logging.getLogger("fcgi_async.telemetry")

Route = Callable[[Job], object]
# the name for the rest if there are more routes than anyone can have intended
OTHER: Final = "other"
_ROUTES_MAX: Final = 200
_SCRIPTS_MAX: Final = 1000


@attrs.define(eq=False)
class Routes:
    """The routes of one dispatcher's jobs.

    Args:
        route: returns a job's route, or None; the default is the name of the job's view.
    """

    route: Route | None
    _known: set[str] = attrs.field(factory=set, init=False)

    def of(self, job: Job, view: str | None) -> str:
        """Return a job's route; empty if it has none."""
        found = view if self.route is None else self.route(job)
        if found is None or found == "":
            return ""
        name = str(found)
        if name not in self._known:
            if len(self._known) >= _ROUTES_MAX:
                return OTHER
            self._known.add(name)
            if len(self._known) == _ROUTES_MAX:
                logger.warning(
                    "there are %d routes, the last is %r: further ones are counted as %r; use one route for each "
                    "kind of job, because each is a time series as long as the process runs",
                    _ROUTES_MAX,
                    name,
                    OTHER,
                )
        return name


@attrs.define(eq=False)
class Scripts:
    """The scripts of one dispatcher's jobs, as values of a label: visitors name some, through a gateway."""

    _known: set[str] = attrs.field(factory=set, init=False)

    def of(self, job: Job) -> str:
        """Return a job's script, or "other" if there are too many."""
        name = job.script
        if name not in self._known:
            if len(self._known) >= _SCRIPTS_MAX:
                return OTHER
            self._known.add(name)
            if len(self._known) == _SCRIPTS_MAX:
                logger.warning("there are %d scripts, the last is %r: others are %r", _SCRIPTS_MAX, name, OTHER)
        return name
