"""Settler: writes how attempts ended, several at once, and repeats that until the database accepts it."""

from __future__ import annotations

import logging
import math
import time

import anyio
import attrs

from fcgi_async.jobs.change import Change
from fcgi_async.jobs.errors import PayloadTooLarge, StoreFull, StoreRefused, StoreUnavailable
from fcgi_async.jobs.record import Claimed, Key, Settlement
from fcgi_async.jobs.shown import shown
from fcgi_async.jobs.store import Store

__all__ = ("Settler",)

logger = logging.getLogger("fcgi_async.jobs")

# seconds between attempts to reach a database that is away
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0
# seconds after which a job that another transaction had locked is tried again, and how many such may wait
_LOCKED, _MOST_LOCKED = 0.5, 1000


@attrs.define(eq=False)
class Settler:
    """Keeps a worker's jobs in hand until the database has stored how they ended.

    Args:
        store: the database.
        worker: the worker.
        change: told when there may be room; what waits for room shares it.

    Attributes:
        most: number of waiting settlements above which no more attempts begin.
        held: the jobs that are claimed and not settled yet, by key.
        lost: number of settlements that came too late, because the worker was considered lost.
    """

    _store: Store
    _worker: str
    _change: Change
    most: int = attrs.field(default=1, init=False)
    held: dict[Key, Claimed] = attrs.field(factory=dict, init=False)
    lost: int = attrs.field(default=0, init=False)
    _waiting: list[Settlement] = attrs.field(factory=list, init=False)
    _writing: int = attrs.field(default=0, init=False)
    # settlements that are being written may be in the database already
    _may_be_in: bool = attrs.field(default=False, init=False)
    # settlements whose jobs others have locked, and when to write them again by the monotonic clock
    _locked: list[Settlement] = attrs.field(factory=list, init=False)
    _locked_until: float = attrs.field(default=0.0, init=False)
    # those that were logged
    _told: set[Key] = attrs.field(factory=set, init=False)

    def hold(self, claimed: Claimed) -> None:
        """Add a job in hand."""
        self.held[claimed.key] = claimed

    def drop(self, claimed: Claimed) -> None:
        """Remove a job in hand that has not begun."""
        self.held.pop(claimed.key, None)

    def add(self, settlement: Settlement) -> None:
        """Queue a settlement for writing."""
        self._waiting.append(settlement)
        self._change.tell()

    @property
    def has_room(self) -> bool:
        """Whether few enough settlements wait; jobs that others have locked do not count."""
        return len(self._waiting) + self._writing <= self.most and len(self._locked) <= _MOST_LOCKED

    async def run(self) -> None:
        """Write settlements until cancelled; `write_rest()` writes the rest.

        Raises:
            StoreCorrupt: the database is damaged.
            SchemaMismatch: it was migrated by a later release.
        """
        while True:
            settlements = await self._next()
            self._writing = len(settlements)
            try:
                settled = await self._write(settlements)
            except BaseException:
                # a write that was cancelled may have been performed
                self._waiting, self._may_be_in = settlements + self._waiting, True
                raise
            finally:
                self._writing = 0
            self._note(settlements, settled)
            self._change.tell()

    async def write_rest(self) -> None:
        """Write the rest once, and those that others have locked repeatedly, until cancelled.

        Raises:
            StoreError: it cannot be written.
        """
        self._locked_until = 0.0
        while self._waiting or self._locked:
            settlements = await self._next()
            try:
                settled = await self._settle(settlements)
            except BaseException:
                self._waiting, self._may_be_in = settlements + self._waiting, True
                raise
            self._note(settlements, settled)

    @property
    def unwritten(self) -> list[Key]:
        """The keys of jobs that have ended and whose end is not written."""
        return [settlement.key for settlement in (*self._waiting, *self._locked)]

    async def _next(self) -> list[Settlement]:
        """Wait for settlements that can be written now, and take them."""
        settlements: list[Settlement] = []
        while not settlements:
            left = max(self._locked_until - time.monotonic(), 0) if self._locked else math.inf
            with anyio.move_on_after(left):
                await self._change.until(lambda: self._waiting)
            settlements, self._waiting = self._waiting, []
            if self._locked and time.monotonic() >= self._locked_until:
                settlements, self._locked = self._locked + settlements, []
        return settlements

    def _put_off(self, settlement: Settlement) -> None:
        if not self._locked:
            self._locked_until = time.monotonic() + _LOCKED
        self._locked.append(settlement)
        if settlement.key not in self._told:
            self._told.add(settlement.key)
            logger.warning(
                "job %s ended as %s, and a transaction that is not ours has locked it: this is written once that ends; "
                "keep transactions that change fcgi_jobs short",
                shown(settlement.id or ""),
                settlement.state,
            )

    def _note(self, settlements: list[Settlement], settled: list[bool | None]) -> None:
        for settlement, was_ours in zip(settlements, settled, strict=True):
            if was_ours is None:
                self._put_off(settlement)
                continue
            self._told.discard(settlement.key)
            self.held.pop(settlement.key, None)
            if not was_ours and not self._may_be_in:
                self.lost += 1
                logger.warning(
                    "job %s ended as %s, but no longer belonged to this worker; its state was not changed",
                    shown(settlement.id or ""),
                    settlement.state,
                )

    async def _write(self, settlements: list[Settlement]) -> list[bool | None]:
        pause, self._may_be_in = _FIRST_PAUSE, False
        while True:
            try:
                return await self._settle(settlements)
            except (StoreUnavailable, StoreFull) as error:
                self._may_be_in |= error.may_be_stored
                if pause == _FIRST_PAUSE:
                    logger.warning("%d ended jobs cannot be settled yet: %s", len(settlements), error)
            await anyio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)

    async def _settle(self, settlements: list[Settlement]) -> list[bool | None]:
        """Write settlements; if the database cannot hold one, its job is made dead, with the reason."""
        try:
            return await self._store.settle(self._worker, settlements)
        except (StoreRefused, PayloadTooLarge) as error:
            if len(settlements) > 1:
                return [settled for each in settlements for settled in await self._settle([each])]
            reason = f"how the job ended ({settlements[0].state}) cannot be stored: {error}"
        logger.error("job %s is dead: %s", shown(settlements[0].id or ""), reason)
        bare = attrs.evolve(
            settlements[0], state="dead", counts=True, keep=None, error=reason, stderr=None, response=None, answer=None
        )
        return await self._store.settle(self._worker, [bare])
