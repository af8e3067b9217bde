"""The seam for telemetry of workers: observers are told about each attempt when it begins and when it ends."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Protocol

import attrs

from fcgi_async.jobs.record import Claimed, Counts, Settlement, State

__all__ = ("Attempt", "AttemptObservation", "Tally", "WorkerObserver", "WorkerStatistics", "begin")

logger = logging.getLogger("fcgi_async.jobs")


class AttemptObservation(Protocol):
    """Follows one attempt. It is synchronous and must be quick.

    Attributes:
        trace: the W3C traceparent for PHP; None for none.
    """

    @property
    def trace(self) -> str | None: ...

    def running(self) -> AbstractContextManager[object]:
        """Return a context manager for the time in which the attempt runs; it is entered in the task that runs it."""

    def done(self, settlement: Settlement) -> None:
        """Called once, when the attempt has ended, in any task."""


class WorkerObserver(Protocol):
    """Sees every attempt of a worker. It is synchronous; what it raises is logged and does not affect the jobs."""

    def attempt_began(self, claimed: Claimed, waited: float) -> AttemptObservation:
        """Return the observation of an attempt that is about to start.

        Args:
            claimed: the job.
            waited: seconds since it was claimed.
        """


@attrs.frozen(kw_only=True)
class WorkerStatistics:
    """What a worker does and has done.

    Attributes:
        in_hand: number of jobs that are claimed and not settled.
        claimed: number of jobs that it has claimed.
        ended: number of attempts that have ended, by the new state of the job: "done", "delayed" and "ready" if it is
            retried, "dead", "in_doubt".
        lost: number of its attempts that ended too late, because it was considered lost and its jobs went to others.
        recovered: number of jobs of lost workers that it has taken back.
        counts: the jobs in the database, at most about 15 s old; None if the worker has no observer, or has not counted
            yet.
    """

    in_hand: int
    claimed: int
    ended: Mapping[State, int]
    lost: int
    recovered: int
    counts: Counts | None


@attrs.define(eq=False)
class Tally:
    """The counters for `WorkerStatistics`."""

    claimed: int = 0
    ended: dict[State, int] = attrs.field(factory=dict)


@attrs.frozen(eq=False)
class Attempt:
    """One attempt and its observations."""

    claimed: Claimed
    _observations: Sequence[AttemptObservation]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Enter the context managers of the observations while the attempt runs."""
        with ExitStack() as stack:
            for observation in self._observations:
                try:
                    stack.enter_context(observation.running())
                except Exception:
                    logger.exception("the observation %r failed", observation)
            yield

    def done(self, settlement: Settlement) -> None:
        """Tell the observations about the end, in reverse order."""
        for observation in reversed(self._observations):
            try:
                observation.done(settlement)
            except Exception:
                logger.exception("the observation %r failed", observation)


def begin(observers: Sequence[WorkerObserver], claimed: Claimed, waited: float) -> Attempt:
    """Tell observers that an attempt begins; the job gets the trace of the last observation that has one."""
    observations: list[AttemptObservation] = []
    for observer in observers:
        try:
            observation = observer.attempt_began(claimed, waited)
            observations.append(observation)
            if observation.trace != claimed.trace:
                claimed = attrs.evolve(claimed, trace=observation.trace)
        except Exception:
            logger.exception("the observer %r failed", observer)
    return Attempt(claimed, observations)
