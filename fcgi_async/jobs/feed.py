"""Feed: claims jobs for PHP workers that are in hand, and a few ahead of them.

Theory of operation. A runner that goes for a PHP worker has passed the gate; once it has one it is hungry until it is
fed. The feed claims as many jobs as runners are hungry, plus `ahead`, so that the next runner need not wait. The gate
is open for all runners while there is more in the database, for as many as jobs lie claimed, and for a single one when
something may have come: it finds out.
"""

from __future__ import annotations

import logging
import math
import time
from collections import deque
from collections.abc import Sequence

import anyio
import attrs

from fcgi_async.jobs.change import Change
from fcgi_async.jobs.errors import StoreFull, StoreUnavailable
from fcgi_async.jobs.record import Claimed, Lane
from fcgi_async.jobs.settler import Settler
from fcgi_async.jobs.store import Claim, Store

__all__ = ("Feed",)

logger = logging.getLogger("fcgi_async.jobs")

_SHORTEST_LOOK = 0.005
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@attrs.define(eq=False)
class Feed:
    """Jobs for the runners of a worker.

    Args:
        store: the database.
        worker: who claims.
        lanes: what it may take.
        ahead: how many more than there are hungry runners.
        settler: keeps what is claimed.
    """

    _store: Store
    _worker: str
    _lanes: Sequence[Lane]
    _ahead: int
    _settler: Settler
    # when something delayed is due, or a rate allows more, by the monotonic clock
    due: float | None = attrs.field(default=None, init=False)
    _ready: deque[Claimed] = attrs.field(factory=deque, init=False)
    # runners beyond the gate that are not fed yet, and those of them that have a PHP worker
    _going: int = attrs.field(default=0, init=False)
    _hungry: int = attrs.field(default=0, init=False)
    # whether there is more in the database; how often something may have come, and up to which that was looked at
    _more: bool = attrs.field(default=False, init=False)
    _rung: int = attrs.field(default=1, init=False)
    _seen: int = attrs.field(default=0, init=False)
    # counts claims that left runners hungry: those go away
    _fasts: int = attrs.field(default=0, init=False)
    _down: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _change: Change = attrs.field(factory=Change, init=False)
    _due_change: Change = attrs.field(factory=Change, init=False)
    _durable: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._durable = any(limits.on_loss != "again" for lane in self._lanes for limits in lane.tasks)

    def ring(self) -> None:
        """Note that something may have come."""
        self._rung += 1
        self._change.tell()

    def close(self) -> None:
        """Feed nobody any more."""
        self._closed = True
        self._change.tell()

    async def gate(self) -> bool:
        """Wait until a PHP worker is worth going for; False once the feed is closed. Then call `next()` or `turn()`."""
        await self._change.until(self._is_open)
        if self._closed:
            return False
        self._going += 1
        return True

    def turn(self) -> None:
        """Go back behind the gate without a PHP worker."""
        self._going -= 1
        self._change.tell()

    async def next(self) -> Claimed | None:
        """Return a job for the PHP worker in hand; None if there is none."""
        fasts = self._fasts
        self._hungry += 1
        try:
            if not self._ready:
                self._change.tell()
                await self._change.until(lambda: self._ready or self._fasts != fasts or self._closed)
            claimed = None if self._closed or not self._ready else self._ready.popleft()
        finally:
            self._hungry -= 1
            self._going -= 1
        self._change.tell()
        return claimed

    async def run(self) -> None:
        """Claim until the feed is closed; what no runner was given then is for `Store.leave()`.

        Raises:
            StoreCorrupt: the database is damaged.
            SchemaMismatch: it was migrated by a later release.
        """
        pause = _FIRST_PAUSE
        while True:
            await self._change.until(lambda: self._closed or self._wanted() > 0)
            if self._closed:
                return
            rung = self._rung
            try:
                if self._down:
                    # an answer that was lost may have left jobs with us
                    await self._store.reconcile(self._worker, frozenset(self._settler.held))
                claim = await self._store.claim(self._worker, self._lanes, self._wanted(), durable=self._durable)
            except (StoreUnavailable, StoreFull) as error:
                if not self._down:
                    logger.warning("no jobs can be claimed: %s", error)
                self._down = True
                self._starve()
                await anyio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                self._rung += 1
            else:
                pause, self._down = _FIRST_PAUSE, False
                self._take(claim, rung)
            self._change.tell()

    async def until_due(self) -> None:
        """Wait until something delayed is due, or a rate allows more, as far as that is known."""
        while True:
            due = self.due
            left = math.inf if due is None else max(due - time.monotonic(), _SHORTEST_LOOK)
            with anyio.move_on_after(left) as scope:
                await self._due_change.until(lambda due=due: self.due != due)  # type: ignore[misc]
            if scope.cancelled_caught:
                return

    async def look(self) -> None:
        """Find out whether there is something to claim, without a PHP worker.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        if self._more or self._going or self._ready or self._closed:
            # the next claim says it again
            self._set_due(None)
            return
        claim = await self._store.claim(self._worker, self._lanes, 0, durable=False)
        self._note_wait(claim)
        if claim.more:
            self.ring()

    def _is_open(self) -> bool:
        if self._closed:
            return True
        if self._down and self._going:
            return False
        return (
            self._more
            or len(self._ready) > self._going
            or (self._rung != self._seen and not self._going and not self._ready)
        )

    def _wanted(self) -> int:
        lacking = self._hungry + self._ahead - len(self._ready)
        if self._hungry > len(self._ready):
            return lacking
        return lacking if self._more and len(self._ready) <= self._ahead // 2 else 0

    def _take(self, claim: Claim, rung: int) -> None:
        for claimed in claim.jobs:
            self._settler.hold(claimed)
        self._ready.extend(claim.jobs)
        self._more = claim.more
        self._note_wait(claim)
        if not claim.more:
            self._seen = rung
            if self._rung == rung:
                self._starve()

    def _starve(self) -> None:
        """Send away the runners for whom there is nothing."""
        self._more = False
        if self._hungry > len(self._ready):
            self._fasts += 1

    def _note_wait(self, claim: Claim) -> None:
        self._set_due(None if claim.wait is None else time.monotonic() + claim.wait)

    def _set_due(self, due: float | None) -> None:
        if due != self.due:
            self.due = due
            self._due_change.tell()
