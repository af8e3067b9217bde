"""Doubt: what FPM's status page tells of attempts that nobody waits for any more.

The id of a job stands in its query string, and so in the page. A process that is at work on it has not ended, though
the worker that began it was killed or has given it up: the job is not started again meanwhile. One that is idle and had
it last ran it to its end. That an id is not there proves nothing: FPM was restarted, another request came after, a kept
connection hides it, or it is another host's.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Final, Literal

import attrs

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import StatusUnavailable
from fcgi_async.fpm.status import PoolStatus, ProcessState
from fcgi_async.jobs.fate import LOST
from fcgi_async.jobs.record import Claimed, Query, Settlement
from fcgi_async.jobs.store import Store
from fcgi_async.jobs.task import Task

__all__ = ("Doubt", "Seen", "read_ids")

logger = logging.getLogger("fcgi_async.jobs")

Seen = Literal["running", "ended"]

_ID = re.compile(r"[?&]fcgi_job=([A-Za-z0-9_.:-]{1,200})(?=&|$)")
# seconds for which a page is believed, until one that was not there is asked for again, and that it may take
_FRESH, _AWAY, _TIMEOUT = 0.2, 60.0, 2.0
# seconds until a job whose orphan is at work is tried again
_HOLD = 1.0
_MOST: Final = 100
_AT_WORK = f"{LOST}; FPM's status page shows that PHP is still at work on it"
_AT_END = f"{LOST}; FPM's status page shows that PHP ran it to its end, and the response was lost"


def read_ids(status: PoolStatus) -> dict[str, Seen]:
    """Return which jobs FPM's processes are at work on, or had last and have ended."""
    found: dict[str, Seen] = {}
    for process in status.processes:
        ids = _ID.findall(process.request_uri or "")
        if len(ids) != 1 or process.state is ProcessState.OTHER:
            continue
        ended = process.state is ProcessState.IDLE
        # it may have been begun twice
        if not ended or ids[0] not in found:
            found[ids[0]] = "ended" if ended else "running"
    return found


@attrs.define(eq=False)
class Doubt:
    """What a worker knows of orphans on its own FPM pools.

    Args:
        php: whose status pages are asked.
        store: where jobs in doubt are explained.
    """

    _php: Dispatcher
    _store: Store
    _seen: Mapping[str, Seen] = attrs.field(factory=dict, init=False)
    _read: float = attrs.field(default=-_AWAY, init=False)
    _away_until: dict[str, float] = attrs.field(factory=dict, init=False)
    # whether some that are in doubt are still worked on
    _watching: bool = attrs.field(default=True, init=False)

    async def hold(self, task: Task, claimed: Claimed) -> Settlement | None:
        """Return how to put off a job that an attempt before is still at work on; None to go on.

        A job that has not failed, or whose id is not in its query string, costs nothing.
        """
        if not claimed.failed or not task.mark_query or (await self._look()).get(claimed.id) != "running":
            return None
        return Settlement(
            number=claimed.number,
            attempt=claimed.attempt,
            state="delayed",
            delay=_HOLD,
            error="PHP is still at work on an attempt before, as FPM's status page shows: not started again yet",
            follows=claimed.follows,
            frees=task.running is not None,
        )

    def watch(self) -> None:
        """Explain jobs in doubt from now on: some have come."""
        self._watching = True

    async def explain(self) -> None:
        """Write to jobs that are in doubt because their worker was lost what became of them, as far as it is seen.

        Raises:
            StoreUnavailable: the database cannot be read or written to.
            StoreFull: there is no room.
        """
        if not self._watching:
            return
        records = await self._store.find(Query(states=("in_doubt",), limit=_MOST))
        open_ones = {record.id: record.error for record in records if record.error in (LOST, _AT_WORK)}
        self._watching = False
        if not open_ones:
            return
        seen = await self._look()
        for id, error in open_ones.items():
            what = {"running": _AT_WORK, "ended": _AT_END}.get(seen.get(id, ""))
            if what is not None and what != error:
                await self._store.note(id, what)
            self._watching |= what == _AT_WORK or (error == _AT_WORK and what is None and bool(seen))

    async def _look(self) -> Mapping[str, Seen]:
        now = time.monotonic()
        if now - self._read < _FRESH:
            return self._seen
        seen: dict[str, Seen] = {}
        for endpoint in self._php.endpoints:
            name = str(endpoint.address)
            if now < self._away_until.get(name, 0.0):
                continue
            try:
                seen.update(read_ids(await self._php.status(_TIMEOUT, endpoint=endpoint)))
            except StatusUnavailable as error:
                logger.debug("orphans of %s cannot be seen: %s", name, error)
                self._away_until[name] = time.monotonic() + _AWAY
        self._seen, self._read = seen, time.monotonic()
        return seen
