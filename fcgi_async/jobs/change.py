"""A condition that tasks of one event loop wait for."""

from __future__ import annotations

from collections.abc import Callable

import anyio
import attrs

__all__ = ("Change",)


@attrs.define(eq=False)
class Change:
    """Wakes all tasks that wait for a condition whenever it may have become true."""

    _event: anyio.Event = attrs.field(factory=anyio.Event, init=False)

    def tell(self) -> None:
        """Let all that wait look again."""
        event, self._event = self._event, anyio.Event()
        event.set()

    async def until(self, condition: Callable[[], object]) -> None:
        """Return once the condition holds, at once if it does."""
        while not condition():
            await self._event.wait()
