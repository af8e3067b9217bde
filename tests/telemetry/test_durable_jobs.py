"""What telemetry has of durable jobs, on a real PHP-FPM."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest
from opentelemetry.sdk.metrics.export import NumberDataPoint
from opentelemetry.trace import SpanKind, StatusCode
from prometheus_client import CollectorRegistry

from fcgi_async import Dispatcher, Endpoint, LocalFPM
from fcgi_async.jobs import Jobs, Task, Worker
from fcgi_async.telemetry.job_readings import JOB_READINGS
from fcgi_async.telemetry.prometheus import PrometheusCollector
from tests.eventually import eventually
from tests.jobs.polling import until
from tests.telemetry.test_otel import Collected

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).parent.parent / "jobs" / "scripts" / "job.php"
MAIL = Task("mail", SCRIPT, keep_result=60)
OTHER = Task("other", SCRIPT)


@asynccontextmanager
async def working(worker: Worker) -> AsyncIterator[None]:
    """Run a worker beside the block."""
    async with anyio.create_task_group() as group:
        group.start_soon(worker.run)
        yield
        worker.stop()


async def test_prometheus(fpm: LocalFPM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """How many jobs there are, attempts by task and state, and how long from the claim to PHP."""
    monkeypatch.setattr("fcgi_async.jobs.supply._COUNT", 0.01)
    registry = CollectorRegistry()
    collector = PrometheusCollector(registry)
    assert not [metric.name for metric in collector.collect() if "durable" in metric.name]
    async with (
        Dispatcher(Endpoint(fpm.address, max_children=2)) as php,
        Jobs(tmp_path / "jobs.db") as jobs,
    ):
        worker = collector.instrument_worker(Worker(php, jobs, [MAIL]), name="app")
        await jobs.enqueue(OTHER)
        await jobs.enqueue(MAIL, delay=3600)
        async with working(worker):
            for data in ({}, {}, {"status": 404}, {"status": 500}):
                await (await jobs.enqueue(MAIL, data)).wait(30)

            def value(name: str, **labels: str) -> float | None:
                return registry.get_sample_value(name, {"jobs": "app", **labels})

            states = {"ready": 1, "delayed": 1, "running": 0, "done": 2, "dead": 1, "in_doubt": 1, "cancelled": 0}
            await eventually(lambda: {state: value("fcgi_durable_jobs", state=state) for state in states} == states)
            assert value("fcgi_durable_workers") == 1
            await eventually(lambda: (value("fcgi_durable_oldest_seconds") or 0) > 0)
            for state, count in (("done", 2), ("dead", 1), ("in_doubt", 1)):
                assert value("fcgi_durable_attempts_total", task="mail", state=state) == count
            assert value("fcgi_durable_start_seconds_count") == 4
            assert value("fcgi_durable_in_hand") == 0
            assert (value("fcgi_durable_lost_total"), value("fcgi_durable_recovered_total")) == (0, 0)
        now = worker.statistics()
        assert (now.in_hand, now.claimed, now.lost, now.ended) == (0, 4, 0, {"done": 2, "dead": 1, "in_doubt": 1})


async def test_nobody_counts_for_nobody(fpm: LocalFPM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is in the database is read for observers alone."""
    monkeypatch.setattr("fcgi_async.jobs.supply._LOOK", 0.01)
    async with Dispatcher(Endpoint(fpm.address, max_children=2)) as php, Jobs(tmp_path / "jobs.db") as jobs:
        worker = Worker(php, jobs, [MAIL])
        async with working(worker):
            await (await jobs.enqueue(MAIL)).wait(30)
            await anyio.sleep(0.05)
        assert worker.statistics().counts is None
        assert worker.statistics().ended == {"done": 1}


@pytest.mark.parametrize("instrumented", [True, False])
async def test_a_trace_goes_on_in_the_worker(fpm: LocalFPM, tmp_path: Path, instrumented: bool) -> None:
    """The span of the put, of the attempt, of the dispatcher's job if that is traced, and what PHP is told."""
    collected = Collected()
    telemetry, tracer = collected.telemetry, collected.provider.get_tracer("test")
    php = Dispatcher(Endpoint(fpm.address, max_children=2))
    if instrumented:
        telemetry.instrument(php)
    async with php, Jobs(tmp_path / "jobs.db") as jobs:
        telemetry.instrument_jobs(jobs)
        worker = telemetry.instrument_worker(Worker(php, jobs, [MAIL, OTHER]))
        with tracer.start_as_current_span("order") as order:
            handle = await jobs.enqueue(MAIL)
            chain = await jobs.chain((OTHER, {"body": "1"}), (MAIL, None))
        async with working(worker):
            response, last = await handle.result(30), await chain.result(30)
            with pytest.raises(Exception, match="dead"):
                await (await jobs.enqueue(MAIL, {"status": 404})).result(30)
        [record] = await jobs.find(limit=1)

    context = order.get_span_context()
    assert context is not None
    trace_id, order_id = f"{context.trace_id:032x}", f"{context.span_id:016x}"
    assert str(record.trace).startswith(f"00-{trace_id}-{order_id}-")

    spans = {
        (span.attributes or {})["messaging.message.id"]: span
        for span in collected.spans.get_finished_spans()
        if span.kind is SpanKind.CONSUMER
    }
    assert len(spans) == 4
    attempt = spans[handle.id]
    assert (attempt.name, attempt.status.status_code) == ("process mail", StatusCode.UNSET)
    assert (attempt.attributes or {})["fcgi.jobs.state"] == "done"
    assert attempt.parent is not None
    assert attempt.parent.span_id == context.span_id
    told = attempt
    if instrumented:
        [told] = [span for span in collected.under(attempt).values() if span.kind is SpanKind.CLIENT]
    told_context = told.get_span_context()
    assert told_context is not None
    seen = cast("dict[str, str]", response.json())["trace"]
    assert seen.startswith(f"00-{trace_id}-{told_context.span_id:016x}-")
    # the next of a chain is in the same trace
    assert str(cast("dict[str, str]", last.json())["trace"]).split("-")[1] == trace_id

    failed = next(span for span in spans.values() if span.parent is None)
    assert (failed.status.status_code, (failed.attributes or {})["fcgi.jobs.state"]) == (StatusCode.ERROR, "dead")


async def test_open_telemetrys_metrics(fpm: LocalFPM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcgi_async.jobs.supply._COUNT", 0.01)
    collected = Collected()
    async with Dispatcher(Endpoint(fpm.address, max_children=2)) as php, Jobs(tmp_path / "jobs.db") as jobs:
        worker = collected.telemetry.instrument_worker(Worker(php, jobs, [MAIL]), name="app")
        async with working(worker):
            await (await jobs.enqueue(MAIL)).wait(30)

            async def is_counted() -> bool:
                counts = worker.statistics().counts
                return counts is not None and counts.states["done"] == 1

            await until(is_counted)
            metrics = collected.metrics()
    assert {reading.otel for reading in JOB_READINGS} | {"fcgi.jobs.attempts", "fcgi.jobs.start.duration"} <= set(
        metrics
    )
    points = [point for point in metrics["fcgi.jobs.count"].data.data_points if isinstance(point, NumberDataPoint)]
    found = {(point.attributes or {})["fcgi.jobs.state"]: point.value for point in points}
    assert (found["done"], found["ready"]) == (1, 0)
    assert {(point.attributes or {})["fcgi.jobs.name"] for point in points} == {"app"}
    [attempts] = metrics["fcgi.jobs.attempts"].data.data_points
    assert isinstance(attempts, NumberDataPoint)
    assert (attempts.value, dict(attempts.attributes or {})) == (
        1,
        {"fcgi.jobs.name": "app", "fcgi.jobs.task": "mail", "fcgi.jobs.state": "done"},
    )


async def test_an_observer_that_fails_does_no_harm(
    fpm: LocalFPM, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    class Failing:
        trace = None

        def attempt_began(self, claimed: object, waited: float) -> Failing:
            return self

        def running(self) -> None:
            raise RuntimeError("no context")

        def done(self, settlement: object) -> None:
            raise RuntimeError("no end")

    async with Dispatcher(Endpoint(fpm.address, max_children=2)) as php, Jobs(tmp_path / "jobs.db") as jobs:
        worker = Worker(php, jobs, [MAIL])
        worker.observe(Failing())  # type: ignore[arg-type]
        worker.observe(None)  # type: ignore[arg-type]
        async with working(worker):
            assert (await (await jobs.enqueue(MAIL)).wait(30)).state == "done"
    assert {"no context", "no end"} <= {str(record.exc_info[1]) for record in caplog.records if record.exc_info}
