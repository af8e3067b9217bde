"""Wakes every task that waits."""

from __future__ import annotations

from fcgi_async.net.backend import Backend, Waiter

__all__ = ("Bell",)


class Bell:
    """Tasks wait until it rings, and then check again for what they wait for.

    Args:
        backend: the event loop.

    Attributes:
        waiters: the waiters of the waiting tasks.
    """

    __slots__ = ("_backend", "waiters")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.waiters: list[Waiter] = []

    async def wait(self) -> None:
        """Wait until it rings; cancelling stops waiting."""
        waiter = self._backend.waiter()
        self.waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self.waiters:
                self.waiters.remove(waiter)

    def ring(self) -> None:
        """Wake all tasks that are waiting now."""
        waiters, self.waiters = self.waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
