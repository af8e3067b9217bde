"""`fcgi-async exporter`: the metrics of a pool as Prometheus reads them, on loopback unless told otherwise."""

from __future__ import annotations

import signal
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from prometheus_client.parser import text_string_to_metric_families

from fcgi_async import LocalFPM
from fcgi_async.cli import make_parser
from fcgi_async.telemetry.pool_readings import POOL_READINGS
from tests.cli.conftest import SECONDS, RunCommand, StartCommand, Started
from tests.cli.test_status import busy_fpm

__all__ = ("busy_fpm",)

Samples = dict[tuple[str, ...], float]


def samples(text: str) -> Samples:
    """Every sample, by its name and the values of its labels but the pool's."""
    return {
        (sample.name, *(value for label, value in sample.labels.items() if label != "pool")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def once(command: RunCommand, *arguments: str | Path) -> Samples:
    """What `--once` prints."""
    result = command("exporter", *arguments, "--once")
    assert (result.code, result.err) == (0, "")
    return samples(result.out.decode())


def test_metrics_of_a_pool(command: RunCommand, fpm_here: LocalFPM) -> None:
    """The status page and doctor's checks are metrics; every one that is listed is there."""
    conf = fpm_here.directory / "fpm.conf"
    found = once(command, "--fpm-config", conf)
    names = {name for name, *_ in found}
    expected = {reading.prometheus + ("_total" if reading.counter else "") for reading in POOL_READINGS}
    # which FPM does not know on a unix socket
    assert names == expected - {"fcgi_pool_listen_queue"}
    assert found["fcgi_pool_up",] == 1
    assert found["fcgi_pool_max_children",] == 4
    assert sum(value for (name, *_), value in found.items() if name == "fcgi_pool_workers") == 4
    assert found["fcgi_pool_check", "reachable", "ok"] == 1
    assert found["fcgi_pool_check", "reachable", "failed"] == 0
    assert found["fcgi_pool_accepted_connections_total",] > 0


def test_pool_that_is_away(command: RunCommand) -> None:
    """It is down, and doctor's checks say why."""
    found = once(command, "unix:///nowhere/fpm.sock")
    assert found["fcgi_pool_up",] == 0
    assert found["fcgi_pool_check", "reachable", "failed"] == 1
    assert ("fcgi_pool_workers", "idle") not in found


def test_busy_pool(command: RunCommand, busy_fpm: tuple[LocalFPM, Path]) -> None:
    """A pool whose workers are all busy is up, with pm.status_listen, and does not answer FastCGI in time."""
    found = once(command, "--fpm-config", busy_fpm[0].directory / "fpm.conf", "--timeout", "0.3")
    assert found["fcgi_pool_up",] == 1
    assert found["fcgi_pool_workers", "running"] == 1
    assert found["fcgi_pool_longest_request_seconds",] > 0
    assert found["fcgi_pool_check", "FastCGI", "failed"] == 1


def listening(started: Started) -> str:
    """The address that it names."""
    assert started.process.stderr is not None
    return started.process.stderr.readline().decode().split()[-1]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_served(start: StartCommand, fpm: LocalFPM, number: int) -> None:
    """Each scrape looks anew; a signal is its proper end."""
    started = start("exporter", fpm.address, "--listen", "127.0.0.1:0")
    url = listening(started)
    assert url.startswith("http://127.0.0.1:")
    looks = []
    for _ in range(2):
        with urlopen(url, timeout=SECONDS) as response:
            looks.append(samples(response.read().decode()))
    accepted = [look["fcgi_pool_accepted_connections_total",] for look in looks]
    assert accepted[0] < accepted[1]
    started.process.send_signal(number)
    assert started.end().code == 0


def test_loopback_unless_told_otherwise() -> None:
    """Other machines cannot reach it by default."""
    assert make_parser().parse_args(["exporter", "unix:///a"]).listen == ("127.0.0.1", 9253)
    assert make_parser().parse_args(["exporter", "unix:///a", "--listen", "[::1]:80"]).listen == ("::1", 80)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["unix:///a", "--listen", "9253"], "9253 is not HOST:PORT"),
        (["unix:///a", "--listen", "127.0.0.1:x"], "is not HOST:PORT"),
        (["fpm.sock"], "is not an address"),
    ],
)
def test_wrong_options(command: RunCommand, arguments: list[str], said: str) -> None:
    """What cannot be served is wrong usage."""
    result = command("exporter", *arguments)
    assert (result.code, result.out) == (2, b"")
    result.assert_one_line()
    assert said in result.err


def test_without_prometheus_client(command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra it is said what to install."""
    monkeypatch.delitem(sys.modules, "fcgi_async.telemetry.pool_prometheus", raising=False)
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    result = command("exporter", "unix:///a", "--once")
    assert result.code == 2
    result.assert_one_line()
    assert "pip install 'fcgi-async[prometheus]'" in result.err
