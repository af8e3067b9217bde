"""When a job was handed in, how long it may take, and where its time went."""

from __future__ import annotations

import math
from abc import abstractmethod

from fcgi_async.job.response import Timing
from fcgi_async.job.settings import Timeouts
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.pool.attempt import Attempt

__all__ = ("Timed",)


class Timed:
    """What an execution has of the clock.

    Args:
        backend: the event loop.
        timeouts: of the job.

    Attributes:
        attempt: the last one, from its beginning on.
    """

    attempt: Attempt | None = None
    _deadline: Timer | None = None

    def __init__(self, backend: Backend, timeouts: Timeouts) -> None:
        self._backend, self._timeouts = backend, timeouts
        self._submitted = now = backend.now()
        if timeouts.total is not None or timeouts.queue is not None:
            self._set_deadline(now, timeouts.queue)

    @abstractmethod
    def _deadline_passed(self, waited: float) -> None:
        """Called when a deadline has passed, `waited` seconds after the call."""

    def _set_deadline(self, now: float, stage: float | None) -> None:
        """Wake up when the time of this stage, queue or run, has passed since `now`, or that of the whole."""
        total = self._timeouts.total
        if self._deadline is not None:
            self._cancel_deadline()
        when = math.inf if total is None else self._submitted + total
        if stage is not None:
            when = min(when, now + stage)
        if when < math.inf:
            self._deadline = self._backend.call_at(when, self._wake_up)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _wake_up(self) -> None:
        self._deadline = None
        self._deadline_passed(self._backend.now() - self._submitted)

    def timing_so_far(self) -> Timing:
        """Return where the time went until now."""
        if self.attempt is not None:
            return self._timing(self.attempt)
        waited = self._backend.now() - self._submitted
        return Timing(waited, 0.0, 0.0, waited)

    def _timing(self, attempt: Attempt) -> Timing:
        submitted, accepted, first_byte = self._submitted, attempt.accepted, attempt.first_byte
        # a response that came in one has come at its first byte
        now = self._backend.now() if attempt.whole is None or first_byte is None else first_byte
        if first_byte is None:
            first_byte = now
        return Timing(accepted - submitted, attempt.connect, first_byte - accepted, now - submitted)

    @property
    def connected(self) -> float | None:
        """Seconds from the call until the connection was there that was new for this job, or None."""
        attempt = self.attempt
        if attempt is None or attempt.connected_at is None:
            return None
        return attempt.connected_at - self._submitted
