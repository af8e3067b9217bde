"""Whether a peer can be reached, and what that means for waiting jobs. Pure: callers pass the time."""

from __future__ import annotations

import attrs

__all__ = ("Reachability",)

_RETRY_MIN = 0.05
_RETRY_MAX = 1.0
# single closes can be a reload; three in a row are intentional: after GET_VALUES by PHP before 8.2.13 (php-src PR
# 12387), before its answer because of `listen.allowed_clients`
_CLOSES_MEANT = 3
_HEADLESS_SECONDS = 60.0


@attrs.define(eq=False)
class Reachability:
    """The state of one endpoint: never answered, reachable, or away.

    Args:
        reconnect_timeout: seconds that a peer may be away before jobs stop waiting for it, if it has answered before.
    """

    reconnect_timeout: float
    # do not try this peer before that time if there is another
    retry_at: float = attrs.field(default=0.0, init=False)
    # whether a request was served since the last failure
    proven: bool = attrs.field(default=False, init=False)
    # whether a worker has ever answered
    ever_answered: bool = attrs.field(default=False, init=False)
    _away_since: float | None = attrs.field(default=None, init=False)
    _delay: float = attrs.field(default=_RETRY_MIN, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _early_closes: int = attrs.field(default=0, init=False)
    # until when the peer is known to close after GET_VALUES; 0 for never
    headless_until: float = attrs.field(default=0.0, init=False)

    @property
    def away(self) -> bool:
        """Whether the last attempt to reach the peer failed."""
        return self._away_since is not None

    @property
    def down(self) -> bool:
        """Whether the peer is down, not just one worker: nothing listens, or it closed several connections in a row."""
        return self._failures >= _CLOSES_MEANT

    def answered(self) -> None:
        """Called when a worker has answered."""
        self.ever_answered = True
        if self._away_since is not None:
            self._away_since, self.retry_at = None, 0.0
        self._failures = 0
        self._delay = _RETRY_MIN

    def failed(self, now: float, *, closed: bool = False) -> float:
        """Called when the peer could not be reached, or `closed` before it answered; return the seconds to wait."""
        self.proven = False
        self._failures += 1 if closed else _CLOSES_MEANT
        if self._away_since is None:
            self._away_since = now
        delay = self._delay
        self.retry_at = now + delay
        self._delay = min(delay * 2, _RETRY_MAX)
        return delay

    def overloaded(self, now: float) -> None:
        """Called when the peer has refused a job because it has too many."""
        self.retry_at = max(self.retry_at, now + _RETRY_MIN)

    def given_up(self, now: float) -> bool:
        """Return whether jobs should fail instead of waiting for the peer."""
        if self._away_since is None:
            return False
        if not self.ever_answered:
            return self.down
        return now - self._away_since >= self.reconnect_timeout

    def served(self) -> None:
        """Called when a connection served a request after a head probe: the peer does not close after it."""
        if not self.proven:
            self.answered()
            self._early_closes = 0
            self.proven = True

    def closed_early(self, now: float) -> bool:
        """Called when the peer answered a head probe and then closed before it answered anything else.

        Return whether this is when it becomes known that the peer does so.
        """
        self.proven = False
        self._early_closes += 1
        if self._early_closes < _CLOSES_MEANT:
            return False
        first = not self.headless_until
        self.headless_until = now + _HEADLESS_SECONDS
        return first

    def closes_after_values(self, now: float) -> bool:
        """Return whether the peer is known to close after GET_VALUES, so that a job must be sent first."""
        return now < self.headless_until
