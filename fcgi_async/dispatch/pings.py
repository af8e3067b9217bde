"""Pings: they wait for a worker's answer to GET_VALUES, ahead of all jobs."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fcgi_async.errors import FastCGIError
from fcgi_async.net.backend import Backend, Waiter
from fcgi_async.pool.attempt import JobSlot

__all__ = ("Pings",)


@attrs.define(eq=False)
class _Ping:
    answered: Waiter
    error: FastCGIError | None = attrs.field(default=None, init=False)

    def over(self, error: FastCGIError | None = None) -> None:
        self.error = error
        if not self.answered.done():
            self.answered.set_result(None)


@attrs.define(eq=False)
class Pings:
    """The pings of one dispatcher.

    Args:
        backend: the event loop.
        offer: called when another ping needs a worker.
    """

    backend: Backend
    offer: Callable[[], None]
    # pings that need a worker, and pings for which a kept connection was asked
    waiting: list[_Ping] = attrs.field(factory=list, init=False)
    _asking: set[_Ping] = attrs.field(factory=set, init=False)

    async def wait(self) -> None:
        """Wait until a worker answers.

        Raises:
            FastCGIError: the error that was passed to `fail()`.
        """
        ping = _Ping(self.backend.waiter())
        self.waiting.append(ping)
        try:
            self.offer()
            if ping.answered.done():
                await self.backend.checkpoint()
            await ping.answered
        finally:
            self._asking.discard(ping)
            if ping in self.waiting:
                self.waiting.remove(ping)
        if ping.error is not None:
            raise ping.error

    def ask(self, slot: JobSlot) -> None:
        """Ask a kept worker on behalf of the first ping."""
        ping = self.waiting.pop(0)
        self._asking.add(ping)

        def told(answered: bool) -> None:
            if ping not in self._asking:
                return
            self._asking.remove(ping)
            if answered:
                ping.over()
            else:
                # it left without an answer: ask another one
                self.waiting.insert(0, ping)

        # a ping may use any slot
        slot.peer.ledger.entering(None)
        slot.ask(told)

    def answered(self) -> None:
        """Called when a new worker has answered."""
        waiting, self.waiting = self.waiting, []
        for ping in waiting:
            ping.over()

    def fail(self, error: Callable[[], FastCGIError], *, asking: bool = False) -> None:
        """Fail the pings that need a worker; with `asking`, those too for which a worker was asked."""
        pings = (*self.waiting, *self._asking) if asking else tuple(self.waiting)
        self.waiting.clear()
        if asking:
            self._asking.clear()
        for ping in pings:
            ping.over(error())
