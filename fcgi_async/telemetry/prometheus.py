"""Metrics for Prometheus: statistics are read at each scrape, and each job is counted in histograms."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, TypeVar

import attrs

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Histogram
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise ImportError(
        "metrics for Prometheus need prometheus_client: pip install 'fcgi-async[prometheus]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.dispatch.observer import JobReport
from fcgi_async.job.job import Job
from fcgi_async.job.php_error import SERVER_ERROR
from fcgi_async.jobs.record import Claimed, Settlement
from fcgi_async.telemetry.gateway_readings import GATEWAY_READINGS, Gateways
from fcgi_async.telemetry.job_readings import ATTEMPTS, JOB_READINGS, START, JobReading, Workers, worker_name
from fcgi_async.telemetry.readings import (
    BUCKETS,
    CONNECT,
    PHP_ERROR,
    QUEUE,
    READINGS,
    TOTAL,
    Dispatchers,
    Duration,
    Measured,
    Reading,
)
from fcgi_async.telemetry.routes import Route, Routes, Scripts

if TYPE_CHECKING:
    from fcgi_async.dispatch.statistics import Statistics
    from fcgi_async.gateway.gateway import Gateway, GatewayStatistics
    from fcgi_async.jobs.worker import Worker

__all__ = ("PrometheusCollector",)

_Php = TypeVar("_Php", bound=Measured)


class PrometheusCollector(Collector):
    """The metrics of any number of dispatchers, labelled `dispatcher` with their names.

        collector = PrometheusCollector()
        async with collector.instrument(Dispatcher(...), name="thumbnails") as php: ...

    Args:
        registry: the registry to register in; None if the caller registers it.
        buckets: upper bounds of the histograms' buckets, in seconds.
    """

    def __init__(self, registry: CollectorRegistry | None = REGISTRY, *, buckets: tuple[float, ...] = BUCKETS) -> None:
        self._dispatchers = Dispatchers()
        self.total = _histogram(TOTAL, ("dispatcher", "script", "route", "status", "error"), buckets)
        self.queue = _histogram(QUEUE, ("dispatcher",), buckets)
        self.connect = _histogram(CONNECT, ("dispatcher",), buckets)
        self._gateways = Gateways()
        self._workers = Workers()
        self.start = _histogram(START, ("jobs",), buckets)
        self.attempts = Counter(ATTEMPTS[1], ATTEMPTS[2], ("jobs", "task", "state"), registry=None)
        if registry is not None:
            registry.register(self)

    def instrument(self, php: _Php, *, name: str | None = None, route: Route | None = None) -> _Php:
        """Measure a dispatcher, and return it; call this before or after entering it.

        Args:
            php: the dispatcher, or one of `fcgi_async.sync`.
            name: the value of the label `dispatcher`; the default is the addresses of its endpoints. Dispatchers of the
                same name are added up.
            route: called with each job at its end; it returns the value of the label `route`, for example
                `lambda job: job.tag`. It must return few different values, because each is a time series; from the
                201st on, they count as "other". The default is the name of the job's view.
        """
        php.observe(_Observer(self, self._dispatchers.add(php, name), Routes(route), Scripts()))
        return php

    def instrument_gateway(self, gateway: Gateway, *, name: str | None = None) -> Gateway:
        """Measure a gateway, before it is entered or after, and return it; its requests are its dispatcher's jobs.

        Args:
            gateway: the gateway; `instrument()` measures its dispatcher.
            name: the value of the label `gateway`; "gateway" unless given.
        """
        self._gateways.add(gateway, name)
        return gateway

    def instrument_worker(self, worker: Worker, *, name: str | None = None) -> Worker:
        """Measure a worker of durable jobs, and return it; call this before it runs.

        Args:
            worker: the worker; use `instrument()` for its dispatcher.
            name: the value of the label `jobs`; "jobs" by default. Workers of one database should have the same.
        """
        name = worker_name(name)
        self._workers.add(worker, name)
        worker.observe(_WorkerObserver(self, name))
        return worker

    def collect(self) -> Iterator[Metric]:
        """Yield the current metrics; prometheus_client calls this, perhaps in a thread of its own."""
        statistics = self._dispatchers.statistics()
        for reading in READINGS:
            yield _family("dispatcher", reading, reading.values(statistics))
        for histogram in (self.total, self.queue, self.connect):
            yield from histogram.collect()
        yield from self._collect_jobs()
        gateways = self._gateways.statistics()
        for found in GATEWAY_READINGS if gateways else ():
            yield _family("gateway", found, found.values(gateways))

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
    """The `Observer` of one dispatcher and the observation of all its jobs: it keeps nothing about a job."""

    collector: PrometheusCollector
    name: str
    routes: Routes
    scripts: Scripts
    params: Mapping[str, str] = attrs.field(factory=dict, init=False)

    def job_submitted(self, job: Job) -> _Observer:
        return self

    def done(self, report: JobReport) -> None:
        response, error, timing = report.response, report.error, report.timing
        status = "" if response is None else str(response.status)
        failure = "" if error is None else type(error).__name__
        if response is not None and report.php_error and response.status < SERVER_ERROR:
            failure = PHP_ERROR
        route = self.routes.of(report.job, report.view)
        script = self.scripts.of(report.job)
        self.collector.total.labels(self.name, script, route, status, failure).observe(timing.total)
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


def _family(
    owner: str,
    reading: Reading[Statistics] | Reading[GatewayStatistics] | JobReading,
    values: Iterable[tuple[str, str, float]],
) -> Metric:
    family = CounterMetricFamily if reading.counter else GaugeMetricFamily
    labels = (owner, reading.label) if reading.label else (owner,)
    metric = family(reading.prometheus, reading.help, labels=labels)
    for name, value, number in values:
        metric.add_metric([name, value][: len(labels)], number)
    return metric


def _histogram(duration: Duration, labels: tuple[str, ...], buckets: tuple[float, ...]) -> Histogram:
    return Histogram(duration.prometheus, duration.help, labels, buckets=buckets, registry=None)
