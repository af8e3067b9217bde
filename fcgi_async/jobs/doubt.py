"""Doubt: what FPM's status page shows about attempts whose caller has gone.

A job's query string has its id, so the page has it too. If a process is still running the job, the job is not started
again meanwhile, even if the worker that started it was killed or has given up. If an idle process had the job as its
last request, it ran it to its end. A missing id proves nothing: FPM may have been restarted, another request may have
come, a kept connection may hide it, or another host ran it.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from typing import Final, Literal
from urllib.parse import unquote

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

_ID = re.compile(r"[?&]fcgi_job=((?:[A-Za-z0-9_.:~-]|%[0-9A-F]{2}){1,600})(?=&|$)")
# seconds for which a page is used, and that a request for it may take
_FRESH, _TIMEOUT = 0.2, 2.0
# seconds until a missing page is asked for again: one that was never there, and one that was
_AWAY, _AGAIN = 60.0, 1.0
# seconds until a job is retried if its orphan is still running
_HOLD = 1.0
_MOST: Final = 100
_AT_WORK = f"{LOST}; FPM's status page shows that PHP is still running it"
_AT_END = f"{LOST}; FPM's status page shows that PHP ran it to its end, but the response was lost"


def read_ids(status: PoolStatus) -> dict[str, Seen]:
    """Return the jobs that FPM's processes are running, and those that they ran last."""
    found: dict[str, Seen] = {}
    for process in status.processes:
        ids = [unquote(id) for id in _ID.findall(process.request_uri or "")]
        if len(ids) != 1 or not ids[0].isprintable() or process.state is ProcessState.OTHER:
            continue
        ended = process.state is ProcessState.IDLE
        # it may have been started twice
        if not ended or ids[0] not in found:
            found[ids[0]] = "ended" if ended else "running"
    return found


@attrs.define(eq=False)
class Doubt:
    """What a worker knows about orphans on its own FPM pools.

    Args:
        php: the dispatcher, whose status pages are asked.
        store: the database with the jobs in doubt.
    """

    _php: Dispatcher
    _store: Store
    _seen: Mapping[str, Seen] = attrs.field(factory=dict, init=False)
    _read: float = attrs.field(default=-_AWAY, init=False)
    _away_until: dict[str, float] = attrs.field(factory=dict, init=False)
    # the pages that were read once, and whether one of them is missing now
    _known: set[str] = attrs.field(factory=set, init=False)
    _missing: bool = attrs.field(default=False, init=False)
    # whether some of the jobs in doubt are still running
    _watching: bool = attrs.field(default=True, init=False)

    async def hold(self, task: Task, claimed: Claimed) -> Settlement | None:
        """Return how to delay a job that an earlier attempt is still running; None to start it.

        A job that was never claimed before, or whose id is not in its query string, costs nothing.
        """
        # failures are forgotten when a person retries it
        if claimed.attempt == 1 or not task.mark_query or (await self._look()).get(claimed.id) != "running":
            return None
        return Settlement(
            number=claimed.number,
            id=claimed.id,
            attempt=claimed.attempt,
            state="delayed",
            delay=_HOLD,
            error="FPM's status page shows that PHP is still running an earlier attempt: not started again yet",
            follows=claimed.follows,
            frees=task.running is not None,
        )

    def watch(self) -> None:
        """Start explaining jobs in doubt: there are new ones."""
        self._watching = True

    async def explain(self) -> None:
        """Write the fate of jobs that are in doubt because their worker was lost, as far as the page shows it.

        Raises:
            StoreUnavailable: the database cannot be read or written to.
            StoreFull: the disk or the database is full.
        """
        if not self._watching:
            return
        records = await self._store.find(Query(states=("in_doubt",), limit=_MOST, data=False))
        open_ones = {record.id: record.error for record in records if record.error in (LOST, _AT_WORK)}
        self._watching = False
        if not open_ones:
            return
        seen = await self._look()
        for id, error in open_ones.items():
            what = {"running": _AT_WORK, "ended": _AT_END}.get(seen.get(id, ""))
            if what is not None and what != error:
                await self._store.note(id, what)
            unknown = what is None and (self._missing or (error == _AT_WORK and bool(seen)))
            self._watching |= what == _AT_WORK or unknown

    async def _look(self) -> Mapping[str, Seen]:
        now = time.monotonic()
        if now - self._read < _FRESH:
            return self._seen
        seen: dict[str, Seen] = {}
        missing = False
        for endpoint in self._php.endpoints:
            name = str(endpoint.address)
            if now < self._away_until.get(name, 0.0):
                missing |= name in self._known
                continue
            try:
                seen.update(read_ids(await self._php.status(_TIMEOUT, endpoint=endpoint)))
                self._known.add(name)
            except StatusUnavailable as error:
                logger.debug("orphans of %s cannot be seen: %s", name, error)
                missing |= name in self._known
                self._away_until[name] = time.monotonic() + (_AGAIN if name in self._known else _AWAY)
        self._seen, self._read, self._missing = seen, time.monotonic(), missing
        return seen
