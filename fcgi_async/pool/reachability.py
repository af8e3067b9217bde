"""Whether a peer can be reached, and what that means for the jobs that wait for it. Pure: it is told the time."""

from __future__ import annotations

import errno

import attrs

__all__ = ("Reachability",)

_RETRY_MIN = 0.05
_RETRY_MAX = 1.0
# some closes can be a reload; three in a row are meant: after GET_VALUES by PHP before 8.2.13 (php-src PR 12387),
# before its answer by `listen.allowed_clients`
_CLOSES_MEANT = 3
_HEADLESS_SECONDS = 60.0

_ADVICE = {
    errno.ENOENT: "there is no such socket; compare with `listen` in FPM's pool configuration, and see that FPM runs",
    errno.ECONNREFUSED: "nothing listens there; see that FPM runs, and that the address is the one in `listen`",
    errno.EACCES: "this user may not open the socket; see `listen.owner`, `listen.group` and `listen.mode`",
    errno.EPERM: "this user may not open the socket; see `listen.owner`, `listen.group` and `listen.mode`",
    errno.ECONNRESET: "it closed before it answered; see `listen.allowed_clients`, and that the port speaks FastCGI",
    errno.ETIMEDOUT: "the handshake took too long; see the address, firewalls and `listen.backlog`",
}


@attrs.define(eq=False)
class Reachability:
    """The state of one endpoint between "never answered", "there" and "away".

    Args:
        reconnect_timeout: seconds that a peer which has answered before may be away before jobs should not wait for it.
    """

    reconnect_timeout: float
    # where there is another peer, this one is left alone until then
    retry_at: float = attrs.field(default=0.0, init=False)
    # whether a worker has ever answered
    ever_answered: bool = attrs.field(default=False, init=False)
    _away_since: float | None = attrs.field(default=None, init=False)
    _delay: float = attrs.field(default=_RETRY_MIN, init=False)
    _failures: int = attrs.field(default=0, init=False)
    _early_closes: int = attrs.field(default=0, init=False)
    # until then the peer is known to close after GET_VALUES; 0 if it never was
    headless_until: float = attrs.field(default=0.0, init=False)

    @property
    def away(self) -> bool:
        """Whether the last attempt to reach the peer failed."""
        return self._away_since is not None

    @property
    def meant(self) -> bool:
        """Whether it is more than one worker's leaving: nobody listens, or several connections in a row were closed."""
        return self._failures >= _CLOSES_MEANT

    def answered(self) -> None:
        """Called when a worker has answered."""
        self.ever_answered = True
        if self._away_since is not None:
            self._away_since, self.retry_at = None, 0.0
        self._failures = 0
        self._delay = _RETRY_MIN

    def failed(self, now: float, *, closed: bool = False) -> float:
        """Return the seconds to wait, after the peer could not be reached or `closed` before it answered."""
        self._failures += 1 if closed else _CLOSES_MEANT
        if self._away_since is None:
            self._away_since = now
        delay = self._delay
        self.retry_at = now + delay
        self._delay = min(delay * 2, _RETRY_MAX)
        return delay

    def overloaded(self, now: float) -> None:
        """Called when the peer is there, and refuses a job because it has too many."""
        self.retry_at = max(self.retry_at, now + _RETRY_MIN)

    def given_up(self, now: float) -> bool:
        """Return whether jobs should fail rather than wait for the peer."""
        if self._away_since is None:
            return False
        if not self.ever_answered:
            return self.meant
        return now - self._away_since >= self.reconnect_timeout

    def served(self) -> None:
        """Called when a connection served a request after a head probe: the peer does not close after it."""
        if self._away_since is not None or self._failures or self._early_closes or not self.ever_answered:
            self.answered()
            self._early_closes = 0

    def closed_early(self, now: float) -> bool:
        """Called when the peer answered a head probe, and closed before it answered anything else.

        Return whether it is now, and for the first time, known to do so.
        """
        self._early_closes += 1
        if self._early_closes < _CLOSES_MEANT:
            return False
        first = not self.headless_until
        self.headless_until = now + _HEADLESS_SECONDS
        return first

    def closes_after_values(self, now: float) -> bool:
        """Return whether the peer is known to close after GET_VALUES, so that a job must come before it."""
        return now < self.headless_until

    @staticmethod
    def explain(name: str, cause: Exception | None) -> str:
        """Return what to do about a peer that cannot be reached."""
        if isinstance(cause, TimeoutError):
            advice = _ADVICE[errno.ETIMEDOUT]
        elif isinstance(cause, OSError) and cause.errno in _ADVICE:
            advice = _ADVICE[cause.errno]
        elif cause is None:
            advice = _ADVICE[errno.ECONNRESET]
        else:
            advice = str(cause)
        return f"cannot reach PHP-FPM at {name}: {advice}"
