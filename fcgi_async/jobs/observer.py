"""The seam for telemetry of workers: who is told of each attempt when it begins and when it has ended."""

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
    """Follows one attempt. Synchronous: it must be quick.

    Attributes:
        trace: the W3C traceparent that PHP gets; None for none.
    """

    @property
    def trace(self) -> str | None: ...

    def running(self) -> AbstractContextManager[object]:
        """Return what is entered while the attempt is given to the dispatcher, in the task that does it."""

    def done(self, settlement: Settlement) -> None:
        """Note how the attempt ended; called once, in any task."""


class WorkerObserver(Protocol):
    """Sees every attempt of a worker. Synchronous; what it raises is logged, and does the jobs no harm."""

    def attempt_began(self, claimed: Claimed, waited: float) -> AttemptObservation:
        """Return what follows an attempt that is about to be given to PHP.

        Args:
            claimed: the job.
            waited: seconds since it was claimed.
        """


@attrs.frozen(kw_only=True)
class WorkerStatistics:
    """What a worker does and has done.

    Attributes:
        in_hand: how many jobs are claimed and not settled.
        claimed: how many it has claimed.
        ended: how many attempts have ended, by the state that the job got: "done", "delayed" and "ready" if it is tried
            again, "dead", "in_doubt".
        lost: how many of its attempts ended too late: it had been taken for dead, and its jobs given to others.
        recovered: how many jobs of other workers that were lost it has taken back.
        counts: how many jobs there are in the database, as it was seen at most 15 s ago or so; None if nobody observes
            the worker, or it has not looked yet.
    """

    in_hand: int
    claimed: int
    ended: Mapping[State, int]
    lost: int
    recovered: int
    counts: Counts | None


@attrs.define(eq=False)
class Tally:
    """What is counted for `WorkerStatistics`."""

    claimed: int = 0
    ended: dict[State, int] = attrs.field(factory=dict)
    recovered: int = 0
    counts: Counts | None = None


@attrs.frozen(eq=False)
class Attempt:
    """One attempt, and those who follow it."""

    claimed: Claimed
    _observations: Sequence[AttemptObservation]

    @contextmanager
    def running(self) -> Iterator[None]:
        """Enter what they have for the time in which the attempt runs."""
        with ExitStack() as stack:
            for observation in self._observations:
                try:
                    stack.enter_context(observation.running())
                except Exception:
                    logger.exception("the observation %r failed", observation)
            yield

    def done(self, settlement: Settlement) -> None:
        """Tell them how it ended; the last to begin first."""
        for observation in reversed(self._observations):
            try:
                observation.done(settlement)
            except Exception:
                logger.exception("the observation %r failed", observation)


def begin(observers: Sequence[WorkerObserver], claimed: Claimed, waited: float) -> Attempt:
    """Tell observers that an attempt begins; the job gets the trace of the last who has one, if there are any."""
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
