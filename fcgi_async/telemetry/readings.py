"""The metrics from `Dispatcher.statistics()`, and durations, with the names that each system expects."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from threading import Lock
from typing import Final, Generic, Protocol, TypeVar

import attrs

from fcgi_async.dispatch.observer import Observer
from fcgi_async.dispatch.statistics import Statistics
from fcgi_async.errors import DispatcherClosed
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.pool.slots import SlotState

__all__ = (
    "BUCKETS",
    "CONNECT",
    "DURATIONS",
    "PHP_ERROR",
    "QUEUE",
    "READINGS",
    "TOTAL",
    "Dispatchers",
    "Duration",
    "Measured",
    "Reading",
)

# seconds; the buckets that OpenTelemetry's conventions advise for http.client.request.duration
BUCKETS: Final = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0)


@attrs.frozen
class Duration:
    """A histogram of seconds in which each job is counted.

    Attributes:
        otel: its name in OpenTelemetry.
        prometheus: its name in Prometheus.
        help: the help text.
    """

    otel: str
    prometheus: str
    help: str


TOTAL: Final = Duration(
    "fcgi.client.job.duration",
    "fcgi_job_duration_seconds",
    "From the call to the end of the response, or to the error.",
)
QUEUE: Final = Duration(
    "fcgi.client.job.queue.duration",
    "fcgi_job_queue_seconds",
    "From the call until a worker took the job, or the job ended without one.",
)
CONNECT: Final = Duration(
    "fcgi.client.connection.create_time",
    "fcgi_connect_seconds",
    "The connect() call of connections that were opened for a job.",
)
DURATIONS: Final = (TOTAL, QUEUE, CONNECT)
# the outcome of a job at which PHP failed, and its error type if its status is below 400
PHP_ERROR: Final = "php_error"


# what is read: the statistics of a dispatcher, or of a gateway
Read = TypeVar("Read")


@attrs.frozen
class Reading(Generic[Read]):
    """One metric.

    Attributes:
        otel: its name in OpenTelemetry.
        prometheus: its name in Prometheus, without the `_total` of a counter.
        counter: whether it only rises.
        unit: in UCUM, as OpenTelemetry uses it.
        help: the help text.
        read: its value, or its values by the label's value.
        attribute: the label's name in OpenTelemetry.
        label: the label's name in Prometheus; empty if there is none.
    """

    otel: str
    prometheus: str
    counter: bool
    unit: str
    help: str
    read: Callable[[Read], Mapping[str, int]]
    attribute: str = ""
    label: str = ""

    def values(self, owners: Iterable[tuple[str, Read]]) -> Iterator[tuple[str, str, int]]:
        """Yield the name of what is read, what the label says, and the value; those of the same name are added up."""
        sums: dict[tuple[str, str], int] = {}
        for name, now in owners:
            for value, number in self.read(now).items():
                sums[name, value] = sums.get((name, value), 0) + number
        for (name, value), number in sums.items():
            yield name, value, number


def _only(name: str) -> Callable[[Statistics], Mapping[str, int]]:
    return lambda now: {"": getattr(now, name)}


def _each(**fields: str) -> Callable[[Statistics], Mapping[str, int]]:
    return lambda now: {value: getattr(now, name) for value, name in fields.items()}


def _ended(now: Statistics) -> Mapping[str, int]:
    return {
        "completed": now.completed - now.php_errors,
        PHP_ERROR: now.php_errors,
        "failed": now.failed,
        "cancelled": now.cancelled,
    }


READINGS: Final[tuple[Reading[Statistics], ...]] = (
    Reading(
        "fcgi.client.slot.count",
        "fcgi_slots",
        False,
        "{slot}",
        "Workers of PHP-FPM that the dispatcher may occupy, by what they do for it.",
        _each(**{state.value: state.value for state in SlotState}),
        "fcgi.slot.state",
        "state",
    ),
    Reading(
        "fcgi.client.slot.limit",
        "fcgi_slots_limit",
        False,
        "{slot}",
        "Most workers that the dispatcher may occupy: its share.",
        _only("share"),
    ),
    Reading(
        "fcgi.client.job.count",
        "fcgi_jobs",
        False,
        "{job}",
        "Jobs that have not ended: in the queue, outside the full queue, or running.",
        lambda now: {"queued": now.queued - now.outside, "outside": now.outside, "running": now.running},
        "fcgi.job.state",
        "state",
    ),
    Reading(
        "fcgi.client.endpoint.away",
        "fcgi_endpoints_away",
        False,
        "{endpoint}",
        "Endpoints that could not be reached at the last attempt.",
        _only("endpoints_away"),
    ),
    Reading(
        "fcgi.client.job.ended",
        "fcgi_jobs_ended",
        True,
        "{job}",
        "Jobs that have ended: with a response, with the response of a failed script (php_error), with an error, "
        "or cancelled by their own side.",
        _ended,
        "fcgi.job.outcome",
        "outcome",
    ),
    Reading(
        "fcgi.client.job.timeouts",
        "fcgi_job_timeouts",
        True,
        "{job}",
        "Jobs whose deadline passed before a worker took them, or while they ran.",
        _each(queue="queue_timeouts", run="job_timeouts"),
        "fcgi.job.stage",
        "stage",
    ),
    Reading(
        "fcgi.client.job.retries",
        "fcgi_job_retries",
        True,
        "{attempt}",
        "Attempts after the first.",
        _only("retried"),
    ),
    Reading(
        "fcgi.client.job.rejections",
        "fcgi_jobs_rejected",
        True,
        "{job}",
        "Jobs refused because the queue was full.",
        _only("rejected"),
    ),
    Reading(
        "fcgi.client.connection.created",
        "fcgi_connections_opened",
        True,
        "{connection}",
        "Connections made.",
        _only("connections_opened"),
    ),
    Reading(
        "fcgi.client.connection.failures",
        "fcgi_connections_failed",
        True,
        "{connection}",
        "Connections that failed: refused, or closed before a worker answered.",
        _only("connections_failed"),
    ),
    Reading(
        "fcgi.client.record.strays",
        "fcgi_stray_records",
        True,
        "{record}",
        "Records of finished requests that were dropped.",
        _only("stray_records"),
    ),
)


_FIELDS: Final = tuple(field.name for field in attrs.fields(Statistics))
# the gauges come first
_COUNTERS: Final = _FIELDS[_FIELDS.index("completed") :]


class Measured(Protocol):
    """A dispatcher: `fcgi_async.Dispatcher`, or that of `fcgi_async.sync`."""

    @property
    def closed(self) -> bool: ...

    @property
    def endpoints(self) -> tuple[Endpoint, ...]: ...

    def statistics(self) -> Statistics: ...

    def observe(self, observer: Observer) -> None: ...


@attrs.define(eq=False)
class Dispatchers:
    """The dispatchers to read statistics from, by name.

    A closed dispatcher is dropped at the next reading. Its counts stay in the counters of its name, which never fall.
    """

    _live: list[tuple[Measured, str]] = attrs.field(factory=list, init=False)
    _ended: dict[str, Statistics] = attrs.field(factory=dict, init=False)
    # any thread may read
    _lock: Lock = attrs.field(factory=Lock, init=False)

    def add(self, php: Measured, name: str | None) -> str:
        """Read a dispatcher from now on, and return its name: `name`, or by default the addresses of its endpoints."""
        if name is None:
            name = ",".join(str(endpoint.address) for endpoint in php.endpoints)
        with self._lock:
            self._live.append((php, name))
        return name

    def has(self, php: Measured) -> bool:
        """Return whether a dispatcher is being read."""
        with self._lock:
            return any(php is known for known, _ in self._live)

    def statistics(self) -> list[tuple[str, Statistics]]:
        """Return the statistics of each dispatcher that has been entered."""
        with self._lock:
            live, self._live = self._live, []
            found = []
            for php, name in live:
                closed = php.closed
                if not closed:
                    self._live.append((php, name))
                with suppress(DispatcherClosed):
                    now = php.statistics()
                    if closed:
                        self._ended[name] = _add_counters(self._ended.get(name), now)
                    else:
                        found.append((name, now))
            return [*found, *self._ended.items()]


def _add_counters(before: Statistics | None, last: Statistics) -> Statistics:
    """Return the counters of both added up; the gauges of a closed dispatcher are 0."""
    numbers = dict.fromkeys(_FIELDS, 0)
    for statistics in (last,) if before is None else (before, last):
        for name in _COUNTERS:
            numbers[name] += getattr(statistics, name)
    return Statistics(**numbers)
