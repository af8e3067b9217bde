"""The alert rules and the dashboard that are shipped: Prometheus takes them, and what they name is there."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from fcgi_async.telemetry.gateway_readings import GATEWAY_READINGS
from fcgi_async.telemetry.job_readings import JOB_READINGS
from fcgi_async.telemetry.pool_readings import POOL_READINGS
from fcgi_async.telemetry.prometheus import PrometheusCollector
from fcgi_async.telemetry.readings import READINGS
from tests.docs.test_tables import table

HERE = Path(__file__).parent
FOLDER = HERE.parents[1] / "docs" / "monitoring"
RULES = sorted(FOLDER.glob("*.yml"))
DASHBOARD: dict[str, Any] = json.loads((FOLDER / "dashboard.json").read_text())
NAME = re.compile(r"\bfcgi_\w+")


def alerts() -> list[dict[str, Any]]:
    """Every alert, those of the service first."""
    files = [FOLDER / f"{name}.yml" for name in ("alerts", "alerts-durable-jobs", "alerts-pool")]
    assert sorted(files) == RULES
    groups = [group for file in files for group in yaml.safe_load(file.read_text())["groups"]]
    return [rule for group in groups for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    """Every panel, without the rows between them."""
    return [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[tuple[str, str]]:
    """Every expression of a rule or a panel, with where it is from."""
    for rule in alerts():
        yield rule["alert"], rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def metrics() -> list[Metric]:
    """What a collector can tell."""
    collector = PrometheusCollector(CollectorRegistry())
    return [*collector.collect(), *collector.start.collect(), *collector.attempts.collect()]


def series() -> set[str]:
    """The names of all series that Prometheus gets."""
    readings: Any = (*READINGS, *GATEWAY_READINGS, *JOB_READINGS, *POOL_READINGS)
    found = {reading.prometheus + ("_total" if reading.counter else "") for reading in readings}
    for metric in metrics():
        if metric.type == "histogram":
            found |= {metric.name + ending for ending in ("_bucket", "_count", "_sum")}
        elif metric.type == "counter":
            found.add(f"{metric.name}_total")
    return found


def promtool(*arguments: object) -> str:
    """Run promtool, and return what it says; it has to be content."""
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_prometheus_takes_the_rules() -> None:
    """promtool finds nothing wrong, and every rule."""
    said = promtool("check", "rules", "--lint=all", "--lint-fatal", *RULES)
    assert sum(int(number) for number in re.findall(r"(\d+) rules found", said)) == len(alerts())


def test_each_alert_fires_and_is_silent() -> None:
    """At the series of series.yml, which have each alert in both ways."""
    promtool("test", "rules", HERE / "series.yml")
    named = [
        (case["alertname"], bool(case.get("exp_alerts")))
        for test in yaml.safe_load((HERE / "series.yml").read_text())["tests"]
        for case in test["alert_rule_test"]
    ]
    assert set(named) == {(rule["alert"], fires) for rule in alerts() for fires in (True, False)}


@pytest.mark.parametrize(("place", "expression"), list(expressions()))
def test_every_metric_that_is_named_exists(place: str, expression: str) -> None:
    """Under the name that a series has in Prometheus."""
    assert set(NAME.findall(expression)) <= series()


def test_every_metric_is_shown() -> None:
    """No metric is left out of the dashboard."""
    named = {name for panel in panels() for target in panel["targets"] for name in NAME.findall(target["expr"])}
    whole = {re.sub(r"_(bucket|count|sum)$", "", name) for name in series() if not name.endswith("_total")}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in named}
    assert whole | {name for name in series() if name.endswith("_total")} == shown


def test_the_dashboard_is_whole() -> None:
    """Each panel has what Grafana wants, a description, and a place where no other is."""
    everything = DASHBOARD["panels"]
    assert len({panel["id"] for panel in everything}) == len(everything)
    places: set[tuple[int, int]] = set()
    for panel in everything:
        place = panel["gridPos"]
        own = {(place["x"] + dx, place["y"] + dy) for dx in range(place["w"]) for dy in range(place["h"])}
        assert not own & places, panel["title"]
        assert max(x for x, _ in own) < 24
        places |= own
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    for panel in panels():
        assert panel["description"].endswith(".")
        assert panel["fieldConfig"]["defaults"]["unit"]
        used = {name for target in panel["targets"] for name in re.findall(r"\$(\w+)", target["expr"])}
        assert used <= variables | {"__rate_interval"}
        assert panel["datasource"]["uid"] == "${datasource}"


def test_the_guide_has_every_alert() -> None:
    """In their order, with their severity, and with what to do."""
    rows = [row for number in range(3) for row in table("guides/operations.md", "Alerts", number)]
    assert [row[:2] for row in rows] == [(f"`{rule['alert']}`", rule["labels"]["severity"]) for rule in alerts()]
    assert all(all(row) and len(row) == 4 for row in rows)
