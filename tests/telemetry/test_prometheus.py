"""Metrics of jobs on a real PHP-FPM, as Prometheus gets them."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import anyio
import attrs
import pytest
from prometheus_client import CollectorRegistry, generate_latest, start_http_server
from prometheus_client.parser import text_string_to_metric_families

from fcgi_async import ConfigurationError, Dispatcher, Job, LocalFPM, Statistics
from fcgi_async.telemetry.prometheus import PrometheusCollector
from fcgi_async.telemetry.readings import BUCKETS, READINGS
from tests.telemetry.scenario import WAYS, endpoint, every_ending, every_way

pytestmark = pytest.mark.anyio


@attrs.define(eq=False)
class Scraped:
    """A collector, and the registry that is scraped."""

    registry: CollectorRegistry = attrs.field(factory=lambda: CollectorRegistry(auto_describe=True))
    collector: PrometheusCollector = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.collector = PrometheusCollector(self.registry)

    async def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """Scrape, and return a sample's values by their labels, but for the dispatcher's."""
        families = text_string_to_metric_families(await anyio.to_thread.run_sync(self._scrape))
        found = {}
        for sample in (sample for family in families for sample in family.samples if sample.name == name):
            assert sample.labels.pop("dispatcher") == "test"
            found[tuple(sorted(sample.labels.items()))] = sample.value
        return found

    async def types(self) -> dict[str, str]:
        """Scrape, and return the types of ours by their names."""
        families = text_string_to_metric_families(await anyio.to_thread.run_sync(self._scrape))
        return {family.name: family.type for family in families if not family.name.endswith("_created")}

    def _scrape(self) -> str:
        return generate_latest(self.registry).decode()


@pytest.fixture
def scraped() -> Scraped:
    """A collector with a registry of its own."""
    return Scraped()


def test_over_http(scraped: Scraped) -> None:
    """What an HTTP client gets of prometheus_client's own server is what the registry has."""
    scraped.collector.instrument(Dispatcher("unix:///run/php/php-fpm.sock", max_children=1), name="test")
    server, thread = start_http_server(0, "127.0.0.1", scraped.registry)
    try:
        with urlopen(f"http://127.0.0.1:{server.server_port}/metrics", timeout=20) as answer:
            got = answer.read()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
    assert got == generate_latest(scraped.registry)
    assert b"fcgi_slots_limit" in got


async def test_every_way(scraped: Scraped, start_fpm: Any, scripts: Path) -> None:
    """Whichever way a job is handed in, it is counted once; the rest is what statistics() says when it scrapes."""
    fpm = await start_fpm(max_children=2)
    async with scraped.collector.instrument(Dispatcher(endpoint(fpm, scripts)), name="test") as php:
        await every_way(php)
        jobs = sum(WAYS.values())
        labels = (("error", ""), ("route", ""), ("script", "respond.php"), ("status", "200"))
        assert await scraped.samples("fcgi_job_duration_seconds_count") == {labels: jobs}
        assert await scraped.samples("fcgi_job_queue_seconds_count") == {(): jobs}
        (connects,) = (await scraped.samples("fcgi_connect_seconds_count")).values()
        assert 1 <= connects <= php.statistics().connections_opened
        bounds = {dict(labels)["le"] for labels in await scraped.samples("fcgi_job_queue_seconds_bucket")}
        assert bounds == {str(bound) for bound in BUCKETS} | {"+Inf"}
        for reading in READINGS:
            name = reading.prometheus + ("_total" if reading.counter else "")
            expected = {
                ((reading.label, value),) if reading.label else (): number
                for value, number in reading.read(php.statistics()).items()
            }
            assert await scraped.samples(name) == expected


async def test_every_ending(scraped: Scraped, start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """Jobs are told apart by their status, or by the error that they ended in."""
    fpm = await start_fpm(max_children=1)
    async with scraped.collector.instrument(Dispatcher(endpoint(fpm, scripts)), name="test") as php:
        await every_ending(php, tmp_path)
    durations = await scraped.samples("fcgi_job_duration_seconds_count")
    assert {(dict(labels)["status"], dict(labels)["error"]): number for labels, number in durations.items()} == {
        ("404", ""): 1,
        ("", "JobCancelled"): 1,
        ("", "QueueTimeout"): 1,
        ("200", ""): 1,
    }
    assert await scraped.samples("fcgi_jobs_ended_total") == {
        (("outcome", "completed"),): 2,
        (("outcome", "php_error"),): 0,
        (("outcome", "failed"),): 1,
        (("outcome", "cancelled"),): 1,
    }
    assert await scraped.samples("fcgi_job_retries_total") == {(): 1}


async def test_jobs_at_which_php_failed(scraped: Scraped, start_fpm: Any, scripts: Path, tmp_path: Path) -> None:
    """They are an outcome of their own: a status from 500 on, or a fatal error that the status does not show."""
    fpm = await start_fpm(max_children=1, ini={"display_errors": "on"})
    (tmp_path / "dies.php").write_text("<?php echo 'sent'; flush(); nothing_like_it();")
    async with scraped.collector.instrument(Dispatcher(endpoint(fpm, scripts, root=None)), name="test") as php:
        assert (await php.run(Job(str(tmp_path / "dies.php")))).status == 200
        for status in ("503", "404", "200"):
            await php.run(Job(str(scripts / "respond.php"), query={"status": status, "log": "PHP Warning:  not fatal"}))
        assert php.statistics().php_errors == 2
    durations = await scraped.samples("fcgi_job_duration_seconds_count")
    found = {(dict(labels)["status"], dict(labels)["error"]): number for labels, number in durations.items()}
    assert found == {("200", "php_error"): 1, ("503", ""): 1, ("404", ""): 1, ("200", ""): 1}
    ended = await scraped.samples("fcgi_jobs_ended_total")
    assert (ended[("outcome", "completed"),], ended[("outcome", "php_error"),]) == (2, 2)


async def routes(scraped: Scraped) -> dict[str, float]:
    """How many jobs each route had."""
    durations = await scraped.samples("fcgi_job_duration_seconds_count")
    return {dict(labels)["route"]: number for labels, number in durations.items()}


async def test_routes_are_names_of_views(scraped: Scraped, fpm: LocalFPM, scripts: Path) -> None:
    """A view inside a view has the outer one's name unless it has its own."""
    async with scraped.collector.instrument(Dispatcher(endpoint(fpm, scripts)), name="test") as php:
        shop = php.view(name="shop")
        for view in (php, shop, shop.view(priority=1), shop.view(name="cart")):
            await view.run(Job("respond.php"))
        with pytest.raises(ConfigurationError, match="name"):
            php.view(name=7)  # type: ignore[arg-type]
    assert await routes(scraped) == {"": 1, "shop": 2, "cart": 1}


async def test_routes_are_bounded(
    scraped: Scraped, fpm: LocalFPM, scripts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller says what a job's route is; from some number on there are no new ones, which is told once."""
    php = Dispatcher(endpoint(fpm, scripts))
    async with scraped.collector.instrument(php, name="test", route=lambda job: job.tag):
        await php.run_all([Job("respond.php", tag=tag) for tag in (*range(205), 0, None)])
    found = await routes(scraped)
    assert (len(found), found["0"], found["other"], found[""]) == (202, 2, 5, 1)
    assert [record.name for record in caplog.records] == ["fcgi_async.telemetry"]


async def test_types(scraped: Scraped, start_fpm: Any) -> None:
    """Gauges and counters are declared as such, before there is anything to tell."""
    declared = {reading.prometheus: "counter" if reading.counter else "gauge" for reading in READINGS}
    histograms = ("fcgi_job_duration_seconds", "fcgi_job_queue_seconds", "fcgi_connect_seconds")
    assert await scraped.types() == declared | dict.fromkeys(histograms, "histogram")


async def test_several_dispatchers(scraped: Scraped, start_fpm: Any, scripts: Path) -> None:
    """Those of one name are added up; one that was not entered yet has nothing to tell."""
    fpm = await start_fpm(max_children=2)
    scraped.collector.instrument(Dispatcher(fpm.address, max_children=1), name="test")
    first, second = (
        scraped.collector.instrument(Dispatcher(endpoint(fpm, scripts, max_children=1)), name="test") for _ in range(2)
    )
    async with first, second:
        for php in (first, second):
            await php.run(Job("respond.php"))
        assert await scraped.samples("fcgi_slots_limit") == {(): 2}
        assert await scraped.samples("fcgi_connections_opened_total") == {(): 2}


def test_name_is_the_address_unless_given() -> None:
    """Of several endpoints all."""
    collector = PrometheusCollector(None)
    php = collector.instrument(Dispatcher("unix:///run/php/php-fpm.sock", max_children=1))
    assert collector._dispatchers._live == [(php, "unix:///run/php/php-fpm.sock")]


def test_every_number_is_read() -> None:
    """No number of statistics() is left out."""
    numbers = {field.name: 1 << place for place, field in enumerate(attrs.fields(Statistics))}
    # outside is a part of queued, php_errors of completed, the timeouts are a part of failed
    numbers["queued"] += numbers["outside"]
    numbers["completed"] += numbers["php_errors"]
    read = sum(sum(reading.read(Statistics(**numbers)).values()) for reading in READINGS)
    assert read == sum(numbers.values()) - numbers["outside"] - numbers["php_errors"]


async def test_counters_of_those_that_are_closed(scraped: Scraped, start_fpm: Any, scripts: Path) -> None:
    """What a closed dispatcher has done stays in the counters of its name, and nothing of it in the gauges."""
    fpm = await start_fpm(max_children=2)
    for jobs in (3, 2):
        async with scraped.collector.instrument(Dispatcher(endpoint(fpm, scripts)), name="test") as php:
            await php.run_all(Job("respond.php") for _ in range(jobs))
        del php
        gc.collect()
        if jobs == 3:
            assert (await scraped.samples("fcgi_jobs_ended_total"))[("outcome", "completed"),] == 3
    for _ in range(2):
        assert (await scraped.samples("fcgi_jobs_ended_total"))[("outcome", "completed"),] == 5
    assert await scraped.samples("fcgi_slots_limit") == {(): 0}
