"""Lease: how long a worker's jobs are certainly its own."""

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
    """The announcement of a worker; on a server it is renewed before the worker counts as dead.

    Args:
        store: the database.
        worker: the worker's id.
        lanes: the queues that it takes jobs from.
    """

    _store: Store
    _worker: str
    _lanes: Sequence[Lane]
    # the time before the last renewal, by the monotonic clock, which also runs while the process is frozen
    _renewed: float = attrs.field(default=-math.inf, init=False)

    async def begin(self) -> None:
        """Announce the worker.

        Raises:
            StoreError: it could not be announced.
        """
        asked = time.monotonic()
        await self._store.register(self._worker, self._lanes)
        self._renewed = asked

    @property
    def is_over(self) -> bool:
        """Whether other workers may consider this one dead: jobs that it has not started may run elsewhere."""
        each = self._store.renewed_each()
        return each is not None and time.monotonic() - self._renewed > 3 * each

    async def keep(self, compare: Callable[[], Awaitable[None]]) -> None:
        """Renew it after each third of its time, until cancelled; return at once if the store has no leases.

        Args:
            compare: drops claimed jobs that have not started and belong to other workers now.
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
                # in this order: it must not look alive while jobs that it has lost may still start
                await compare()
                await self.begin()
