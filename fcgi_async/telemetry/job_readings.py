"""The metrics of durable jobs, with the names that each system expects."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from fcgi_async.telemetry.readings import Duration

if TYPE_CHECKING:
    from fcgi_async.jobs.observer import WorkerStatistics
    from fcgi_async.jobs.worker import Worker

__all__ = ("ATTEMPTS", "JOB_READINGS", "START", "JobReading", "Workers", "worker_name")

START: Final = Duration(
    "fcgi.jobs.start.duration",
    "fcgi_durable_start_seconds",
    "From the claim of a durable job until PHP got it.",
)
# the name in OpenTelemetry, the name in Prometheus, and the help text
ATTEMPTS: Final = ("fcgi.jobs.attempts", "fcgi_durable_attempts", "Attempts of durable jobs that have ended.")


class _Read(Protocol):
    def __call__(self, now: WorkerStatistics) -> Mapping[str, float]: ...


@attrs.frozen
class JobReading:
    """One metric of workers.

    Attributes:
        otel: its name in OpenTelemetry.
        prometheus: its name in Prometheus, without the `_total` of a counter.
        counter: whether it only rises.
        unit: in UCUM.
        help: the help text.
        read: its value, or its values by state; none if they are not known.
        shared: whether all workers of a database report the same value, so that one of them is enough.
        label: the label's name in Prometheus; empty if there is none.
    """

    otel: str
    prometheus: str
    counter: bool
    unit: str
    help: str
    read: _Read
    shared: bool = False
    label: str = ""

    def values(self, workers: Iterable[tuple[str, WorkerStatistics]]) -> Iterator[tuple[str, str, float]]:
        """Yield the worker's name, the label's value, and the reading; readings of the same name are added up."""
        found: dict[tuple[str, str], float] = {}
        for name, now in workers:
            for value, number in self.read(now).items():
                before = found.get((name, value), 0)
                found[name, value] = number if self.shared else before + number
        for (name, value), number in found.items():
            yield name, value, number


def _states(now: WorkerStatistics) -> Mapping[str, float]:
    return {} if now.counts is None else {str(state): number for state, number in now.counts.states.items()}


def _oldest(now: WorkerStatistics) -> Mapping[str, float]:
    return {} if now.counts is None else {"": now.counts.oldest or 0.0}


def _workers(now: WorkerStatistics) -> Mapping[str, float]:
    return {} if now.counts is None else {"": len(now.counts.workers)}


JOB_READINGS: Final = (
    JobReading(
        "fcgi.jobs.count",
        "fcgi_durable_jobs",
        False,
        "{job}",
        "Durable jobs in the database, by state; done ones as long as they are kept.",
        _states,
        shared=True,
        label="state",
    ),
    JobReading(
        "fcgi.jobs.oldest",
        "fcgi_durable_oldest_seconds",
        False,
        "s",
        "How long the oldest ready durable job has been due.",
        _oldest,
        shared=True,
    ),
    JobReading(
        "fcgi.jobs.workers",
        "fcgi_durable_workers",
        False,
        "{worker}",
        "Workers registered in the database.",
        _workers,
        shared=True,
    ),
    JobReading(
        "fcgi.jobs.in_hand",
        "fcgi_durable_in_hand",
        False,
        "{job}",
        "Durable jobs that this process's workers have claimed and not settled.",
        lambda now: {"": now.in_hand},
    ),
    JobReading(
        "fcgi.jobs.lost",
        "fcgi_durable_lost",
        True,
        "{attempt}",
        "Attempts that ended too late: the worker had been considered lost, and its jobs given to others.",
        lambda now: {"": now.lost},
    ),
    JobReading(
        "fcgi.jobs.recovered",
        "fcgi_durable_recovered",
        True,
        "{job}",
        "Durable jobs of lost workers that this process's workers have taken back.",
        lambda now: {"": now.recovered},
    ),
)


@attrs.define(eq=False)
class Workers:
    """The workers to read statistics from, by name."""

    _workers: list[tuple[Worker, str]] = attrs.field(factory=list, init=False)
    # any thread may read
    _lock: Lock = attrs.field(factory=Lock, init=False)

    def add(self, worker: Worker, name: str) -> None:
        """Read a worker from now on."""
        with self._lock:
            self._workers.append((worker, name))

    def statistics(self) -> list[tuple[str, WorkerStatistics]]:
        """Return the statistics of each worker."""
        with self._lock:
            return [(name, worker.statistics()) for worker, name in self._workers]


def worker_name(name: str | None) -> str:
    """Return the name for the label of a worker's metrics."""
    return "jobs" if name is None else name
