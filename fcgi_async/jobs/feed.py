"""Feed: claims jobs for held PHP workers, and a few ahead.

Theory of operation. A runner that waits for a PHP worker has passed the gate; when it has one, it is hungry until it
gets a job. The feed claims a job for each hungry runner, plus `ahead`, so that the next runner need not wait. The gate
is open for all runners while there are more jobs in the database, for as many runners as there are claimed jobs, and
for a single one when new jobs may have come: that runner finds out. It is closed while the database does not answer: a
PHP worker in hand would be kept from others, such as the queues of another database. A job that was claimed ahead goes
back if runners get no PHP worker for it: other jobs of the dispatcher use them, and another host may have one.
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
from fcgi_async.jobs.record import Claimed, Lane, Settlement
from fcgi_async.jobs.settler import Settler
from fcgi_async.jobs.store import Claim, Store

__all__ = ("Feed",)

logger = logging.getLogger("fcgi_async.jobs")

_SHORTEST_LOOK = 0.005
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# seconds for which a PHP worker in hand waits for an answer of the database
_PATIENCE = 1.0
# seconds for which a job that is claimed ahead waits for a PHP worker while others use them
_STALE = 1.0


@attrs.define(eq=False)
class Feed:
    """Hands jobs to the runners of a worker.

    Args:
        store: the database.
        worker: the id of the claiming worker.
        lanes: the queues that it may claim from.
        ahead: number of jobs claimed in addition to those for hungry runners.
        settler: keeps the claimed jobs.
        change: told of what opens the gate; the feeds of one worker share it.
    """

    _store: Store
    _worker: str
    _lanes: Sequence[Lane]
    _ahead: int
    _settler: Settler
    _change: Change
    # when a delayed job is due, or a rate allows more, by the monotonic clock
    due: float | None = attrs.field(default=None, init=False)
    _ready: deque[Claimed] = attrs.field(factory=deque, init=False)
    # runners past the gate without a job, and those of them that have a PHP worker
    _going: int = attrs.field(default=0, init=False)
    _hungry: int = attrs.field(default=0, init=False)
    # whether the database has more; the number of rings, and the last ring that was checked
    _more: bool = attrs.field(default=False, init=False)
    _rung: int = attrs.field(default=1, init=False)
    _seen: int = attrs.field(default=0, init=False)
    # counts claims that left runners hungry; these go back
    _fasts: int = attrs.field(default=0, init=False)
    # whether the last claim failed; whether the database does not answer
    _down: bool = attrs.field(default=False, init=False)
    _away: bool = attrs.field(default=False, init=False)
    # whether some jobs could not be given back
    _unsure: bool = attrs.field(default=False, init=False)
    _closed: bool = attrs.field(default=False, init=False)
    _due_change: Change = attrs.field(factory=Change, init=False)
    # held during a claim or a comparison
    _asking: anyio.Lock = attrs.field(factory=anyio.Lock, init=False)
    _durable: bool = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._durable = any(limits.on_loss != "again" for lane in self._lanes for limits in lane.tasks)

    def ring(self) -> None:
        """Called when new jobs may have come."""
        self._rung += 1
        self._change.tell()

    def close(self) -> None:
        """Stop feeding runners."""
        self._closed = True
        self._change.tell()

    @property
    def is_open(self) -> bool:
        """Whether a runner should wait for a PHP worker: then call `go()`, and `next()` or `turn()`."""
        if self._closed or self._away or (self._down and self._going):
            return False
        return (
            self._more
            or len(self._ready) > self._going
            or (self._rung != self._seen and not self._going and not self._ready)
        )

    def go(self) -> None:
        """Pass the gate."""
        self._going += 1

    def turn(self) -> None:
        """Go back to the gate without a PHP worker."""
        self._going -= 1
        self._change.tell()

    async def next(self) -> Claimed | None:
        """Return a job for the held PHP worker; None if there is none."""
        fasts = self._fasts
        self._hungry += 1
        try:
            if not self._ready:
                self._change.tell()
                with anyio.move_on_after(_PATIENCE) as scope:
                    await self._change.until(lambda: self._ready or self._fasts != fasts or self._closed)
                # the claim that is under way ends it
                self._away |= scope.cancelled_caught and self._asking.statistics().locked
            claimed = None if self._closed or not self._ready else self._ready.popleft()
        finally:
            self._hungry -= 1
            self._going -= 1
        self._change.tell()
        return claimed

    async def run(self) -> None:
        """Claim jobs until the feed is closed; `Store.leave()` gives back those that no runner got.

        Raises:
            StoreCorrupt: the database is damaged.
            SchemaMismatch: a later release has migrated the tables.
        """
        pause = _FIRST_PAUSE
        while True:
            await self._change.until(lambda: self._closed or self._away or self._wanted() > 0)
            if self._closed:
                return
            rung = self._rung
            try:
                async with self._asking:
                    if self._down or self._unsure:
                        # a claim whose answer was lost may have claimed jobs for us
                        await self._compare()
                    claim = await self._store.claim(self._worker, self._lanes, self._wanted(), durable=self._durable)
            except (StoreUnavailable, StoreFull) as error:
                if not self._down:
                    logger.warning("no jobs can be claimed: %s", error)
                self._down, self._away = True, isinstance(error, StoreUnavailable)
                self._starve()
                await anyio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
                self._rung += 1
            else:
                pause, self._down, self._away = _FIRST_PAUSE, False, False
                self._take(claim, rung)
            self._change.tell()

    async def until_due(self) -> None:
        """Wait until a delayed job is due, or a rate allows more, if that time is known."""
        while True:
            due = self.due
            left = math.inf if due is None else max(due - time.monotonic(), _SHORTEST_LOOK)
            with anyio.move_on_after(left) as scope:
                await self._due_change.until(lambda due=due: self.due != due)  # type: ignore[misc]
            if scope.cancelled_caught:
                return

    async def compare(self) -> None:
        """Drop claimed jobs that have not begun and belong to others now.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        async with self._asking:
            await self._compare()

    async def look(self) -> None:
        """Check whether there are jobs to claim, without holding a PHP worker.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        if self._more or self._going or self._ready or self._closed:
            # the next claim reports it again
            self._set_due(None)
            return
        claim = await self._store.claim(self._worker, self._lanes, 0, durable=False)
        self._note_wait(claim)
        if claim.more:
            self.ring()

    def put_back(self) -> None:
        """Give back jobs that were claimed ahead and have waited too long; a runner with a PHP worker claims anew."""
        if not self._ready or time.monotonic() - self._ready[0].taken < _STALE:
            return
        for claimed in self._ready:
            self._settler.add(Settlement(number=claimed.number, id=claimed.id, attempt=claimed.attempt, state="ready"))
        self._ready.clear()
        self._more = False

    async def _compare(self) -> None:
        compared = await self._store.reconcile(self._worker, tuple(self._settler.held.values()))
        self._unsure = not compared.complete
        for claimed in [claimed for claimed in self._ready if claimed.key in compared.lost]:
            self._ready.remove(claimed)
            self._settler.drop(claimed)

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
        """Send the runners without a job back to the gate."""
        self._more = False
        if self._hungry > len(self._ready):
            self._fasts += 1

    def _note_wait(self, claim: Claim) -> None:
        self._set_due(None if claim.wait is None else time.monotonic() + claim.wait)

    def _set_due(self, due: float | None) -> None:
        if due != self.due:
            self.due = due
            self._due_change.tell()
