"""When a job was submitted, how long it may take, and where its time went."""

from __future__ import annotations

import math
from abc import abstractmethod

from fcgi_async.job.response import Timing
from fcgi_async.job.settings import Timeouts
from fcgi_async.net.backend import Backend, Timer
from fcgi_async.pool.attempt import Attempt

__all__ = ("Timed",)


class Timed:
    """The part of an execution that deals with time.

    Attributes:
        attempt: the last attempt, set when it starts.
        submitted: when the job was submitted.
    """

    attempt: Attempt | None = None
    submitted: float
    _timeouts: Timeouts
    # None if it has no deadline of its own
    _deadline: Timer | None = None

    @property
    @abstractmethod
    def _backend(self) -> Backend:
        """The event loop."""

    @abstractmethod
    def _deadline_passed(self, waited: float) -> None:
        """Called when a deadline has passed, `waited` seconds after the call."""

    def _set_deadline(self, now: float, stage: float | None) -> None:
        """Wake up at the deadline of this stage (queue or run), counted from `now`, or at the total deadline."""
        total = self._timeouts.total
        if self._deadline is not None:
            self._cancel_deadline()
        when = math.inf if total is None else self.submitted + total
        if stage is not None:
            when = min(when, now + stage)
        if when < math.inf:
            self._deadline = self._backend.call_at(when, self.wake_up)

    def _cancel_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def wake_up(self) -> None:
        """Called when a deadline has passed."""
        self._deadline = None
        self._deadline_passed(self._backend.now() - self.submitted)

    def timing_so_far(self) -> Timing:
        """Return where the time went so far."""
        if self.attempt is not None:
            return self._timing(self.attempt)
        waited = self._backend.now() - self.submitted
        return Timing(waited, 0.0, 0.0, waited)

    def _timing(self, attempt: Attempt) -> Timing:
        submitted, accepted, first_byte = self.submitted, attempt.accepted, attempt.first_byte
        # a response that came in one piece was complete at its first byte
        now = self._backend.now() if attempt.whole is None or first_byte is None else first_byte
        if first_byte is None:
            first_byte = now
        return Timing(accepted - submitted, attempt.connect, first_byte - accepted, now - submitted)

    @property
    def connected(self) -> float | None:
        """Seconds from the call until the connection that was opened for this job was ready, or None."""
        attempt = self.attempt
        if attempt is None or attempt.connected_at is None:
            return None
        return attempt.connected_at - self.submitted
