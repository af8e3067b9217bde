"""Runs jobs on a private PHP-FPM and shows what telemetry collected of them, for docs/telemetry.md.

What is different in every run is written as ...: ids, times, and how durations fall into buckets.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final
from urllib.request import urlopen

import anyio
import attrs
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import HistogramDataPoint, InMemoryMetricReader, Metric, NumberDataPoint
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode
from opentelemetry.util.types import Attributes
from prometheus_client import CollectorRegistry, start_http_server

from fcgi_async import Dispatcher, Endpoint, Job, KeepAlive, LocalFPM, QueueTimeout
from fcgi_async.telemetry.otel import OpenTelemetry
from fcgi_async.telemetry.prometheus import PrometheusCollector
from tests.eventually import eventually

__all__ = ("Run", "real_run")

SHOWN_ADDRESS: Final = "/run/php/php8.2-fpm.sock"
SHOWN_ROOT: Final = "/srv/app"
SCRIPT: Final = """<?php
$job = json_decode(file_get_contents('php://input'));
if ($job->id === 8) {
    trigger_error('no picture 8', E_USER_WARNING);
    http_response_code(404);
}
echo $_SERVER['TRACEPARENT'];
"""
INI: Final = {"display_errors": "off", "log_errors": "on", "html_errors": "off"}
TIME: Final = re.compile(r"\b\d+\.\d{3,6}\b")


@attrs.frozen
class Run:
    """What was collected, as text.

    Attributes:
        log: the records of all loggers.
        spans: as the in-memory exporter has them, as trees.
        traceparent: what PHP saw.
        metrics: as the in-memory reader has them.
        scrape: what an HTTP client got.
    """

    log: str
    spans: str
    traceparent: str
    metrics: str
    scrape: str


@cache
def real_run() -> Run:
    """Run the jobs, once in a process."""
    return anyio.run(_run)


async def _run() -> Run:
    exporter, reader, registry = InMemorySpanExporter(), InMemoryMetricReader(), CollectorRegistry()
    tracer_provider = TracerProvider()
    tracer_provider.add_span_processor(SimpleSpanProcessor(exporter))
    telemetry = OpenTelemetry(tracer_provider=tracer_provider, meter_provider=MeterProvider([reader]))
    collector = PrometheusCollector(registry)
    with TemporaryDirectory() as root, _logged() as lines:
        script = _write_script(Path(root))
        async with LocalFPM(max_children=1, system_ini=False, ini=INI) as fpm:
            # the connection is kept, however long the rest takes
            php = Dispatcher(Endpoint(fpm.address, max_children=1, keepalive=KeepAlive(idle=600.0)))
            collector.instrument(telemetry.instrument(php, name="thumbs"), name="thumbs")
            async with php:
                with tracer_provider.get_tracer("gallery").start_as_current_span("GET /gallery"):
                    seen = (await php.run(Job(str(script), json={"id": 7}, tag="first"))).text
                    await php.run(Job(str(script), json={"id": 8}, tag="missing"))
                    # without a worker to be had
                    php.pause()
                    try:
                        await php.run(Job(str(script), json={"id": 9}, tag="late", queue_timeout=0.01))
                    except QueueTimeout:
                        php.resume()
                await eventually(lambda: php.statistics().idle == 1)
                metrics, scrape = _metrics(reader), await anyio.to_thread.run_sync(_scrape, registry)
        spans = list(exporter.get_finished_spans())

        def shown(text: str) -> str:
            return text.replace(fpm.address.removeprefix("unix://"), SHOWN_ADDRESS).replace(root, SHOWN_ROOT)

        return Run(
            shown("\n".join(lines)),
            shown("\n".join(_tree(spans, None, ""))),
            _traceparent(seen, spans),
            shown(metrics),
            shown(scrape),
        )


def _write_script(root: Path) -> Path:
    # the workers may be another user's
    root.chmod(0o755)
    script = root / "thumb.php"
    script.write_text(SCRIPT)
    return script


@contextmanager
def _logged() -> Iterator[list[str]]:
    """What our loggers say meanwhile; they are quiet otherwise."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(f"{record.levelname} {record.name}: {TIME.sub('...', record.getMessage())}")

    logger, handler = logging.getLogger("fcgi_async"), Keep()
    level, propagate = logger.level, logger.propagate
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
        logger.propagate = propagate


def _tree(spans: list[ReadableSpan], parent: int | None, indent: str) -> Iterator[str]:
    children = [span for span in spans if (span.parent.span_id if span.parent else None) == parent]
    for span in sorted(children, key=lambda span: span.start_time or 0):
        failed = span.status.status_code is StatusCode.ERROR
        status = TIME.sub("...", f" ERROR {span.status.description or ''}".rstrip()) if failed else ""
        yield f"{indent}{span.name} [{span.kind.name}]{status}"
        yield from (f"{indent}  | {name} = {value!r}" for name, value in (span.attributes or {}).items())
        yield from (f"{indent}  | event {event.name}" for event in span.events)
        context = span.get_span_context()
        assert context is not None
        yield from _tree(spans, context.span_id, indent + "    ")


def _traceparent(seen: str, spans: list[ReadableSpan]) -> str:
    """What PHP saw, once it is what it should be."""
    _, trace_id, span_id, _ = seen.split("-")
    (job,) = [span for span in spans if (span.attributes or {}).get("fcgi.job.tag") == "first"]
    context = job.get_span_context()
    assert context is not None
    assert (int(trace_id, 16), int(span_id, 16)) == (context.trace_id, context.span_id)
    return "00-{trace id of GET /gallery}-{span id of POST /srv/app/thumb.php}-{flags}"


def _metrics(reader: InMemoryMetricReader) -> str:
    data = reader.get_metrics_data()
    assert data is not None
    scopes = [scope for resource in data.resource_metrics for scope in resource.scope_metrics]
    return "\n".join(line for scope in scopes for metric in scope.metrics for line in _points(metric))


def _points(metric: Metric) -> Iterator[str]:
    kind = type(metric.data).__name__
    if getattr(metric.data, "is_monotonic", None) is False:
        kind = "UpDownSum"
    yield f"{metric.name} [{kind}, {metric.unit}]"
    for point in metric.data.data_points:
        if isinstance(point, HistogramDataPoint):
            yield f"  {_attributes(point.attributes)}: count {point.count}, sum ..."
        elif isinstance(point, NumberDataPoint):
            yield f"  {_attributes(point.attributes)}: {point.value}"


def _attributes(attributes: Attributes) -> str:
    return ", ".join(f"{name}={value!s}" for name, value in (attributes or {}).items())


def _scrape(registry: CollectorRegistry) -> str:
    server, thread = start_http_server(0, "127.0.0.1", registry)
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    lines = [line for line in text.splitlines() if "_created" not in line]
    kept = [line for line in lines if "_bucket" not in line or 'le="0.005"' in line or 'le="+Inf"' in line]
    shown = [re.sub(r"(_sum\{.*\}|le=\"0\.005\".*\}) .*", r"\1 ...", line) for line in kept]
    return re.sub(r"(.*le=\"0\.005\".*\n)", r"\1...\n", "\n".join(shown))
