"""Wakes every task that waits."""

from __future__ import annotations

from fcgi_async.net.backend import Backend, Waiter

__all__ = ("Bell",)


class Bell:
    """Tasks wait until it is rung, and look then whether what they wait for has come.

    Args:
        backend: the event loop.
    """

    __slots__ = ("_backend", "_waiters")

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._waiters: list[Waiter] = []

    def __bool__(self) -> bool:
        """Return whether anybody waits."""
        return bool(self._waiters)

    async def wait(self) -> None:
        """Wait until it is rung; cancelling waits no longer."""
        waiter = self._backend.waiter()
        self._waiters.append(waiter)
        try:
            await waiter
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)

    def ring(self) -> None:
        """Wake those who wait now."""
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
