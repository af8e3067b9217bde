"""Close a connection when it has been without a request for long enough."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.net.backend import Backend, Timer

__all__ = ("Idling",)


class Idling:
    """The idle time of one connection.

    Args:
        backend: the event loop.
        patience: seconds that it may be idle.
        is_idle: returns whether it has no request now.
        expired: called when it was idle for that long.
    """

    def __init__(
        self, backend: Backend, patience: float, is_idle: Callable[[], bool], expired: Callable[[], None]
    ) -> None:
        self._backend, self._patience, self._is_idle, self._expired = backend, patience, is_idle, expired
        self._since = 0.0
        self._timer: Timer | None = None

    def begin(self) -> None:
        """Called when it has become idle."""
        self._since = self._backend.now()
        if self._timer is None:
            self._look()

    def stop(self) -> None:
        """Called when the connection has ended."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self._is_idle():
            return
        when = self._since + self._patience
        if when <= self._backend.now():
            self._expired()
        else:
            self._timer = self._backend.call_at(when, self._look)
