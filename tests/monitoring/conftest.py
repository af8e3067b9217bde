"""A real Prometheus, with the rules that are shipped."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import urlopen

import attrs

from fcgi_async.fpm.local import find_free_port
from tests.eventually import soon
from tests.monitoring.test_files import RULES

__all__ = ("Prometheus", "prometheus")

CONFIGURATION = """\
global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 200ms}}
rule_files: {rules}
scrape_configs:
  - {{job_name: service, static_configs: [{{targets: ["127.0.0.1:{port}"]}}]}}
  - job_name: pool
    scrape_interval: 1s
    scrape_timeout: 1s
    static_configs: [{{targets: ["127.0.0.1:{pool_port}"]}}]
"""


@attrs.frozen
class Prometheus:
    """One that runs."""

    url: str

    def ask(self, path: str, **query: str) -> Any:
        """The data of an answer; None while there is nobody to answer."""
        try:
            with urlopen(f"{self.url}/api/v1/{path}?{urlencode(query)}", timeout=20) as answer:
                return json.load(answer)["data"]
        except (URLError, ConnectionError):
            return None

    def values(self, expression: str) -> list[float]:
        """What an expression comes to now."""
        found = self.ask("query", query=expression)["result"]
        return [float(series["value"][1]) for series in found]

    def alerts(self) -> dict[str, str]:
        """The states of the alerts that are not silent."""
        return {alert["labels"]["alertname"]: alert["state"] for alert in self.ask("alerts")["alerts"]}


@contextmanager
def prometheus(directory: Path, port: int, pool_port: int) -> Iterator[Prometheus]:
    """Run one that scrapes a service and an exporter again and again."""
    configuration = directory / "prometheus.yml"
    configuration.write_text(
        CONFIGURATION.format(rules=json.dumps([str(path) for path in RULES]), port=port, pool_port=pool_port)
    )
    found = Prometheus(f"http://127.0.0.1:{find_free_port()}")
    command = [
        "prometheus",
        f"--config.file={configuration}",
        f"--storage.tsdb.path={directory}/data",
        f"--web.listen-address={found.url.removeprefix('http://')}",
    ]
    with (directory / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        soon(lambda: found.ask("status/buildinfo") is not None)
        yield found
    finally:
        process.kill()
        process.wait()
