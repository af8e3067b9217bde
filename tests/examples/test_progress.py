"""The progress service in a real browser, and its stream as other clients see it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.by import By

from tests.asgi.server import Service
from tests.eventually import soon
from tests.examples.browser import browser, complaints, states, text


@pytest.mark.long
def test_progress_arrives_while_jobs_run(progress: Service, tmp_path: Path) -> None:
    """Tiles fill while others wait; no more run than the share of three; in the end all twenty are done, and whole."""
    with browser(tmp_path / "profile") as driver:
        driver.get(f"{progress.url}/?pace=3")
        driver.find_element(By.ID, "start").click()
        seen: list[list[str]] = []

        def look() -> set[str]:
            seen.append(states(driver))
            return set(seen[-1])

        soon(lambda: {"done", "running", "queued"} <= look())
        running = driver.execute_script(
            "return Array.from(document.querySelectorAll('.tile[data-state=running] .bar'), bar => bar.ariaValueNow)"
        )
        assert any(0 < int(percent) < 100 for percent in running)
        soon(lambda: look() == {"done"})
        assert max(row.count("running") for row in seen) <= 3
        assert (text(driver, "done"), text(driver, "lost"), text(driver, "rows")) == ("20", "0", "1440")
        workers = {tile.get_attribute("data-worker") for tile in driver.find_elements(By.CLASS_NAME, "tile")}
        assert len(workers) == len(driver.find_elements(By.CSS_SELECTOR, "#workers span")) <= 4
        assert complaints(driver) == []


@pytest.mark.long
def test_cancel(progress: Service, tmp_path: Path) -> None:
    """The button ends the jobs: those that run are cut off, those that were queued never run, the workers are free."""
    with browser(tmp_path / "profile") as driver:
        driver.get(f"{progress.url}/?pace=300")
        driver.find_element(By.ID, "start").click()
        soon(lambda: "running" in states(driver))
        driver.find_element(By.ID, "cancel").click()
        assert set(states(driver)) == {"cancelled"}
        assert "never ran" in text(driver, "said")
        events = stream(progress, jobs=3, pace=0)
    assert [event for event in events if "error" in event] == []
    # three of another visitor, and no more than the three that the first had workers for
    soon(lambda: 3 < ran(tmp_path) <= 6)


def ran(folder: Path) -> int:
    """How often FPM ran the script, by its own account of the requests that have ended."""
    return (folder / "access.log").read_text().count("tile.php")


def stream(service: Service, **query: int) -> list[dict[str, Any]]:
    """Return the events of a stream, read to its end."""
    with service.client() as client, client.stream("GET", "/events", params=query) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        return [json.loads(line.removeprefix("data: ")) for line in response.iter_lines() if line]


def test_the_stream(progress: Service) -> None:
    """It begins with the plan, has the rows of each tile in order and a result for each job, and ends with its end."""
    plan, *rows, end = stream(progress, jobs=6, pace=0)
    assert (plan["jobs"], end) == (6, {"end": True})
    for job in range(6):
        own = [event for event in rows if event["job"] == job]
        assert [event["progress"]["row"] for event in own if "progress" in event] == list(range(plan["height"]))
        assert ["result" in event for event in own[-2:]] == [True, False]
        assert own[-1] == {"job": job, "success": True}


def test_numbers_out_of_range(progress: Service) -> None:
    """A visitor cannot ask for any number of jobs."""
    with progress.client() as client:
        refused = [client.get(f"/events?{query}").status_code for query in ("jobs=0", "jobs=101", "pace=-1")]
    assert refused == [422] * 3
