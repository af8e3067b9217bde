"""Deadlines of jobs that have the same time limit: they are due in the order of submission, without sorting."""

from __future__ import annotations

from itertools import islice
from typing import Generic, Protocol, TypeVar

from fcgi_async.net.backend import Backend, Timer

__all__ = ("Deadlines", "Due")

# how many jobs fail in one turn of the event loop; other tasks have to wait for that turn
_FAILED_AT_ONCE = 250


class Due(Protocol):
    """Something that has a deadline."""

    @property
    def submitted(self) -> float:
        """When its time began."""

    def wake_up(self) -> None:
        """Called when its time has passed."""


D = TypeVar("D", bound=Due)


class Deadlines(Generic[D]):
    """Wakes each job when its time has passed, with one timer for all of them.

    Args:
        backend: the event loop.
        seconds: the time limit of each job; None for no deadline.

    Attributes:
        seconds: as above.
        pending: the jobs that have not ended, in the order of submission.
    """

    __slots__ = ("_backend", "_timer", "pending", "seconds")

    def __init__(self, backend: Backend, seconds: float | None) -> None:
        self._backend, self.seconds = backend, seconds
        self.pending: dict[D, None] = {}
        self._timer: Timer | None = None

    def add(self, job: D) -> None:
        """Wake a job when its time has passed, unless it is removed from `pending` before."""
        self.pending[job] = None
        if self._timer is None:
            self._wait()

    def _wait(self) -> None:
        first = next(iter(self.pending), None)
        if first is not None and self._timer is None and self.seconds is not None:
            self._timer = self._backend.call_at(first.submitted + self.seconds, self._passed)

    def _passed(self) -> None:
        """Wake the jobs whose time has passed; the job that the timer was set for may have ended long ago."""
        self._timer = None
        pending, passed = self.pending, self._backend.now() - (self.seconds or 0.0)
        for job in tuple(islice(pending, _FAILED_AT_ONCE)):
            if job.submitted > passed:
                break
            # a job woken before it may have ended this one
            if job in pending:
                del pending[job]
                job.wake_up()
        self._wait()
