"""Settler: writes how attempts ended, several at once, and again until the database takes it."""

from __future__ import annotations

import logging

import anyio
import attrs

from fcgi_async.jobs.change import Change
from fcgi_async.jobs.errors import StoreFull, StoreUnavailable
from fcgi_async.jobs.record import Claimed, Settlement
from fcgi_async.jobs.store import Store

__all__ = ("Settler",)

logger = logging.getLogger("fcgi_async.jobs")

# seconds between attempts to reach a database that is away
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 1.0


@attrs.define(eq=False)
class Settler:
    """Keeps what a worker has in hand until the database knows how it ended.

    Args:
        store: the database.
        worker: whose jobs these are.

    Attributes:
        most: how many may wait to be written before no more attempts begin.
        held: by number, what is claimed and not settled yet.
        lost: how many settlements came too late: the worker had been taken for dead.
    """

    _store: Store
    _worker: str
    most: int = attrs.field(default=1, init=False)
    held: dict[int, Claimed] = attrs.field(factory=dict, init=False)
    lost: int = attrs.field(default=0, init=False)
    _waiting: list[Settlement] = attrs.field(factory=list, init=False)
    _writing: int = attrs.field(default=0, init=False)
    _change: Change = attrs.field(factory=Change, init=False)

    def hold(self, claimed: Claimed) -> None:
        """Note that a job is in hand."""
        self.held[claimed.number] = claimed

    def add(self, settlement: Settlement) -> None:
        """Have a settlement written soon."""
        self._waiting.append(settlement)
        self._change.tell()

    async def room(self) -> None:
        """Wait until few enough settlements wait."""
        await self._change.until(lambda: len(self._waiting) + self._writing <= self.most)

    async def run(self) -> None:
        """Write settlements, until cancelled; what is not written then is left for `write_rest()`.

        Raises:
            StoreCorrupt: the database is damaged.
            SchemaMismatch: it was migrated by a later release.
        """
        while True:
            await self._change.until(lambda: self._waiting)
            settlements, self._waiting = self._waiting, []
            self._writing = len(settlements)
            try:
                settled = await self._write(settlements)
            except BaseException:
                self._waiting = settlements + self._waiting
                raise
            finally:
                self._writing = 0
            self._note(settlements, settled)
            self._change.tell()

    async def write_rest(self) -> None:
        """Write what is left, once.

        Raises:
            StoreError: it cannot be written.
        """
        settlements, self._waiting = self._waiting, []
        if settlements:
            self._note(settlements, await self._store.settle(self._worker, settlements))

    def _note(self, settlements: list[Settlement], settled: list[bool]) -> None:
        for settlement, was_ours in zip(settlements, settled, strict=True):
            claimed = self.held.pop(settlement.number, None)
            if not was_ours:
                self.lost += 1
                logger.warning(
                    "job %s ended as %s, but was no longer this worker's; its state was left as it is",
                    settlement.number if claimed is None else claimed.id,
                    settlement.state,
                )

    async def _write(self, settlements: list[Settlement]) -> list[bool]:
        pause = _FIRST_PAUSE
        while True:
            try:
                return await self._store.settle(self._worker, settlements)
            except (StoreUnavailable, StoreFull) as error:
                if pause == _FIRST_PAUSE:
                    logger.warning("%d ended jobs cannot be settled yet: %s", len(settlements), error)
            await anyio.sleep(pause)
            pause = min(pause * 2, _LONGEST_PAUSE)
