"""Supply: a worker's tasks for one of its databases, besides running the jobs."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial

import anyio
import attrs

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.jobs.change import Change
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.clock import Clock
from fcgi_async.jobs.crowd import stretch, wakes
from fcgi_async.jobs.doubt import Doubt
from fcgi_async.jobs.errors import StoreError, StoreFull, StoreUnavailable
from fcgi_async.jobs.feed import Feed
from fcgi_async.jobs.lease import Lease
from fcgi_async.jobs.observer import Attempt
from fcgi_async.jobs.record import Counts, Key, Lane
from fcgi_async.jobs.schedule import Cron
from fcgi_async.jobs.settler import Settler
from fcgi_async.jobs.store import Store

__all__ = ("Supply", "pick")

logger = logging.getLogger("fcgi_async.jobs")

# seconds between looks at the database when no bell is heard, and between searches for lost workers
_LOOK = 1.0
_TEND = 0.5
# seconds to settle cancelled jobs
_LAST_WORDS = 5.0
_SWEEP = 1000
# seconds between counts of what is in the database, for those who observe
_COUNT = 15.0
# seconds between attempts to announce the worker in a database that could not be reached at the start
_AWAY = 1.0


@attrs.define(eq=False)
class Supply:
    """One database of a worker.

    Args:
        jobs: the database.
        worker: the worker's id.
        lanes: the queues to take jobs from.
        crons: the schedules whose jobs it puts there.
        php: the dispatcher; its pools' status pages explain jobs in doubt.
        ahead: as `Worker` takes it.
        change: notified when a waiting runner of the worker may be able to continue.
        is_observed: returns whether the number of jobs is to be counted.

    Attributes:
        begun: the claimed jobs, some of which have started, by key.
        recovered: how many jobs of lost workers were taken back.
        counts: the last count of jobs in the database; None if they were never counted.
        credit: how many turns this database is owed, compared with the worker's other databases.
    """

    jobs: Jobs
    worker: str
    lanes: Sequence[Lane]
    _crons: Sequence[Cron]
    _php: Dispatcher
    _ahead: int
    _change: Change
    _is_observed: Callable[[], bool]
    begun: dict[Key, Attempt] = attrs.field(factory=dict, init=False)
    recovered: int = attrs.field(default=0, init=False)
    counts: Counts | None = attrs.field(default=None, init=False)
    credit: int = attrs.field(default=0, init=False)
    store: Store = attrs.field(init=False)
    settler: Settler = attrs.field(init=False)
    feed: Feed = attrs.field(init=False)
    lease: Lease = attrs.field(init=False)
    _clock: Clock = attrs.field(init=False)
    doubt: Doubt = attrs.field(init=False)
    _announced: bool = attrs.field(default=False, init=False)
    _runners: int = attrs.field(default=1, init=False)

    def __attrs_post_init__(self) -> None:
        self.store = self.jobs.store
        self.settler = Settler(self.store, self.worker, self._change)
        self.feed = Feed(self.store, self.worker, self.lanes, self._ahead, self.settler, self._change)
        self.lease = Lease(self.store, self.worker, self.lanes)
        self._clock = Clock(self.store, self._crons)
        self.doubt = Doubt(self._php, self.store)

    @property
    def weight(self) -> int:
        """Its share of the worker's turns: the sum of the weights of its queues."""
        return sum(lane.weight for lane in self.lanes)

    @property
    def is_open(self) -> bool:
        """Whether it may have a job to run, and can settle it."""
        return self._announced and self.feed.is_open and self.settler.has_room

    async def announce(self, runners: int) -> None:
        """Announce the worker and its schedules.

        Args:
            runners: how many jobs may run at once.

        Raises:
            StoreUnavailable: the database cannot be written to.
        """
        self._runners, self.settler.most = runners, 2 * runners + self._ahead
        await self.lease.begin()
        await self._clock.begin()
        self._announced = True
        self._change.tell()

    async def announce_later(self, runners: int) -> None:
        """Announce the worker and its schedules as soon as the database can be written to, unless that is done."""
        while not self._announced:
            await anyio.sleep(_AWAY)
            with suppress(StoreUnavailable, StoreFull):
                # an announcement whose answer was lost may be there
                await self.store.leave(self.worker)
                await self.announce(runners)

    @property
    def services(self) -> tuple[Callable[[], Awaitable[None]], ...]:
        """The functions to run as long as the worker runs, after it is announced."""
        return (
            self.settler.run,
            self._watch,
            self._look_when_due,
            self._tend,
            partial(self.lease.keep, self.feed.compare),
            self._clock.run,
            self._count,
        )

    async def leave(self) -> None:
        """Settle the ended jobs, then give back those that have not started."""
        if not self._announced:
            return
        with anyio.move_on_after(_LAST_WORDS, shield=True) as scope:
            try:
                # wait for jobs that others have locked, but keep half of the time to leave
                with anyio.move_on_after(_LAST_WORDS / 2):
                    await self.settler.write_rest()
                await self.store.leave(self.worker, self.settler.unwritten)
            except StoreError as error:
                logger.warning("the worker left without giving its jobs back; another one will: %s", error)
        if scope.cancelled_caught:
            logger.warning("the worker left without giving its jobs back in %g s; another one will", _LAST_WORDS)

    async def _watch(self) -> None:
        heard = await self.store.wait("work", -1, 0)
        # nothing was woken for jobs that were put earlier
        self.feed.ring()
        # other workers look at other times
        due = time.monotonic() + _LOOK * random.uniform(0.8, 1.2)
        while True:
            now = await self.store.wait("work", heard, max(due - time.monotonic(), 0.0))
            if now != heard:
                heard = now
                if wakes(self.store.crowd):
                    self.feed.ring()
                    due = time.monotonic() + _LOOK * random.uniform(0.8, 1.2)
            if time.monotonic() >= due:
                due = time.monotonic() + _LOOK * random.uniform(0.8, 1.2)
                # a runner without a PHP worker: other jobs of the dispatcher use them all, or FPM is away
                if len(self.begun) < self._runners:
                    self.feed.put_back()
                with suppress(StoreUnavailable, StoreFull):
                    await self.feed.look()

    async def _look_when_due(self) -> None:
        while True:
            await self.feed.until_due()
            with suppress(StoreUnavailable, StoreFull):
                await self.feed.look()

    async def _tend(self) -> None:
        while True:
            try:
                recovered = await self.store.recover()
                self.recovered += recovered
                if recovered:
                    self.doubt.watch()
                    logger.warning("%d jobs of a worker that is lost were taken back", recovered)
                await self.doubt.explain()
                while await self.store.sweep() == _SWEEP:
                    pass
            except (StoreUnavailable, StoreFull) as error:
                logger.debug("the database cannot be tended: %s", error)
            await anyio.sleep(_TEND * stretch(self.store.crowd) * random.uniform(0.8, 1.2))

    async def _count(self) -> None:
        while True:
            if self._is_observed():
                with suppress(StoreUnavailable, StoreFull):
                    self.counts = await self.store.counts()
            await anyio.sleep(_COUNT if self._is_observed() else _LOOK)


def pick(supplies: Iterable[Supply]) -> Supply | None:
    """Return the open database whose turn it is, by their weights; None if no database is open."""
    waiting = [supply for supply in supplies if supply.is_open]
    if len(waiting) < 2:
        return waiting[0] if waiting else None
    for supply in waiting:
        supply.credit += supply.weight
    chosen = max(waiting, key=lambda supply: supply.credit)
    chosen.credit -= sum(supply.weight for supply in waiting)
    return chosen
