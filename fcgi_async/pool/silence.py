"""Warn about a peer that accepts connections but does not answer: busy workers and a wrong port look alike."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import Final

import attrs

from fcgi_async.net.backend import Backend, Timer

__all__ = ("SILENT_SECONDS", "Silence", "what_silence_means")

logger = logging.getLogger("fcgi_async.pool")

SILENT_SECONDS: Final = 5.0
# seconds in which the warning is not repeated for an endpoint
_QUIET_SECONDS: Final = 60.0


def what_silence_means(*, answered: bool) -> str:
    """Return possible reasons why no worker answers, and how to find out.

    Args:
        answered: whether the peer has answered before.
    """
    busy = "all of FPM's workers are busy (its status page, or `fcgi-async status`, shows with what)"
    if answered:
        return f"{busy}; raise pm.max_children, or Endpoint.reserve if others use them"
    return f"either {busy}, or what listens there is not a FastCGI server (compare the address with FPM's `listen`)"


@attrs.define(eq=False)
class Silence:
    """Warns at most once a minute for an endpoint.

    Args:
        name: the endpoint's address.
        backend: the event loop.
        still_waiting: returns whether a connection is unanswered and a job waits for it.
        answered_before: returns whether the peer has ever answered.
    """

    name: str
    backend: Backend
    still_waiting: Callable[[], bool]
    answered_before: Callable[[], bool]
    _timer: Timer | None = attrs.field(default=None, init=False)
    _since: float = attrs.field(default=0.0, init=False)
    _quiet_until: float = attrs.field(default=-math.inf, init=False)

    def begun(self) -> None:
        """Called when a connection was opened and its first answer is awaited."""
        if self._timer is None:
            self._since = self.backend.now()
            self._timer = self.backend.call_at(max(self._since + SILENT_SECONDS, self._quiet_until), self._look)

    def broken(self) -> None:
        """Called when the peer answers, or cannot be reached."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = None
        if not self.still_waiting():
            return
        now = self.backend.now()
        logger.warning(
            "%s has not answered for %.0f s, and jobs wait for it: %s",
            self.name,
            now - self._since,
            what_silence_means(answered=self.answered_before()),
        )
        self._quiet_until = now + _QUIET_SECONDS
        self._timer = self.backend.call_at(self._quiet_until, self._look)
