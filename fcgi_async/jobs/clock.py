"""Clock: puts the jobs of a worker's schedules."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

import anyio
import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.errors import StoreFull, StoreUnavailable
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.store import Store

__all__ = ("Clock", "check_crons")

logger = logging.getLogger("fcgi_async.jobs")

# seconds between checks of the database's clock, which may be moved forward
_LOOK, _SHORTEST_LOOK, _AWAY = 10.0, 0.005, 1.0


@attrs.frozen(eq=False)
class Clock:
    """Puts the jobs of schedules.

    Args:
        store: the database, whose clock counts.
        crons: the schedules.
    """

    _store: Store
    _crons: Sequence[Cron]

    async def begin(self) -> None:
        """Store the schedules in the database.

        Raises:
            StoreUnavailable: the database cannot be written to.
        """
        if self._crons:
            await self._store.begin_crons(self._crons)

    async def run(self) -> None:
        """Put jobs when they are due, until cancelled.

        Raises:
            StoreCorrupt: the database is damaged.
            SchemaMismatch: a later release has migrated the tables.
        """
        while self._crons:
            wait: float | None
            try:
                wait = await self._store.tick(self._crons)
            except (StoreUnavailable, StoreFull) as error:
                logger.debug("no scheduled job can be put: %s", error)
                wait = _AWAY
            await anyio.sleep(_LOOK if wait is None else min(max(wait, _SHORTEST_LOOK), _LOOK))


def check_crons(schedules: Iterable[Cron]) -> tuple[Cron, ...]:
    """Check and return the schedules of a worker.

    Raises:
        ConfigurationError: one of them is not a `Cron`, or two have the same name.
    """
    crons = tuple(schedules)
    for cron in crons:
        if not isinstance(cron, Cron):
            raise ConfigurationError(f"Worker(schedules) must be Crons, not {cron!r}")
    if len({cron.name for cron in crons}) < len(crons):
        raise ConfigurationError("Worker(schedules) has two Crons of the same name; rename one")
    return crons
