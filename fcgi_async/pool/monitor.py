"""Polls FPM's status page: releases slots of finished abandoned scripts, and warns about missing workers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable

import anyio
import anyio.lowlevel
import attrs

from fcgi_async.errors import StatusUnavailable
from fcgi_async.fpm.status import PoolStatus, fetch_status
from fcgi_async.net.backend import Backend, TaskHandle
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.slots import SlotLedger, SlotState, Snapshot

__all__ = ("StatusMonitor",)

logger = logging.getLogger("fcgi_async.pool")

# seconds between two requests while slots linger, and the timeout of one
_LOOK_MIN = 0.25
_LOOK_MAX = 1.0
_LOOK_TIMEOUT = 2.0
# seconds in which the same warning is not repeated
_QUIET_SECONDS = 60.0


@attrs.define
class _Warned:
    """The warnings that were logged already."""

    _holds: bool = attrs.field(default=False, init=False)
    _quiet_until: float = attrs.field(default=-math.inf, init=False)

    def due(self, holds: bool, now: float) -> bool:
        """Return whether to warn: `holds` has just become true, and there was no such warning recently."""
        if not holds:
            self._holds = False
        elif not self._holds and now >= self._quiet_until:
            self._holds, self._quiet_until = True, now + _QUIET_SECONDS
            return True
        return False


@attrs.define(eq=False)
class StatusMonitor:
    """Asks the status page on request, and by itself while slots linger.

    By itself it asks only a page with its own address (`pm.status_listen`): on the pool's address it would take a
    worker.

    Args:
        endpoint: the endpoint with the page.
        backend: the event loop; owns the task that asks.
        ledger: the pool's ledger; slots whose scripts have ended are given back to it.
        capacity_freed: called after slots were given back.
    """

    endpoint: Endpoint
    backend: Backend
    ledger: SlotLedger
    capacity_freed: Callable[[], None]
    _looking: TaskHandle | None = attrs.field(default=None, init=False)
    _delay: float = attrs.field(default=_LOOK_MIN, init=False)
    # warnings that were logged already
    _away: bool = attrs.field(default=False, init=False)
    _crowded: _Warned = attrs.field(factory=_Warned, init=False)
    _too_few: _Warned = attrs.field(factory=_Warned, init=False)
    _abandoned: _Warned = attrs.field(factory=_Warned, init=False)

    async def fetch(self, timeout: float) -> PoolStatus:
        """Ask the page now, and act on the answer.

        Args:
            timeout: seconds to wait at most.

        Raises:
            StatusUnavailable: there is no page, or it did not answer in time; the error tells what to configure.

        Cancelling closes the connection.
        """
        page = self.endpoint.status
        if page is None:
            raise StatusUnavailable(
                f"endpoint {self.endpoint.address} has no status page: set pm.status_path and pm.status_listen in that "
                "pool's configuration, and give Endpoint(status=StatusPage(address, path=...))",
                endpoint=str(self.endpoint.address),
            )
        snapshot = self.ledger.snapshot()
        status = await fetch_status(page, timeout=timeout)
        # first let a connection end whose worker died before FPM answered
        await anyio.lowlevel.checkpoint()
        self._warn_where_too_few(status)
        # the worker that answers is not counted
        self._judge(snapshot, status.active - (page.address == self.endpoint.address))
        return status

    def slot_lingers(self) -> None:
        """Called when a connection was closed under a script."""
        self._warn_where_abandoned()
        page = self.endpoint.status
        if page is None or page.address == self.endpoint.address:
            return
        self._delay = _LOOK_MIN
        if self._looking is None:
            self._looking = self.backend.spawn(self._look)

    def close(self) -> None:
        """Stop asking."""
        if self._looking is not None:
            self._looking.cancel()

    async def _look(self) -> None:
        try:
            while self.ledger.counts[SlotState.LINGERING]:
                await anyio.sleep(self._delay)
                self._delay = min(self._delay * 2, _LOOK_MAX)
                await self._look_once()
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        try:
            await self.fetch(_LOOK_TIMEOUT)
        except StatusUnavailable as error:
            if not self._away:
                logger.warning(
                    "%s; until it answers, slots of abandoned scripts are given back only after Endpoint.linger", error
                )
            self._away = True
        else:
            if self._away:
                logger.info("the status page of %s answers again", self.endpoint.address)
            self._away = False

    def _judge(self, snapshot: Snapshot, active: int) -> None:
        ended = self.ledger.ended(snapshot, active)
        for slot in ended:
            self.ledger.release(slot)
        self._warn_where_abandoned()
        self._warn_where_crowded(self.ledger.others(snapshot, active))
        if ended:
            logger.debug("%s: %d abandoned script(s) have ended", self.endpoint.address, len(ended))
            self.capacity_freed()

    def _warn_where_crowded(self, others: int) -> None:
        endpoint = self.endpoint
        left = (endpoint.max_children or 0) - endpoint.share
        if self._crowded.due(others > left, self.backend.now()):
            logger.warning(
                "%s: others use %d of its workers, where %d of %d are left to them; jobs will wait in FPM's listen "
                "queue, without priorities: raise Endpoint.reserve, or pm.max_children",
                endpoint.address,
                others,
                left,
                endpoint.max_children,
            )

    def _warn_where_too_few(self, status: PoolStatus) -> None:
        endpoint, configured = self.endpoint, self.endpoint.max_children or 0
        # with other pm settings, workers come and go
        too_few = status.process_manager == "static" and status.total < configured
        if self._too_few.due(too_few, self.backend.now()):
            logger.warning(
                "%s: FPM has %d workers, where Endpoint.max_children says %d; jobs will wait in FPM's listen queue, "
                "without priorities: give pm.max_children as FPM has it",
                endpoint.address,
                status.total,
                configured,
            )

    def _warn_where_abandoned(self) -> None:
        share, lingering = self.ledger.share, self.ledger.counts[SlotState.LINGERING]
        if self._abandoned.due(2 * lingering > share, self.backend.now()):
            logger.warning(
                "%s: %d of our %d workers are held by scripts that nobody waits for any more, each until it is known "
                "to have ended or Endpoint.linger has passed; jobs wait for the others: let scripts end when their "
                "caller is gone, and lower request_terminate_timeout",
                self.endpoint.address,
                lingering,
                share,
            )
