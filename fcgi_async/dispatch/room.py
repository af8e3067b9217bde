"""Who waits until so many workers could take a job."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fcgi_async.net.backend import Backend, Waiter

__all__ = ("RoomWaiters",)


@attrs.define(eq=False)
class RoomWaiters:
    """Wakes tasks once there is room enough for each; what they find then is theirs to look at.

    Args:
        backend: the event loop.
        room: returns how many jobs of a priority would get a worker if they came now.
    """

    backend: Backend
    room: Callable[[int], int]
    # by waiter: how many, and for which priority
    waiting: dict[Waiter, tuple[int, int]] = attrs.field(factory=dict, init=False)

    async def wait(self, count: int, priority: int) -> None:
        """Wait for a change that leaves room for `count` jobs of a priority."""
        waiter = self.backend.waiter()
        self.waiting[waiter] = (count, priority)
        try:
            await waiter
        finally:
            self.waiting.pop(waiter, None)

    def changed(self) -> None:
        """Wake those for whom there is room now."""
        for waiter, (count, priority) in tuple(self.waiting.items()):
            if self.room(priority) >= count:
                self._wake(waiter)

    def wake(self) -> None:
        """Wake all of them."""
        for waiter in tuple(self.waiting):
            self._wake(waiter)

    def _wake(self, waiter: Waiter) -> None:
        del self.waiting[waiter]
        if not waiter.done():
            waiter.set_result(None)
