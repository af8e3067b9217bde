"""Spans and metrics for OpenTelemetry, and the trace's context for PHP."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from time import time_ns
from typing import TYPE_CHECKING, Final, TypeVar

import attrs

try:
    from opentelemetry import metrics, propagate, trace
    from opentelemetry.context import Context, attach, detach
    from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, Observation
    from opentelemetry.propagators.textmap import TextMapPropagator
    from opentelemetry.trace import Span, SpanKind, Status, StatusCode, Tracer, TracerProvider
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
except ImportError as error:
    raise ImportError(
        "spans and metrics for OpenTelemetry need its API: pip install 'fcgi-async[otel]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.dispatch.observer import JobReport
from fcgi_async.errors import JobFailed
from fcgi_async.job.headers import header_param
from fcgi_async.job.job import Job
from fcgi_async.job.php_error import SERVER_ERROR
from fcgi_async.jobs.record import Claimed, Settlement
from fcgi_async.telemetry.gateway_readings import GATEWAY_READINGS, Gateways
from fcgi_async.telemetry.job_readings import ATTEMPTS, JOB_READINGS, START, JobReading, Workers, worker_name
from fcgi_async.telemetry.readings import (
    BUCKETS,
    DURATIONS,
    PHP_ERROR,
    READINGS,
    Dispatchers,
    Duration,
    Measured,
    Reading,
)
from fcgi_async.telemetry.routes import Route, Routes
from fcgi_async.telemetry.span_attributes import METHODS, Attributes, of_job, of_report, of_server

if TYPE_CHECKING:
    from fcgi_async.dispatch.statistics import Statistics
    from fcgi_async.gateway.gateway import Gateway, GatewayStatistics
    from fcgi_async.jobs.client import Jobs
    from fcgi_async.jobs.worker import Worker

__all__ = ("OpenTelemetry",)

logger = logging.getLogger("fcgi_async.telemetry")

_Php = TypeVar("_Php", bound=Measured)
_NAME: Final = "fcgi_async"
_VERSION: Final = version("fcgi-async")
# the database has room for one traceparent
_W3C: Final = TraceContextTextMapPropagator()


class OpenTelemetry:
    """Spans and metrics of the jobs of any number of dispatchers.

        telemetry = OpenTelemetry()
        async with telemetry.instrument(Dispatcher(...)) as php: ...

    A job's span is a child of the span that was current when the job was submitted, and PHP gets the job's span as its
    parent: in `$_SERVER["TRACEPARENT"]`, and in `$_SERVER["HTTP_TRACEPARENT"]` as if it were a request header. The span
    of a request that a gateway passes on is in the trace that the request's parameters name.

    Args:
        tracer_provider: where spans go; None for the global one.
        meter_provider: where metrics go; None for the global one.
        propagator: decides what PHP learns about the trace; None for the global one, which by default is W3C's trace
            context and baggage.
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
        self._gateways = Gateways()
        for found in GATEWAY_READINGS:
            observable = meter.create_observable_counter if found.counter else meter.create_observable_up_down_counter
            observable(found.otel, [partial(self._read_gateways, found)], found.unit, found.help)

    def instrument(self, php: _Php, *, name: str | None = None, route: Route | None = None) -> _Php:
        """Trace and measure a dispatcher, and return it; call this before or after entering it.

        Args:
            php: the dispatcher, or one of `fcgi_async.sync`.
            name: the value of `fcgi.dispatcher.name`; the default is the addresses of its endpoints. Dispatchers of the
                same name are added up.
            route: called with each job at its end; it returns the value of `fcgi.job.route`, for example
                `lambda job: job.tag`. It must return few different values, because each is a time series; from the
                201st on, they count as "other". The default is the name of the job's view.
        """
        known = self._dispatchers.add(php, name)
        servers = {str(endpoint.address): of_server(endpoint) for endpoint in php.endpoints}
        php.observe(_Observer(self, known, servers, Routes(route)))
        return php

    def instrument_jobs(self, jobs: Jobs) -> Jobs:
        """Store the current span's trace with each durable job that is put; return `jobs`."""
        jobs.trace_by(_current_trace)
        return jobs

    def instrument_worker(self, worker: Worker, *, name: str | None = None) -> Worker:
        """Trace and measure a worker of durable jobs, and return it; call this before it runs.

        Each attempt has its own CONSUMER span, in the trace that was current when the job was put. If the worker's
        dispatcher is instrumented too, the span of the dispatcher's job is a child of it.

        Args:
            worker: the worker.
            name: the value of `fcgi.jobs.name`; "jobs" by default.
        """
        name = worker_name(name)
        self._workers.add(worker, name)
        worker.observe(_WorkerSpans(self, name, lambda: self._dispatchers.has(worker.php)))
        return worker

    def instrument_gateway(self, gateway: Gateway, *, name: str | None = None) -> Gateway:
        """Measure a gateway, before it is entered or after, and return it; its requests are its dispatcher's jobs.

        Args:
            gateway: the gateway; `instrument()` traces and measures its dispatcher.
            name: the value of `fcgi.gateway.name`; "gateway" unless given.
        """
        self._gateways.add(gateway, name)
        return gateway

    def _read_gateways(self, reading: Reading[GatewayStatistics], options: CallbackOptions) -> Iterable[Observation]:
        for name, value, number in reading.values(self._gateways.statistics()):
            attributes = {"fcgi.gateway.name": name}
            if reading.attribute:
                attributes[reading.attribute] = value
            yield Observation(number, attributes)

    def _read_jobs(self, reading: JobReading, options: CallbackOptions) -> Iterable[Observation]:
        for name, value, number in reading.values(self._workers.statistics()):
            attributes = {"fcgi.jobs.name": name}
            if reading.label:
                attributes["fcgi.jobs.state"] = value
            yield Observation(number, attributes)

    def _read(self, reading: Reading[Statistics], options: CallbackOptions) -> Iterable[Observation]:
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
    servers: Mapping[str, Attributes]
    routes: Routes

    def job_submitted(self, job: Job) -> _Observation:
        method = job.method or ("POST" if job.has_body else "GET")
        common: Attributes = {
            "php.script": job.script,
            "http.request.method": method if method in METHODS else "_OTHER",
        }
        started = time_ns()
        propagator = self.telemetry.propagator or propagate.get_global_textmap()
        span = self.telemetry.tracer.start_span(
            f"{method if method in METHODS else 'HTTP'} {job.script}",
            _remote(job, propagator),
            kind=SpanKind.CLIENT,
            attributes=common | of_job(job),
            start_time=started,
        )
        context = trace.set_span_in_context(span)
        carrier: dict[str, str] = {}
        try:
            propagator.inject(carrier, context)
        except Exception:
            # the span continues, but PHP does not learn about it
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
    attributes: Attributes
    params: Mapping[str, str]

    def done(self, report: JobReport) -> None:
        outcome = self._outcome(report)
        if self.span.is_recording():
            self._trace_stages(report)
            self.span.set_attributes(outcome | of_report(report))
            error = report.error
            if "error.type" in outcome:
                self.span.set_status(Status(StatusCode.ERROR, None if error is None else error.message))
        self.span.end(self._at(report.timing.total))
        self._measure(report, outcome)

    def _outcome(self, report: JobReport) -> Attributes:
        outcome = self._server(report)
        if route := self.observer.routes.of(report.job, report.view):
            outcome["fcgi.job.route"] = route
        response, error = report.response, report.error
        if response is not None:
            outcome["http.response.status_code"] = response.status
            if report.php_error and response.status < SERVER_ERROR:
                outcome["error.type"] = PHP_ERROR
            elif not report.ok:
                # the other outcomes are what raise_for_status() raises
                outcome["error.type"] = str(response.status) if response.status >= 400 else JobFailed.__name__
        elif error is not None:
            outcome["error.type"] = type(error).__qualname__
        return outcome

    def _server(self, report: JobReport) -> Attributes:
        return dict(self.observer.servers.get(report.endpoint or "", {}))

    def _trace_stages(self, report: JobReport) -> None:
        timing = report.timing
        queue = self._stage("fcgi.queue", self.context, 0.0, timing.queued)
        if report.connected is not None and report.connected > 0:
            began = max(report.connected - timing.connect, 0.0)
            within = trace.set_span_in_context(queue, self.context)
            self._stage("fcgi.connect", within, began, report.connected)
        if report.accepted:
            # without a response it is unknown whether any byte had come
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

    def _measure(self, report: JobReport, outcome: Attributes) -> None:
        telemetry, timing = self.observer.telemetry, report.timing
        name: Attributes = {"fcgi.dispatcher.name": self.observer.name}
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
        continued: whether the dispatcher passes its own span to PHP, so that the attempt's is not needed.
    """

    telemetry: OpenTelemetry
    name: str
    continued: Callable[[], bool]

    def attempt_began(self, claimed: Claimed, waited: float) -> _AttemptSpan:
        """Start the span of an attempt, in the trace that was current when the job was put."""
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
        """Make it the current span."""
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


def _remote(job: Job, propagator: TextMapPropagator) -> Context | None:
    """Return the trace that a job names in its own parameters, as a request does that a gateway passes on.

    None for the current one, which goes before.
    """
    if job.params is None or trace.get_current_span().get_span_context().is_valid:
        return None
    given = {name: job.params[param] for name in propagator.fields if (param := header_param(name)) in job.params}
    return propagator.extract(given) if given else None


def _current_trace() -> str | None:
    carrier: dict[str, str] = {}
    _W3C.inject(carrier)
    return carrier.get("traceparent")


def _histogram(meter: Meter, duration: Duration) -> Histogram:
    return meter.create_histogram(duration.otel, "s", duration.help, explicit_bucket_boundaries_advisory=BUCKETS)
