"""Let tasks of one event loop wait for a condition."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import attrs

__all__ = ("Change",)


@attrs.define(eq=False)
class Change:
    """Wakes all waiting tasks whenever the condition may have become true."""

    _event: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def tell(self) -> None:
        """Let all waiting tasks check again."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def wait(self) -> None:
        """Wait until it is told."""
        await self._event.wait()

    async def until(self, condition: Callable[[], object]) -> None:
        """Wait until the condition is true; return at once if it is."""
        while not condition():
            await self._event.wait()
