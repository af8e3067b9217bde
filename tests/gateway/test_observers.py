"""Observers of a gateway's dispatcher see the requests that it passes on, as they see its jobs."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import attrs
import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind
from prometheus_client import CollectorRegistry

from fcgi_async import ConnectionLost, Dispatcher, Endpoint, Job
from fcgi_async.dispatch.observer import JobReport
from fcgi_async.gateway import Gateway
from fcgi_async.telemetry.otel import OpenTelemetry
from fcgi_async.telemetry.prometheus import PrometheusCollector
from tests.eventually import eventually
from tests.fpm.marks import started
from tests.fpm.raw_client import raw_request

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Watching:
    """An observer that keeps what it is told, and adds parameters."""

    params: Mapping[str, str] = attrs.field(factory=dict)
    jobs: list[Job] = attrs.field(factory=list, init=False)
    reports: list[JobReport] = attrs.field(factory=list, init=False)

    def job_submitted(self, job: Job) -> Watching:
        self.jobs.append(job)
        return self

    def done(self, report: JobReport) -> None:
        self.reports.append(report)


async def test_what_they_are_told_of_a_request(client: Endpoint, back: Dispatcher, scripts: Path) -> None:
    """Script, method, target and headers of the request; status, headers and log of the response, and its times."""
    seen = Watching()
    back.observe(seen)
    async with Dispatcher(client) as php:
        query = {"status": 404, "headers": ["X-A: 1"], "body": "tea", "log": "a line"}
        await php.run(Job("respond.php", query=query, headers={"User-Agent": "me"}, tag="not sent"))
    (job,), (report,) = seen.jobs, seen.reports
    assert report.job is job
    assert (job.script, job.method, (job.params or {})["HTTP_USER_AGENT"]) == (
        str(scripts / "respond.php"),
        "GET",
        "me",
    )
    assert (job.uri or "").endswith("/respond.php?" + "status=404&headers%5B0%5D=X-A%3A+1&body=tea&log=a+line")
    assert (report.ok, report.php_error, report.error, report.accepted, report.attempts) == (
        False,
        False,
        None,
        True,
        1,
    )
    assert report.endpoint == str(back.endpoints[0].address)
    response = report.response
    assert response is not None
    # the content was passed on, and is not kept
    assert (response.status, response.headers["X-A"], response.content) == (404, "1", b"")
    assert b"a line" in response.stderr
    assert 0 < report.timing.first_byte <= report.timing.total


@pytest.mark.parametrize("size", [10, 300_000])
async def test_a_response_in_any_number_of_parts(client: Endpoint, back: Dispatcher, size: int) -> None:
    """A response that comes in parts is told as one that comes in one."""
    seen = Watching()
    back.observe(seen)
    async with Dispatcher(client) as php:
        assert (await php.run(Job("echo.php", content=b"b" * size))).ok
    (report,) = seen.reports
    assert report.response is not None
    assert (report.ok, report.response.status, report.job.method) == (True, 200, "POST")


async def test_a_request_that_fails(client: Endpoint, back: Dispatcher, tmp_path: Path) -> None:
    """The error is what the gateway tells its client; PHP's own failures are seen by its log and status."""
    seen = Watching()
    back.observe(seen)
    query = {"marks": str(tmp_path / "marks"), "name": "it", "do": "kill itself"}
    async with Dispatcher(client) as php:
        with pytest.raises(ConnectionLost):
            await php.run(Job("fault.php", query=query))
        await php.run(Job("respond.php", query={"status": 500}))
    lost, failed = seen.reports
    assert isinstance(lost.error, ConnectionLost)
    assert (lost.response, lost.ok, lost.error.may_have_run) == (None, False, True)
    assert (failed.php_error, failed.error) == (True, None)
    assert (back.statistics().php_errors, back.statistics().failed) == (1, 1)


async def test_a_request_that_its_client_leaves(client: Endpoint, back: Dispatcher, tmp_path: Path) -> None:
    """It is over for observers when its client has left, whether it waits or runs."""
    seen = Watching()
    back.observe(seen)
    wait = Job("wait.php", query={"marks": str(tmp_path / "marks"), "gate": str(tmp_path / "gate")})
    async with Dispatcher(client) as php:
        for _ in range(3):
            await php.submit(wait)
        await eventually(lambda: started(tmp_path / "marks") == 2 and back.statistics().queued == 1)
        await php.aclose(timeout=0)
    await eventually(lambda: len(seen.reports) == 3)
    told = sorted((report.accepted, type(report.error).__name__) for report in seen.reports)
    assert told == [(False, "JobCancelled"), (True, "JobCancelled"), (True, "JobCancelled")]
    (tmp_path / "gate").touch()


async def test_what_they_add_comes_to_php(client: Endpoint, back: Dispatcher) -> None:
    """Parameters of an observer are sent, unless the request has such itself; those that are refused are not."""
    back.observe(Watching({"X_ADDED": "by the gateway", "X_OWN": "by the gateway"}))
    back.observe(Watching({"PHP_VALUE": "memory_limit=99M"}))
    async with Dispatcher(client) as php:
        response = await php.run(Job("inspect.php", params={"X_OWN": "by the client"}))
    server: Any = response.json()
    assert server["server"]["X_ADDED"] == "by the gateway"
    assert server["server"]["X_OWN"] == "by the client"
    assert "PHP_VALUE" not in server["server"]


async def test_a_script_that_no_job_could_have(gateway: Gateway, back: Dispatcher) -> None:
    """A request without a script, or with a name in no charset, is passed on and observed all the same."""
    seen = Watching()
    back.observe(seen)
    for params in ({"SCRIPT_FILENAME": ""}, {"REQUEST_URI": "no path"}):
        await anyio.to_thread.run_sync(partial(raw_request, gateway.address, "/nowhere.php", params=params))
    assert [job.script for job in seen.jobs] == ["unknown", "/nowhere.php"]
    assert [report.response and report.response.status for report in seen.reports] == [403, 404]


async def test_the_trace_of_a_client_goes_through(client: Endpoint, back: Dispatcher) -> None:
    """The span of the gateway is a child of its client's, in one trace; PHP is told of the client's."""
    spans, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    telemetry = OpenTelemetry(tracer_provider=provider)
    telemetry.instrument(back, name="back")
    async with telemetry.instrument(Dispatcher(client), name="front") as php:
        server: Any = (await php.run(Job("inspect.php"))).json()
    jobs = [span for span in spans.get_finished_spans() if span.kind is SpanKind.CLIENT]
    inner, outer = sorted(jobs, key=lambda span: span.parent is None)
    assert inner.parent is not None
    assert span_id(outer) == inner.parent.span_id
    assert f"{span_id(outer):016x}" in server["server"]["TRACEPARENT"]


def span_id(span: ReadableSpan) -> int:
    """Return a span's id."""
    context = span.get_span_context()
    assert context is not None
    return context.span_id


async def test_metrics(client: Endpoint, back: Dispatcher, gateway: Gateway, scripts: Path, tmp_path: Path) -> None:
    """The requests are jobs of the dispatcher, by script, status and error; the gateway counts its own."""
    registry = CollectorRegistry()
    collector = PrometheusCollector(registry)
    collector.instrument(back, name="pool")
    collector.instrument_gateway(gateway, name="here")
    query = {"marks": str(tmp_path / "marks"), "name": "it", "do": "kill itself"}
    async with Dispatcher(client) as php:
        await php.run_all([Job("respond.php")] * 3)
        with pytest.raises(ConnectionLost):
            await php.run(Job("fault.php", query=query))
        value = registry.get_sample_value
        assert (value("fcgi_gateway_connections", {"gateway": "here"}) or 0) >= 1
        assert value("fcgi_gateway_requests", {"gateway": "here"}) == 0
        ended = [
            value("fcgi_gateway_requests_ended_total", {"gateway": "here", "outcome": outcome})
            for outcome in ("passed", "failed", "refused", "left")
        ]
        assert ended == [3, 1, 0, 0]
        labels = {"dispatcher": "pool", "script": str(scripts / "respond.php"), "route": "", "status": "200"}
        assert value("fcgi_job_duration_seconds_count", {**labels, "error": ""}) == 3
        labels |= {"script": str(scripts / "fault.php"), "status": "", "error": "ConnectionLost"}
        assert value("fcgi_job_duration_seconds_count", labels) == 1


async def test_visitors_cannot_make_time_series_without_end(client: Endpoint, back: Dispatcher) -> None:
    """From the 1001st script on they are one, so that names that visitors make up fill no memory."""
    registry = CollectorRegistry()
    PrometheusCollector(registry).instrument(back, name="pool")
    async with Dispatcher(client) as php:
        await php.run_all([Job(f"nowhere/{number}.php") for number in range(1010)])
    (total,) = [family for family in registry.collect() if family.name == "fcgi_job_duration_seconds"]
    counts = {sample.labels["script"]: sample.value for sample in total.samples if sample.name.endswith("_count")}
    assert (len(counts), counts["other"]) == (1001, 10)
