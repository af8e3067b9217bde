"""Metrics of several processes: a port for each, on which Prometheus finds that process alone."""

from __future__ import annotations

import os
import signal
import socket
from contextlib import suppress
from pathlib import Path
from urllib.error import URLError
from urllib.request import urlopen

import pytest
from prometheus_client import CollectorRegistry, Gauge
from prometheus_client.parser import text_string_to_metric_families

from fcgi_async import ConfigurationError, LocalFPM
from fcgi_async.fpm.local import find_free_port
from fcgi_async.telemetry.metrics_server import MetricsServer
from tests.asgi.server import serving, uvicorn
from tests.eventually import soon


def two_ports() -> tuple[int, int]:
    """Two that are free now."""
    first = find_free_port()
    while (second := find_free_port()) == first:
        pass
    return first, second


def samples(port: int) -> dict[str, float]:
    """What a port serves, by name and the label `outcome`; nothing if nobody listens."""
    try:
        with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=20) as answer:
            text = answer.read().decode()
    except (URLError, ConnectionError):
        return {}
    families = text_string_to_metric_families(text)
    return {
        f"{sample.name} {sample.labels.get('outcome', '')}".strip(): sample.value
        for family in families
        for sample in family.samples
    }


def registry(value: float) -> CollectorRegistry:
    """A registry with one gauge."""
    found = CollectorRegistry()
    Gauge("whose", "a number", registry=found).set(value)
    return found


def test_each_takes_a_port_of_its_own(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """One that finds none says so, and takes the first that becomes free."""
    monkeypatch.setattr("fcgi_async.telemetry.metrics_server._PAUSE", 0.01)
    ports = two_ports()
    with MetricsServer(ports, registry=registry(1)) as first:
        with MetricsServer(ports, registry=registry(2)) as second:
            assert (first.port, second.port) == ports
            assert [samples(port)["whose"] for port in ports] == [1, 2]
            assert caplog.records == []
            third = MetricsServer(ports, registry=registry(3))
            third.__enter__()
            assert third.port is None
            assert [record.levelname for record in caplog.records] == ["WARNING"]
        soon(lambda: third.port == second.port)
        assert samples(ports[1])["whose"] == 3
        third.__exit__(None, None, None)
    assert [samples(port) for port in ports] == [{}, {}]


def test_one_that_never_got_a_port_ends() -> None:
    """It does not wait for one."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        with MetricsServer([taken.getsockname()[1]]) as server:
            assert server.port is None
        with pytest.raises(ConfigurationError, match="once"):
            server.__enter__()


@pytest.mark.parametrize("ports", [[], [0], [65536], ["9100"]])
def test_what_is_no_port(ports: list[int]) -> None:
    with pytest.raises(ConfigurationError, match="from 1 to 65535"):
        MetricsServer(ports)


def children(pid: int) -> set[int]:
    """The processes that a process has started, and that serve."""
    found = set()
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        # one that has just ended is none
        with suppress(OSError):
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                found.add(int(child))
    return found


def test_two_workers_of_uvicorn(fpm: LocalFPM, scripts: Path, tmp_path: Path) -> None:
    """Every job is counted once, both tell their share, and the one that takes a dead one's place has its port."""
    ports = two_ports()
    environment = {
        "FPM": fpm.address,
        "MAX_CHILDREN": "4",
        "WEB_CONCURRENCY": "2",
        "SCRIPTS": str(scripts),
        "METRICS_PORTS": ",".join(map(str, ports)),
    }
    command = uvicorn("tests.asgi.services.measured_service:app", "--workers", "2")
    with serving(command, environment, tmp_path, workers=2) as service, service.client() as client:
        answers = [client.get("/run/respond.php") for _ in range(30)]
        assert {answer.status_code for answer in answers} == {200}
        counted = [samples(port)["fcgi_jobs_ended_total completed"] for port in ports]
        by_process = [sum(answer.text == pid for answer in answers) for pid in {answer.text for answer in answers}]
        assert sorted(number for number in counted if number) == sorted(by_process)
        assert sum(counted) == 30
        assert [samples(port)["fcgi_slots_limit"] for port in ports] == [2, 2]

        before = children(service.process.pid)
        os.kill(min(before), signal.SIGKILL)
        # uvicorn looks after its workers twice a second
        soon(lambda: len(children(service.process.pid) - before) == 1)
        soon(lambda: all(samples(port) for port in ports))
        assert sum(samples(port)["fcgi_jobs_ended_total completed"] for port in ports) in counted
        assert service.end() in (0, -15), service.log()
