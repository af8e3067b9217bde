"""Tasks that wait until a number of workers could take a job."""

from __future__ import annotations

from collections.abc import Callable

import attrs

from fcgi_async.net.backend import Backend, Waiter

__all__ = ("RoomWaiters",)


@attrs.define(eq=False)
class RoomWaiters:
    """Wakes each task when there is enough room for it; the task has to check again.

    Args:
        backend: the event loop.
        room: returns how many jobs of a priority would get a worker now.
    """

    backend: Backend
    room: Callable[[int], int]
    # by waiter: number of jobs, and their priority
    waiting: dict[Waiter, tuple[int, int]] = attrs.field(factory=dict, init=False)

    async def wait(self, count: int, priority: int) -> None:
        """Wait for a change after which there is room for `count` jobs of a priority."""
        waiter = self.backend.waiter()
        self.waiting[waiter] = (count, priority)
        try:
            await waiter
        finally:
            self.waiting.pop(waiter, None)

    def changed(self) -> None:
        """Wake the tasks that now have room."""
        for waiter, (count, priority) in tuple(self.waiting.items()):
            if self.room(priority) >= count:
                self._wake(waiter)

    def wake(self) -> None:
        """Wake all tasks."""
        for waiter in tuple(self.waiting):
            self._wake(waiter)

    def _wake(self, waiter: Waiter) -> None:
        del self.waiting[waiter]
        if not waiter.done():
            waiter.set_result(None)
