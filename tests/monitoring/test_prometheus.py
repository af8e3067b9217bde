"""A real Prometheus, a service that is busy, and what is shipped for them."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from prometheus_client import CollectorRegistry

from fcgi_async import Dispatcher, Endpoint, Job, LocalFPM
from fcgi_async.fpm.local import find_free_port
from fcgi_async.gateway import Gateway
from fcgi_async.jobs import Jobs, Worker
from fcgi_async.telemetry.metrics_server import MetricsServer
from fcgi_async.telemetry.prometheus import PrometheusCollector
from tests.eventually import eventually
from tests.monitoring.conftest import Prometheus, prometheus
from tests.monitoring.test_files import panels
from tests.telemetry.test_durable_jobs import MAIL, working

pytestmark = pytest.mark.anyio

# the part of an expression that tells what went wrong, where nothing did
QUIET = {"What went wrong, by script"}
# what a full pool and a dead job are, and what they are not
BUSY = {"FcgiQueueFull": "pending", "FcgiPoolSaturated": "pending", "FcgiDurableDead": "pending"}
WELL = {
    "FcgiMetricsMissing",
    "FcgiEndpointAway",
    "FcgiPhpErrors",
    "FcgiDurableNoWorker",
    "FcgiDurableInDoubt",
    "FcgiPoolDown",
}


@pytest.fixture
def anyio_backend() -> tuple[str, dict[str, Any]]:
    """One event loop: what is tested is what it tells."""
    return "asyncio", {}


def empty(found: Prometheus) -> list[str]:
    """The expressions of panels that come to nothing."""
    variables = {"$dispatcher": ".*", "$jobs": ".*", "$pool": ".*", "$__rate_interval": "1m"}
    nothing = []
    for panel in panels():
        for target in panel["targets"]:
            expression = re.sub(r"\$\w+", lambda name: variables[name[0]], target["expr"])
            if not found.values(expression) and panel["title"] not in QUIET:
                nothing.append(expression)
    return nothing


@contextmanager
def exporter(fpm: LocalFPM) -> Iterator[int]:
    """Run `fcgi-async exporter` on a pool, and return its port."""
    port = find_free_port()
    options = ["--fpm-config", str(fpm.directory / "fpm.conf"), "--listen", f"127.0.0.1:{port}", "--timeout", "0.2"]
    process = subprocess.Popen([sys.executable, "-m", "fcgi_async", "exporter", *options])
    try:
        yield port
    finally:
        process.kill()
        process.wait()


async def test_a_busy_service(start_fpm: Any, scripts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alerts begin to be due and others do not, and every panel has something to show."""
    monkeypatch.setattr("fcgi_async.jobs.supply._COUNT", 0.05)
    fpm = await start_fpm(max_children=1, listen="tcp")
    registry = CollectorRegistry()
    collector = PrometheusCollector(registry)
    php = collector.instrument(Dispatcher(Endpoint(fpm.address, max_children=1, root=str(scripts)), max_queued=1))
    gate = {"gate": str(tmp_path / "gate"), "marks": str(tmp_path / "marks")}
    with MetricsServer([find_free_port()], registry=registry) as server:
        assert server.port is not None
        with exporter(fpm) as pool_port, prometheus(tmp_path, server.port, pool_port) as found:
            gateway = collector.instrument_gateway(Gateway(php, f"unix://@{tmp_path.name}-{server.port}"))
            async with php, gateway, Jobs(tmp_path / "jobs.db") as jobs:
                async with working(collector.instrument_worker(Worker(php, jobs, [MAIL], priority=-1))):
                    await (await jobs.enqueue(MAIL, {"status": 404})).wait(30)
                    # the rate of a counter that begins above 0 is only seen when it rises again
                    await eventually(lambda: found.values("fcgi_durable_start_seconds_count"))
                    async with anyio.create_task_group() as tasks:
                        for _ in range(4):
                            tasks.start_soon(php.run, Job("wait.php", query=gate))
                        await eventually(
                            lambda: BUSY.items() <= found.alerts().items() and not WELL & found.alerts().keys()
                        )
                        (tmp_path / "gate").touch()
                    await (await jobs.enqueue(MAIL)).wait(30)
                    await eventually(lambda: not {"FcgiQueueFull", "FcgiPoolSaturated"} & found.alerts().keys())
                    await eventually(lambda: not empty(found))
            await eventually(lambda: found.values("max(fcgi_slots_limit)") == [0])
