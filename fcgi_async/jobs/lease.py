"""Lease: how long a worker may take for granted that its jobs are its own."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import anyio
import attrs

from fcgi_async.jobs.errors import StoreFull, StoreUnavailable
from fcgi_async.jobs.record import Lane
from fcgi_async.jobs.store import Store

__all__ = ("Lease",)

logger = logging.getLogger("fcgi_async.jobs")


@attrs.define(eq=False)
class Lease:
    """The announcement of a worker, which on a server it renews before it is taken for dead.

    Args:
        store: the database.
        worker: who is announced.
        lanes: what it may take.
    """

    _store: Store
    _worker: str
    _lanes: Sequence[Lane]
    # before the last call that renewed it, by the monotonic clock, which goes on while the process is frozen
    _renewed: float = attrs.field(default=-math.inf, init=False)

    async def begin(self) -> None:
        """Announce the worker.

        Raises:
            StoreError: it is not announced.
        """
        asked = time.monotonic()
        await self._store.register(self._worker, self._lanes)
        self._renewed = asked

    @property
    def is_over(self) -> bool:
        """Whether others may have taken the worker for dead: what it has not begun may be at work elsewhere."""
        each = self._store.renewed_each()
        return each is not None and time.monotonic() - self._renewed > 3 * each

    async def keep(self, compare: Callable[[], Awaitable[None]]) -> None:
        """Renew it each third of its time, until cancelled; return at once if there is none.

        Args:
            compare: drops what is claimed, has not begun, and is others' now.
        """
        each = self._store.renewed_each()
        while each is not None:
            await anyio.sleep(each)
            with suppress(StoreUnavailable, StoreFull):
                asked = time.monotonic()
                if await self._store.renew(self._worker):
                    self._renewed = asked
                    continue
                logger.error("this worker was considered lost, and its jobs went to others")
                # in this order: it must not look alive while what it has lost may still begin
                await compare()
                await self.begin()
