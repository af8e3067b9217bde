"""One timer for the deadlines of all slots of a pool."""

from __future__ import annotations

import math
from collections.abc import Callable

import attrs

from fcgi_async.net.backend import Backend, Timer

__all__ = ("Sweep",)


@attrs.define(eq=False)
class Sweep:
    """Calls back when the nearest deadline has passed.

    Args:
        backend: the event loop.
        run: called with the time; sets the next deadline through `due()`.
    """

    backend: Backend
    run: Callable[[float], None]
    _timer: Timer | None = attrs.field(default=None, init=False)
    _at: float = attrs.field(default=math.inf, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    def due(self, delay: float) -> float:
        """Return the time in `delay` seconds, and call back at that time at the latest."""
        when = self.backend.now() + delay
        if when < self._at and not self._closed:
            if self._timer is not None:
                self._timer.cancel()
            self._at = when
            self._timer = self.backend.call_at(when, self._passed)
        return when

    def close(self) -> None:
        """Stop calling back."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _passed(self) -> None:
        self._timer, self._at = None, math.inf
        self.run(self.backend.now())
