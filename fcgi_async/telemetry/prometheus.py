"""Metrics for Prometheus: statistics are read when it scrapes, and each job is put into histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import attrs

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "fcgi_async.telemetry.prometheus needs prometheus_client: pip install 'fcgi-async[prometheus]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.observer import JobReport
from fcgi_async.job.job import Job
from fcgi_async.jobs.record import Claimed, Settlement
from fcgi_async.telemetry.job_readings import ATTEMPTS, JOB_READINGS, START, JobReading, Workers, worker_name
from fcgi_async.telemetry.readings import BUCKETS, CONNECT, QUEUE, READINGS, TOTAL, Dispatchers, Duration, Reading

if TYPE_CHECKING:
    from fcgi_async.jobs.worker import Worker

__all__ = ("PrometheusCollector",)


class PrometheusCollector(Collector):
    """The metrics of any number of dispatchers, all labelled with their `dispatcher`'s name.

        collector = PrometheusCollector()
        async with collector.instrument(Dispatcher(...), name="thumbnails") as php: ...

    Args:
        registry: where it is registered; None: nowhere, the caller does that.
        buckets: upper bounds of the histograms' buckets, in seconds.
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY, *, buckets: tuple[float, ...] = BUCKETS) -> None:
        self._dispatchers = Dispatchers()
        self.total = _histogram(TOTAL, ("dispatcher", "script", "status", "error"), buckets)
        self.queue = _histogram(QUEUE, ("dispatcher",), buckets)
        self.connect = _histogram(CONNECT, ("dispatcher",), buckets)
        self._workers = Workers()
        self.start = _histogram(START, ("jobs",), buckets)
        self.attempts = Counter(ATTEMPTS[1], ATTEMPTS[2], ("jobs", "task", "state"), registry=None)
        if registry is not None:
            registry.register(self)

    def instrument(self, php: Dispatcher, *, name: str | None = None) -> Dispatcher:
        """Measure a dispatcher, before it is entered or after, and return it.

        Args:
            php: the dispatcher.
            name: the value of the label `dispatcher`; the addresses of its endpoints unless given. Those of the same
                name are added up.
        """
        php.observe(_Observer(self, self._dispatchers.add(php, name)))
        return php

    def instrument_worker(self, worker: Worker, *, name: str | None = None) -> Worker:
        """Measure a worker of durable jobs, before it runs, and return it.

        Args:
            worker: the worker; `instrument()` measures its dispatcher.
            name: the value of the label `jobs`; "jobs" unless given. Workers of one database should have the same.
        """
        name = worker_name(name)
        self._workers.add(worker, name)
        worker.observe(_WorkerObserver(self, name))
        return worker

    def collect(self) -> Iterator[Metric]:
        """Yield what is now; prometheus_client calls this, in a thread of its own or not."""
        statistics = self._dispatchers.statistics()
        for reading in READINGS:
            yield _family("dispatcher", reading, reading.values(statistics))
        for histogram in (self.total, self.queue, self.connect):
            yield from histogram.collect()
        yield from self._collect_jobs()

    def _collect_jobs(self) -> Iterator[Metric]:
        workers = self._workers.statistics()
        if not workers:
            return
        for reading in JOB_READINGS:
            yield _family("jobs", reading, reading.values(workers))
        yield from self.start.collect()
        yield from self.attempts.collect()


@attrs.frozen(eq=False)
class _Observer:
    """The `Observer` of one dispatcher, and what follows each of its jobs: nothing is kept of a job."""

    collector: PrometheusCollector
    name: str
    params: Mapping[str, str] = attrs.field(factory=dict, init=False)

    def job_submitted(self, job: Job) -> _Observer:
        return self

    def done(self, report: JobReport) -> None:
        response, error, timing = report.response, report.error, report.timing
        status = "" if response is None else str(response.status)
        failure = "" if error is None else type(error).__name__
        self.collector.total.labels(self.name, report.job.script, status, failure).observe(timing.total)
        self.collector.queue.labels(self.name).observe(timing.queued)
        if report.connected is not None:
            self.collector.connect.labels(self.name).observe(timing.connect)


@attrs.frozen(eq=False)
class _WorkerObserver:
    """The `WorkerObserver` of one worker."""

    collector: PrometheusCollector
    name: str

    def attempt_began(self, claimed: Claimed, waited: float) -> _AttemptObservation:
        self.collector.start.labels(self.name).observe(waited)
        return _AttemptObservation(self, claimed.task, claimed.trace)


@attrs.frozen(eq=False)
class _AttemptObservation:
    """Follows one attempt."""

    observer: _WorkerObserver
    task: str
    trace: str | None

    def running(self) -> AbstractContextManager[object]:
        return nullcontext()

    def done(self, settlement: Settlement) -> None:
        self.observer.collector.attempts.labels(self.observer.name, self.task, settlement.state).inc()


def _family(owner: str, reading: Reading | JobReading, values: Iterable[tuple[str, str, float]]) -> Metric:
    family = CounterMetricFamily if reading.counter else GaugeMetricFamily
    labels = (owner, reading.label) if reading.label else (owner,)
    metric = family(reading.prometheus, reading.help, labels=labels)
    for name, value, number in values:
        metric.add_metric([name, value][: len(labels)], number)
    return metric


def _histogram(duration: Duration, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(duration.prometheus, duration.help, labels, buckets=buckets, registry=None)
