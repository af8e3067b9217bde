"""Put the jobs of schedules: each schedule has a row with the time up to which jobs were put; a worker locks it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Final, cast

from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.putting import put

__all__ = ("begin", "tick")

logger = logging.getLogger("fcgi_async.jobs")

# a clock that went back by more than this many milliseconds was wrong before
_WRONG: Final = 86_400_000
# seconds after which to check a schedule again that another worker is checking
_SOON: Final = 1.0

_NOW: Final = "SELECT {now}"
_MAKE: Final = "INSERT INTO fcgi_crons (name, definition, tick) VALUES (:name, :definition, {now}){or_nothing}"
_READ: Final = "SELECT definition, tick FROM fcgi_crons WHERE name = :name"
_BEGIN: Final = "UPDATE fcgi_crons SET definition = :definition, tick = {now} WHERE name = :name"
_WRITE: Final = "UPDATE fcgi_crons SET tick = :tick WHERE name = :name"


def begin(dialect: Dialect, crons: Sequence[Cron]) -> None:
    """Start new schedules now, and restart changed ones; see `Store.begin_crons()`."""
    for cron in _in_order(crons):
        parameters = {"name": cron.name, "definition": cron.definition}
        dialect.change(_MAKE, parameters)
        [(definition, _)] = dialect.query(f"{_READ}{{locked}}", parameters)
        if definition != cron.definition:
            dialect.change(_BEGIN, parameters)


def tick(dialect: Dialect, crons: Sequence[Cron]) -> float | None:
    """Put the jobs that are due; see `Store.tick()`."""
    waits = [_tick(dialect, cron) for cron in _in_order(crons)]
    return min((wait for wait in waits if wait is not None), default=None)


def _tick(dialect: Dialect, cron: Cron) -> float | None:
    parameters = {"name": cron.name}
    rows = dialect.query(f"{_READ}{{skip_locked}}", parameters)
    if not rows and dialect.query(_READ, parameters):
        # another worker is handling it
        return _SOON
    # read after locking the row: another worker's changes are all before this
    now = cast("int", dialect.query(_NOW)[0][0])
    if not rows:
        dialect.change(_MAKE, {"name": cron.name, "definition": cron.definition})
        last = now
    else:
        last = cast("int", rows[0][1])
    if last > now + _WRONG:
        logger.warning("schedule %s was done up to %d, and it is %d: the clock was put back", cron.name, last, now)
        last = now
        dialect.change(_WRITE, {"name": cron.name, "tick": last})
    passed = cron.next_after(last / 1000)
    if passed is not None and passed * 1000 <= now:
        put(dialect, [cron.job(time) for time in cron.due(last / 1000, now / 1000)])
        dialect.change(_WRITE, {"name": cron.name, "tick": now})
    following = cron.next_after(max(last, now) / 1000)
    return None if following is None else following - now / 1000


def _in_order(crons: Sequence[Cron]) -> list[Cron]:
    # rows are locked in one order, so that two workers do not deadlock
    return sorted(crons, key=lambda cron: cron.name)
