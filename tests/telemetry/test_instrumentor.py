"""Programs that say nothing of telemetry are traced: by the instrumentor, and by the command that finds it."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.jobs import Jobs, Task, Worker
from fcgi_async.telemetry.instrumentor import FastCGIInstrumentor
from tests.eventually import eventually
from tests.telemetry.scenario import endpoint
from tests.telemetry.test_durable_jobs import SCRIPT, working

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[2]
PROGRAM = """
import sys, anyio
from fcgi_async import Dispatcher, Job
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor

provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=lambda span: f"{span.name}\\n")))
trace.set_tracer_provider(provider)

async def main():
    async with Dispatcher(sys.argv[1], max_children=1) as php:
        await php.run(Job(sys.argv[2]))

anyio.run(main)
"""


@pytest.fixture
def spans() -> Iterator[InMemorySpanExporter]:
    """What comes of a process whose dispatchers are instrumented."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    instrumentor = FastCGIInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    yield exporter
    if instrumentor.is_instrumented_by_opentelemetry:
        instrumentor.uninstrument()


def names(exporter: InMemorySpanExporter, kind: SpanKind) -> list[str]:
    """The spans of a kind."""
    return [span.name for span in exporter.get_finished_spans() if span.kind is kind]


async def test_every_dispatcher(spans: InMemorySpanExporter, fpm: LocalFPM, scripts: Path) -> None:
    """Those that are made while it is on, with all their arguments; no other."""
    async with Dispatcher(endpoint(fpm, scripts), max_queued=7) as php:
        await php.run(Job("respond.php"))
        FastCGIInstrumentor().uninstrument()
        async with Dispatcher(endpoint(fpm, scripts)) as other:
            await other.run(Job("respond.php"))
    assert names(spans, SpanKind.CLIENT) == ["GET respond.php"]


async def test_durable_jobs(spans: InMemorySpanExporter, fpm: LocalFPM, tmp_path: Path) -> None:
    """An attempt is in the trace of whoever put the job."""
    mail = Task("mail", SCRIPT)
    async with Dispatcher(Endpoint(fpm.address, max_children=1)) as php, Jobs(tmp_path / "jobs.db") as jobs:
        async with working(Worker(php, jobs, [mail])):
            await (await jobs.enqueue(mail)).wait(30)
            await eventually(lambda: names(spans, SpanKind.CONSUMER))
    assert names(spans, SpanKind.CONSUMER) == ["process mail"]
    assert len(names(spans, SpanKind.CLIENT)) == 1


def test_the_entry_point() -> None:
    """It leads to the instrumentor."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    module, _, name = project["entry-points"]["opentelemetry_instrumentor"]["fcgi_async"].partition(":")
    assert getattr(import_module(module), name) is FastCGIInstrumentor


def test_the_command(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """`opentelemetry-instrument` finds it, and traces a program that says nothing of it."""
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [str(Path(sys.executable).with_name("opentelemetry-instrument")), sys.executable, "program.py"]
    done = subprocess.run(
        [*command, fpm.address, str(scripts / "respond.php")],
        cwd=tmp_path,
        env=os.environ | {"OTEL_METRICS_EXPORTER": "none", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == f"GET {scripts / 'respond.php'}", done.stderr
