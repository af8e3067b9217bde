"""Spans and metrics for OpenTelemetry, and the trace's context for PHP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from time import time_ns
from typing import TYPE_CHECKING, Final

import attrs

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context, attach, detach
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
    from opentelemetry.util.types import AttributeValue
except ImportError as error:
    raise ImportError(
        "fcgi_async.telemetry.otel needs OpenTelemetry's API: pip install 'fcgi-async[otel]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.observer import JobReport
from fcgi_async.errors import JobFailed
from fcgi_async.job.headers import header_param
from fcgi_async.job.job import Job
from fcgi_async.jobs.record import Claimed, Settlement
from fcgi_async.net.address import AddressFamily
from fcgi_async.pool.endpoint import Endpoint
from fcgi_async.telemetry.job_readings import ATTEMPTS, JOB_READINGS, START, JobReading, Workers, worker_name
from fcgi_async.telemetry.readings import BUCKETS, DURATIONS, READINGS, Dispatchers, Duration, Reading

if TYPE_CHECKING:
    from fcgi_async.jobs.client import Jobs
    from fcgi_async.jobs.worker import Worker

__all__ = ("OpenTelemetry",)

logger = logging.getLogger("fcgi_async.telemetry")

_NAME: Final = "fcgi_async"
_VERSION: Final = version("fcgi-async")
# those that the conventions know; others might be anything, and would be a time series each
_METHODS: Final = frozenset({"CONNECT", "DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "TRACE"})
# the database keeps one traceparent
_W3C: Final = TraceContextTextMapPropagator()
_ATTRIBUTES = dict[str, AttributeValue]


class OpenTelemetry:
    """Spans and metrics of the jobs of any number of dispatchers.

        telemetry = OpenTelemetry()
        async with telemetry.instrument(Dispatcher(...)) as php: ...

    A job's span is a child of the span that was current when the job was handed in, and PHP gets the job's span as its
    parent: in `$_SERVER["TRACEPARENT"]`, and as if it had been the request header, in `$_SERVER["HTTP_TRACEPARENT"]`.

    Args:
        tracer_provider: where spans go; None for the global one.
        meter_provider: where metrics go; None for the global one.
        propagator: what PHP is told of the trace; None for the global one, which is W3C's trace context and baggage
            unless changed.
    """

    def __init__(
        self,
        *,
        tracer_provider: TracerProvider | None = None,
        meter_provider: MeterProvider | None = None,
        propagator: TextMapPropagator | None = None,
    ) -> None:
        self.tracer: Tracer = trace.get_tracer(_NAME, _VERSION, tracer_provider)
        self.propagator = propagator
        self._dispatchers = Dispatchers()
        meter = metrics.get_meter(_NAME, _VERSION, meter_provider)
        self.total, self.queue, self.connect = (_histogram(meter, found) for found in DURATIONS)
        for reading in READINGS:
            create = meter.create_observable_counter if reading.counter else meter.create_observable_up_down_counter
            create(reading.otel, [partial(self._read, reading)], reading.unit, reading.help)
        self._workers = Workers()
        self.start = _histogram(meter, START)
        self.attempts = meter.create_counter(ATTEMPTS[0], "{attempt}", ATTEMPTS[2])
        for job_reading in JOB_READINGS:
            make = meter.create_observable_counter if job_reading.counter else meter.create_observable_gauge
            make(job_reading.otel, [partial(self._read_jobs, job_reading)], job_reading.unit, job_reading.help)

    def instrument(self, php: Dispatcher, *, name: str | None = None) -> Dispatcher:
        """Trace and measure a dispatcher, before it is entered or after, and return it.

        Args:
            php: the dispatcher.
            name: the value of `fcgi.dispatcher.name`; the addresses of its endpoints unless given. Those of the same
                name are added up.
        """
        known = self._dispatchers.add(php, name)
        servers = {str(endpoint.address): _server(endpoint) for endpoint in php.endpoints}
        php.observe(_Observer(self, known, servers))
        return php

    def instrument_jobs(self, jobs: Jobs) -> Jobs:
        """Have durable jobs carry the trace of the span that is current when they are put, and return `jobs`."""
        jobs.trace_by(_current_trace)
        return jobs

    def instrument_worker(self, worker: Worker, *, name: str | None = None) -> Worker:
        """Trace and measure a worker of durable jobs, before it runs, and return it.

        Each attempt has a span of its own, a CONSUMER, in the trace that was begun when the job was put. The span of
        the dispatcher's job is a child of it if `instrument()` has the worker's dispatcher.

        Args:
            worker: the worker.
            name: the value of `fcgi.jobs.name`; "jobs" unless given.
        """
        name = worker_name(name)
        self._workers.add(worker, name)
        worker.observe(_WorkerSpans(self, name, lambda: self._dispatchers.has(worker.php)))
        return worker

    def _read_jobs(self, reading: JobReading, options: CallbackOptions) -> Iterable[Observation]:
        for name, value, number in reading.values(self._workers.statistics()):
            attributes = {"fcgi.jobs.name": name}
            if reading.label:
                attributes["fcgi.jobs.state"] = value
            yield Observation(number, attributes)

    def _read(self, reading: Reading, options: CallbackOptions) -> Iterable[Observation]:
        for name, value, number in reading.values(self._dispatchers.statistics()):
            attributes = {"fcgi.dispatcher.name": name}
            if reading.attribute:
                attributes[reading.attribute] = value
            yield Observation(number, attributes)


@attrs.frozen(eq=False)
class _Observer:
    """The `Observer` of one dispatcher."""

    telemetry: OpenTelemetry
    name: str
    servers: Mapping[str, _ATTRIBUTES]

    def job_submitted(self, job: Job) -> _Observation:
        method = job.method or ("POST" if job.has_body else "GET")
        common: _ATTRIBUTES = {
            "php.script": job.script,
            "http.request.method": method if method in _METHODS else "_OTHER",
        }
        started = time_ns()
        span = self.telemetry.tracer.start_span(
            f"{method if method in _METHODS else 'HTTP'} {job.script}",
            kind=SpanKind.CLIENT,
            attributes=common | _of_job(job),
            start_time=started,
        )
        context = trace.set_span_in_context(span)
        carrier: dict[str, str] = {}
        try:
            (self.telemetry.propagator or propagate.get_global_textmap()).inject(carrier, context)
        except Exception:
            # its span goes on: PHP does not learn of it
            logger.exception("the propagator failed for %r", job)
        params = {name.upper().replace("-", "_"): value for name, value in carrier.items()}
        params |= {header_param(name): value for name, value in carrier.items()}
        return _Observation(self, span, context, started, common, params)


@attrs.frozen(eq=False)
class _Observation:
    """Follows one job."""

    observer: _Observer
    span: Span
    context: Context
    # nanoseconds since the epoch
    started: int
    attributes: _ATTRIBUTES
    params: Mapping[str, str]

    def done(self, report: JobReport) -> None:
        outcome = self._outcome(report)
        if self.span.is_recording():
            self._trace_stages(report)
            self.span.set_attributes(outcome | _of_report(report))
            error = report.error
            if "error.type" in outcome:
                self.span.set_status(Status(StatusCode.ERROR, None if error is None else error.message))
        self.span.end(self._at(report.timing.total))
        self._measure(report, outcome)

    def _outcome(self, report: JobReport) -> _ATTRIBUTES:
        outcome = self._server(report)
        response, error = report.response, report.error
        if response is not None:
            outcome["http.response.status_code"] = response.status
            if not report.ok:
                # the other ways are what raise_for_status() raises
                outcome["error.type"] = str(response.status) if response.status >= 400 else JobFailed.__name__
        elif error is not None:
            outcome["error.type"] = type(error).__qualname__
        return outcome

    def _server(self, report: JobReport) -> _ATTRIBUTES:
        return dict(self.observer.servers.get(report.endpoint or "", {}))

    def _trace_stages(self, report: JobReport) -> None:
        timing = report.timing
        queue = self._stage("fcgi.queue", self.context, 0.0, timing.queued)
        if report.connected is not None and report.connected > 0:
            began = max(report.connected - timing.connect, 0.0)
            within = trace.set_span_in_context(queue, self.context)
            self._stage("fcgi.connect", within, began, report.connected)
        if report.accepted:
            # without a response nobody knows whether a byte had come
            first = None if report.response is None else timing.queued + timing.first_byte
            self._stage("fcgi.run", self.context, timing.queued, timing.total, first_byte=first)

    def _stage(
        self, name: str, context: Context, began: float, ended: float, *, first_byte: float | None = None
    ) -> Span:
        span = self.observer.telemetry.tracer.start_span(name, context, start_time=self._at(began))
        if first_byte is not None:
            span.add_event("fcgi.first_byte", timestamp=self._at(first_byte))
        span.end(self._at(ended))
        return span

    def _measure(self, report: JobReport, outcome: _ATTRIBUTES) -> None:
        telemetry, timing = self.observer.telemetry, report.timing
        name: _ATTRIBUTES = {"fcgi.dispatcher.name": self.observer.name}
        telemetry.total.record(timing.total, name | self.attributes | outcome, self.context)
        telemetry.queue.record(timing.queued, name, self.context)
        if report.connected is not None:
            telemetry.connect.record(timing.connect, name | self._server(report), self.context)

    def _at(self, seconds: float) -> int:
        return self.started + round(seconds * 1e9)


@attrs.frozen(eq=False)
class _WorkerSpans:
    """The `WorkerObserver` of one worker.

    Attributes:
        continued: whether the dispatcher tells PHP of its own span, so that the attempt's need not be told.
    """

    telemetry: OpenTelemetry
    name: str
    continued: Callable[[], bool]

    def attempt_began(self, claimed: Claimed, waited: float) -> _AttemptSpan:
        """Begin the span of an attempt, in the trace of who put the job."""
        remote = Context()
        if claimed.trace is not None:
            remote = _W3C.extract({"traceparent": claimed.trace}, remote)
        now = time_ns()
        span = self.telemetry.tracer.start_span(
            f"process {claimed.task}",
            remote,
            kind=SpanKind.CONSUMER,
            attributes={
                "messaging.system": "fcgi_async",
                "messaging.operation.type": "process",
                "messaging.message.id": claimed.id,
                "fcgi.jobs.task": claimed.task,
                "fcgi.jobs.attempt": claimed.attempt,
                "fcgi.jobs.name": self.name,
            },
            start_time=now,
        )
        context = trace.set_span_in_context(span, remote)
        self.telemetry.start.record(waited, {"fcgi.jobs.name": self.name}, context)
        told: dict[str, str] = {}
        if not self.continued():
            _W3C.inject(told, context)
        return _AttemptSpan(self, claimed.task, span, context, told.get("traceparent"))


@attrs.frozen(eq=False)
class _AttemptSpan:
    """The span of one attempt."""

    observer: _WorkerSpans
    task: str
    span: Span
    context: Context
    trace: str | None

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make it the current one."""
        token = attach(self.context)
        try:
            yield
        finally:
            detach(token)

    def done(self, settlement: Settlement) -> None:
        """End it."""
        state = settlement.state
        self.span.set_attribute("fcgi.jobs.state", state)
        if state != "done":
            self.span.set_status(Status(StatusCode.ERROR, settlement.error))
        self.span.end()
        attributes = {"fcgi.jobs.name": self.observer.name, "fcgi.jobs.task": self.task, "fcgi.jobs.state": state}
        self.observer.telemetry.attempts.add(1, attributes)


def _current_trace() -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


def _histogram(meter: Meter, duration: Duration) -> Histogram:
    return meter.create_histogram(duration.otel, "s", duration.help, explicit_bucket_boundaries_advisory=BUCKETS)


def _server(endpoint: Endpoint) -> _ATTRIBUTES:
    address = endpoint.address
    if address.family is AddressFamily.TCP:
        return {"server.address": address.host, "server.port": address.port, "network.transport": "tcp"}
    path = f"@{address.path}" if address.family is AddressFamily.ABSTRACT else address.path
    return {"server.address": path, "network.transport": "unix"}


def _of_job(job: Job) -> _ATTRIBUTES:
    """What only the span has, since it is the same for all jobs, or may be different for each."""
    found: _ATTRIBUTES = {"network.protocol.name": "fastcgi"}
    if job.tag is not None:
        found["fcgi.job.tag"] = str(job.tag)
    if job.method is not None and job.method not in _METHODS:
        found["http.request.method_original"] = job.method
    if job.uri is not None:
        found["url.path"] = job.uri.partition("?")[0]
    return found


def _of_report(report: JobReport) -> _ATTRIBUTES:
    found: _ATTRIBUTES = {}
    if report.attempts > 1:
        found["http.request.resend_count"] = report.attempts - 1
    if report.error is not None:
        found["fcgi.job.may_have_run"] = report.error.may_have_run
    if report.response is not None and report.response.app_status:
        found["fcgi.app_status"] = report.response.app_status
    return found
