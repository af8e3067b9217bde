"""Spans and metrics of jobs on a real PHP-FPM, as OpenTelemetry's own SDK collects them in memory."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import attrs
import pytest
from opentelemetry import baggage, context, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import (
    Histogram,
    HistogramDataPoint,
    InMemoryMetricReader,
    Metric,
    NumberDataPoint,
    Sum,
)
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from fcgi_async import ConnectError, Dispatcher, Endpoint, Job, LocalFPM, sync
from fcgi_async.telemetry.otel import OpenTelemetry
from fcgi_async.telemetry.readings import BUCKETS, READINGS
from fcgi_async.testing import Responder
from tests.handlers import ok
from tests.telemetry.scenario import WAYS, endpoint, every_ending, every_way

pytestmark = pytest.mark.anyio

DURATION = "fcgi.client.job.duration"


@attrs.define(eq=False)
class Collected:
    """An instrumentation, and what came of it."""

    spans: InMemorySpanExporter = attrs.field(factory=InMemorySpanExporter)
    provider: TracerProvider = attrs.field(factory=TracerProvider)
    reader: InMemoryMetricReader = attrs.field(factory=InMemoryMetricReader)
    telemetry: OpenTelemetry = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.provider.add_span_processor(SimpleSpanProcessor(self.spans))
        self.telemetry = OpenTelemetry(tracer_provider=self.provider, meter_provider=MeterProvider([self.reader]))

    def jobs(self) -> list[ReadableSpan]:
        """The spans of jobs, in the order of their ends."""
        return [span for span in self.spans.get_finished_spans() if span.kind is SpanKind.CLIENT]

    def job(self, tag: str) -> ReadableSpan:
        """The span of the one job with this tag."""
        (found,) = [span for span in self.jobs() if (span.attributes or {}).get("fcgi.job.tag") == tag]
        return found

    def under(self, parent: ReadableSpan) -> dict[str, ReadableSpan]:
        """The spans whose parent this is, by name."""
        own = parent.get_span_context()
        children = [span for span in self.spans.get_finished_spans() if span.parent is not None]
        return {span.name: span for span in children if span.parent and own and span.parent.span_id == own.span_id}

    def metrics(self) -> dict[str, Metric]:
        """What a reader gets now, by name."""
        data = self.reader.get_metrics_data()
        assert data is not None
        (resource,) = data.resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "fcgi_async"
        return {metric.name: metric for metric in scope.metrics}

    def histogram(self, name: str) -> list[HistogramDataPoint]:
        """The points of a histogram."""
        data = self.metrics()[name].data
        assert isinstance(data, Histogram)
        return list(data.data_points)

    def values(self, name: str) -> dict[str, float]:
        """The values of what is read, by what their second attribute says."""
        data = self.metrics()[name].data
        assert isinstance(data, Sum)
        found = {}
        for point in data.data_points:
            assert isinstance(point, NumberDataPoint)
            said = {key: value for key, value in (point.attributes or {}).items() if key != "fcgi.dispatcher.name"}
            assert len(said) <= 1
            found[str(next(iter(said.values()), ""))] = point.value
        return found


@pytest.fixture
def collected() -> Collected:
    """Collects in memory."""
    return Collected()


def said(span: ReadableSpan) -> dict[str, Any]:
    """The attributes of a span, but for those that all spans of a job have."""
    every = {"php.script", "network.protocol.name", "server.address", "network.transport", "fcgi.job.tag"}
    return {name: value for name, value in (span.attributes or {}).items() if name not in every}


def lasted(span: ReadableSpan) -> tuple[int, int]:
    """When a span began and ended."""
    assert span.start_time is not None
    assert span.end_time is not None
    return span.start_time, span.end_time


async def test_every_way(collected: Collected, fpm: LocalFPM, scripts: Path) -> None:
    """Whichever way a job is handed in, it has one span, under the span of whoever handed it in."""
    tracer = collected.provider.get_tracer("test")
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        # the connections are somebody else's
        await php.run_all([Job("respond.php")] * 12)
        collected.spans.clear()
        with tracer.start_as_current_span("caller") as caller:
            await every_way(php)
    assert Counter((span.attributes or {})["fcgi.job.tag"] for span in collected.jobs()) == WAYS
    for span in collected.jobs():
        assert span.name == "GET respond.php"
        assert span.parent is not None
        assert span.parent.span_id == caller.get_span_context().span_id
        assert span.status.status_code is StatusCode.UNSET
        assert said(span) == {"http.request.method": "GET", "http.response.status_code": 200}
        assert set(collected.under(span)) == {"fcgi.queue", "fcgi.run"}


async def test_stages(collected: Collected, start_fpm: Any, scripts: Path) -> None:
    """Queue and run make up the job without a gap; connecting is a part of the queue, where a job had to."""
    fpm = await start_fpm(max_children=1)
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        await php.run(Job("respond.php", json={}, tag="first"))
        await php.run(Job("respond.php", json={}, tag="second"))
    first, second = collected.job("first"), collected.job("second")
    assert first.name == "POST respond.php"
    assert first.attributes == {
        "php.script": "respond.php",
        "http.request.method": "POST",
        "network.protocol.name": "fastcgi",
        "fcgi.job.tag": "first",
        "server.address": fpm.address.removeprefix("unix://"),
        "network.transport": "unix",
        "http.response.status_code": 200,
    }
    queue, run = collected.under(first)["fcgi.queue"], collected.under(first)["fcgi.run"]
    assert lasted(queue)[0] == lasted(first)[0]
    assert lasted(queue)[1] == lasted(run)[0]
    assert lasted(run)[1] == lasted(first)[1]
    (connect,) = collected.under(queue).values()
    assert connect.name == "fcgi.connect"
    assert lasted(queue)[0] <= lasted(connect)[0] <= lasted(connect)[1] <= lasted(queue)[1]
    assert collected.under(collected.under(second)["fcgi.queue"]) == {}
    (event,) = run.events
    assert event.name == "fcgi.first_byte"
    assert lasted(run)[0] <= event.timestamp <= lasted(run)[1]


async def test_every_ending(collected: Collected, start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """Statuses from 400 on, errors, and cancelling make the span an error, of a type; a retry that helped does not."""
    fpm = await start_fpm(max_children=1)
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts)), name="test") as php:
        await every_ending(php, tmp_path)
    spans = {tag: collected.job(tag) for tag in ("status 404", "cancelled", "too late", "sent again")}
    method = {"http.request.method": "GET"}
    assert {tag: said(span) for tag, span in spans.items()} == {
        "status 404": method | {"http.response.status_code": 404, "error.type": "404"},
        "cancelled": method | {"error.type": "JobCancelled", "fcgi.job.may_have_run": True},
        "too late": method | {"error.type": "QueueTimeout", "fcgi.job.may_have_run": False},
        "sent again": method | {"http.response.status_code": 200, "http.request.resend_count": 1},
    }
    assert {tag: span.status.status_code for tag, span in spans.items()} == {
        "status 404": StatusCode.ERROR,
        "cancelled": StatusCode.ERROR,
        "too late": StatusCode.ERROR,
        "sent again": StatusCode.UNSET,
    }
    assert spans["status 404"].status.description is None
    assert "no worker took the job" in (spans["too late"].status.description or "")
    assert set(collected.under(spans["too late"])) == {"fcgi.queue"}
    assert set(collected.under(spans["cancelled"])) == {"fcgi.queue", "fcgi.run"}

    assert collected.values("fcgi.client.job.ended") == {"completed": 2, "php_error": 0, "failed": 1, "cancelled": 1}
    assert collected.values("fcgi.client.job.timeouts") == {"queue": 1, "run": 0}
    assert collected.values("fcgi.client.job.retries") == {"": 1}
    errors = Counter((point.attributes or {}).get("error.type") for point in collected.histogram(DURATION))
    assert errors == {"404": 1, "JobCancelled": 1, "QueueTimeout": 1, None: 1}


async def test_mark_of_success(collected: Collected, fpm: LocalFPM, scripts: Path) -> None:
    """A response without the mark that its job demands is an error, streamed or not; one that has it is none."""
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        for body in ("done", "cut"):
            job = Job("respond.php", query={"body": body}, success_mark="done", tag=f"run {body}")
            await php.run(job)
            async with php.stream(attrs.evolve(job, tag=f"stream {body}")) as response:
                await response.aread()
    types = {
        tag: said(collected.job(tag)).get("error.type") for tag in ("run done", "stream done", "run cut", "stream cut")
    }
    assert types == {"run done": None, "stream done": None, "run cut": "JobFailed", "stream cut": "JobFailed"}


async def test_route_and_fatal_error(collected: Collected, start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """Spans and durations have what the caller calls a job, and the error that the status does not show."""
    fpm = await start_fpm(max_children=1, ini={"display_errors": "on"})
    (tmp_path / "dies.php").write_text("<?php nothing_like_it();")
    php = Dispatcher(endpoint(fpm, scripts, root=None))
    async with collected.telemetry.instrument(php, route=lambda job: str(job.tag).partition(" ")[0]):
        await php.run(Job(str(tmp_path / "dies.php"), tag="import 7"))
    expected = {"fcgi.job.route": "import", "error.type": "php_error", "http.response.status_code": 200}
    assert said(collected.job("import 7")).items() >= expected.items()
    (point,) = collected.histogram(DURATION)
    assert dict(point.attributes or {}).items() >= expected.items()


def test_a_dispatcher_for_threads(collected: Collected, fpm: LocalFPM, scripts: Path) -> None:
    """Its jobs are measured, and their spans are children of the calling thread's span."""
    with collected.telemetry.instrument(sync.Dispatcher(endpoint(fpm, scripts)), name="test") as php:
        with collected.provider.get_tracer("test").start_as_current_span("caller") as caller:
            php.view(name="shop").view().run(Job("respond.php", tag="sync"))
        assert collected.values("fcgi.client.job.ended")["completed"] == 1
    span = collected.job("sync")
    parent = span.parent
    assert parent is not None
    assert said(span)["fcgi.job.route"] == "shop"
    assert parent.span_id == caller.get_span_context().span_id


async def test_metrics(collected: Collected, start_fpm: Any, scripts: Path) -> None:
    """Durations fall into the advised buckets; the rest is what statistics() says at the moment of reading."""
    fpm = await start_fpm(max_children=2)
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts)), name="test") as php:
        await every_way(php)
        found, now = collected.metrics(), php.statistics()
        for reading in READINGS:
            assert collected.values(reading.otel) == reading.read(now)
            data = found[reading.otel].data
            assert isinstance(data, Sum)
            assert data.is_monotonic is reading.counter
            assert (found[reading.otel].unit, found[reading.otel].description) == (reading.unit, reading.help)
        server = {"server.address": fpm.address.removeprefix("unix://"), "network.transport": "unix"}
        (duration,) = collected.histogram(DURATION)
        assert (duration.count, duration.explicit_bounds) == (sum(WAYS.values()), BUCKETS)
        assert duration.attributes == server | {
            "fcgi.dispatcher.name": "test",
            "php.script": "respond.php",
            "http.request.method": "GET",
            "http.response.status_code": 200,
        }
        (queue,) = collected.histogram("fcgi.client.job.queue.duration")
        assert (queue.count, queue.attributes) == (sum(WAYS.values()), {"fcgi.dispatcher.name": "test"})
        (connect,) = collected.histogram("fcgi.client.connection.create_time")
        assert 1 <= connect.count <= now.connections_opened
        assert connect.attributes == server | {"fcgi.dispatcher.name": "test"}
        assert all(found[name].unit == "s" for name in found if isinstance(found[name].data, Histogram))


async def test_dispatcher_that_is_not_open(collected: Collected, start_fpm: Any) -> None:
    """One that was not entered yet has nothing to tell; one that was left goes on telling what it did."""
    fpm = await start_fpm(max_children=1)
    php = collected.telemetry.instrument(Dispatcher(fpm.address, max_children=1))
    assert collected.reader.get_metrics_data() is None
    async with php:
        await php.ping()
    assert collected.values("fcgi.client.connection.created") == {"": 1}


async def test_what_php_sees(collected: Collected, fpm: LocalFPM, scripts: Path) -> None:
    """PHP's parent is the job's span, of the caller's trace, as a parameter and as if a header had brought it."""
    tracer = collected.provider.get_tracer("test")
    token = context.attach(baggage.set_baggage("user", "7"))
    try:
        async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
            with tracer.start_as_current_span("caller") as caller:
                server = seen_by(await php.run(Job("inspect.php", tag="asked")))
    finally:
        context.detach(token)
    own = collected.job("asked").get_span_context()
    assert own is not None
    assert own.trace_id == caller.get_span_context().trace_id
    _, trace_id, span_id, flags = server["TRACEPARENT"].split("-")
    assert (int(trace_id, 16), int(span_id, 16)) == (own.trace_id, own.span_id)
    assert int(flags, 16) & 1
    assert server["HTTP_TRACEPARENT"] == server["TRACEPARENT"]
    assert server["BAGGAGE"] == server["HTTP_BAGGAGE"] == "user=7"


async def test_trace_state(collected: Collected, fpm: LocalFPM, scripts: Path) -> None:
    """What a vendor keeps beside the trace's ids is handed on too."""
    remote = trace.SpanContext(
        0xABC, 0xDEF, is_remote=True, trace_flags=trace.TraceFlags(1), trace_state=trace.TraceState([("vendor", "x")])
    )
    token = context.attach(trace.set_span_in_context(trace.NonRecordingSpan(remote)))
    try:
        async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
            server = seen_by(await php.run(Job("inspect.php")))
    finally:
        context.detach(token)
    assert server["TRACEPARENT"].split("-")[1] == f"{0xABC:032x}"
    assert server["TRACESTATE"] == server["HTTP_TRACESTATE"] == "vendor=x"


async def test_trace_that_is_not_sampled(fpm: LocalFPM, scripts: Path) -> None:
    """No span is kept; PHP is told not to keep any either, and metrics go on."""
    collected = Collected(provider=TracerProvider(sampler=ALWAYS_OFF))
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        server = seen_by(await php.run(Job("inspect.php")))
    assert collected.spans.get_finished_spans() == ()
    assert not int(server["TRACEPARENT"].split("-")[3], 16) & 1
    assert [point.count for point in collected.histogram(DURATION)] == [1]


async def test_the_jobs_own_trace_goes_first(collected: Collected, fpm: LocalFPM, scripts: Path) -> None:
    """Whoever hands on a trace's context with a job is not overruled."""
    async with collected.telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        server = seen_by(await php.run(Job("inspect.php", headers={"traceparent": "own"})))
    assert server["HTTP_TRACEPARENT"] == "own"


async def test_without_providers(fpm: LocalFPM, scripts: Path) -> None:
    """Where nobody set up OpenTelemetry nothing is sent to PHP, and nothing goes wrong."""
    async with OpenTelemetry().instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        server = seen_by(await php.run(Job("inspect.php")))
    assert not [name for name in server if "TRACEPARENT" in name]


async def test_tcp_and_nobody_there(collected: Collected) -> None:
    """A port is told; of an endpoint that cannot be reached too, and that PHP did not start the job."""
    async with Responder(ok, "tcp") as responder:
        async with collected.telemetry.instrument(Dispatcher(responder.address, max_children=1)) as php:
            await php.run(Job("/a.php", method="BREW", uri="/pots/1?secret=x", tag=1))
    host, _, port = responder.address.removeprefix("tcp://").rpartition(":")
    there = {"server.address": host, "server.port": int(port), "network.transport": "tcp"}
    span = collected.job("1")
    assert span.name == "HTTP /a.php"
    assert there.items() <= dict(span.attributes or {}).items()
    method = {"http.request.method": "_OTHER", "http.request.method_original": "BREW"}
    assert said(span).items() >= (method | {"url.path": "/pots/1"}).items()
    async with collected.telemetry.instrument(Dispatcher(Endpoint(responder.address, max_children=1))) as php:
        with pytest.raises(ConnectError):
            await php.run(Job("/a.php", tag=2))
    span = collected.job("2")
    assert there.items() <= dict(span.attributes or {}).items()
    assert said(span).items() >= {"error.type": "ConnectError", "fcgi.job.may_have_run": False}.items()


def seen_by(response: Any) -> Mapping[str, str]:
    """`$_SERVER`, as inspect.php tells it."""
    server: Mapping[str, str] = response.json()["server"]
    return server


class Broken(TraceContextTextMapPropagator):
    """A propagator that fails."""

    def inject(self, *args: Any, **options: Any) -> None:
        raise RuntimeError("no context today")


async def test_a_propagator_that_fails(fpm: LocalFPM, scripts: Path, caplog: pytest.LogCaptureFixture) -> None:
    """It costs a job the context that PHP would have got, and is logged; the job's span ends with the job."""
    collected = Collected()
    telemetry = OpenTelemetry(tracer_provider=collected.provider, propagator=Broken())
    async with telemetry.instrument(Dispatcher(endpoint(fpm, scripts))) as php:
        assert (await php.run(Job("respond.php"))).ok
    assert [span.name for span in collected.jobs()] == ["GET respond.php"]
    assert "the propagator failed" in caplog.text
