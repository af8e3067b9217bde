"""The page of durable jobs in a real browser, and what serves it."""

from __future__ import annotations

import argparse
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest
from anyio.from_thread import start_blocking_portal
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By

from fcgi_async import ConfigurationError
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.jobs_web import add_web, web
from fcgi_async.jobs import Jobs
from fcgi_async.jobs.serve import bind, is_loopback
from tests.eventually import soon
from tests.examples.browser import browser, complaints
from tests.jobs.web_scene import make_scene

ROOT = Path(__file__).parent.parent.parent
SERVE = """
import anyio, argparse, sys
from fcgi_async.commands.jobs_web import add_web, web
from fcgi_async.jobs import Jobs

async def main(url, *arguments):
    parser = argparse.ArgumentParser()
    add_web(parser)
    async with Jobs(url) as jobs:
        return await web(jobs, parser.parse_args(arguments))

sys.exit(anyio.run(main, *sys.argv[1:]))
"""


@contextmanager
def serving(url: str, *options: str, token: str = "") -> Iterator[str]:
    """Serve the page as the command does, and yield its address."""
    process = subprocess.Popen(
        [sys.executable, "-c", SERVE, url, "--port", "0", *options],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "FCGI_ASYNC_JOBS_TOKEN": token},
    )
    assert process.stderr is not None
    try:
        line = process.stderr.readline()
        found = re.search(r"http://\S+", line)
        assert found, line + process.stderr.read()
        yield found[0]
        process.send_signal(signal.SIGTERM)
        process.wait(20)
    finally:
        process.kill()
        process.wait()
        process.stderr.close()


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database with jobs in every state."""
    url = f"sqlite://{tmp_path / 'jobs.db'}"
    with start_blocking_portal() as portal:
        portal.call(make_scene, url)
    return url


def says(driver: Chrome, selector: str, what: str) -> bool:
    """Whether an element of the page that is shown now says it; False while another page is loaded."""
    try:
        return what in driver.find_element(By.CSS_SELECTOR, selector).text
    except (NoSuchElementException, StaleElementReferenceException):
        return False


def press(driver: Chrome, selector: str, selector_then: str, what: str) -> None:
    """Click an element, and wait for what the page says then."""
    driver.find_element(By.CSS_SELECTOR, selector).click()
    soon(lambda: says(driver, selector_then, what))


def test_a_person_at_a_browser(url: str, tmp_path: Path) -> None:
    """Sees what there is, opens a job in doubt, retries it, and pauses a queue; the browser has no complaints."""
    with serving(url, "--actions") as address, browser(tmp_path / "profile") as driver:
        driver.get(address)
        assert says(driver, ".tile.in_doubt b", "2")
        # its own style is allowed by its own policy
        tile = driver.find_element(By.CSS_SELECTOR, ".tile.dead")
        assert tile.value_of_css_property("border-top-style") == "solid"
        press(driver, ".tile.in_doubt", "h1", "Jobs that are in doubt")
        press(driver, "td code", "pre", "PHP may have run it")
        press(driver, "button[value=retry]", "dd", "ready")
        press(driver, "header a", ".tile.in_doubt b", "1")
        press(driver, "#queue-mail button", "#queue-mail", "(paused)")
        press(driver, ".tile.dead", "h1", "Jobs that are dead")
        for chosen in driver.find_elements(By.CSS_SELECTOR, "input[type=checkbox]"):
            chosen.click()
        press(driver, "button[value=retry]", "body", "There are none")
        assert [line for line in complaints(driver) if "favicon" not in line] == []


def test_a_form_of_another_site_is_refused(url: str, tmp_path: Path) -> None:
    """A page elsewhere that knows everything but the mark sends a form to it, and nothing is done."""
    with serving(url, "--actions") as address, browser(tmp_path / "profile") as driver:
        evil = tmp_path / "evil.html"
        evil.write_text(
            f'<form method="post" action="{address}"><input name="action" value="pause">'
            '<input name="queue" value="mail"><input name="csrf" value="x"><button id="go">go</button>'
        )
        driver.get(evil.as_uri())
        press(driver, "#go", "body", "not sent from this page")
        driver.get(address)
        assert not says(driver, "#queue-mail", "(paused)")


def test_with_a_token_it_listens_for_others(url: str) -> None:
    with serving(url, "--host", "0.0.0.0", token="secret") as address:
        here = address.replace("0.0.0.0", "127.0.0.1")
        with pytest.raises(HTTPError, match="401"):
            urlopen(here, timeout=20)
        with urlopen(Request(here, headers={"Authorization": "Bearer secret"}), timeout=20) as answer:
            assert answer.status == 200


def test_without_a_token_only_this_machine_is_served(url: str) -> None:
    """Neither another address, nor a name that points here."""
    for host in ("0.0.0.0", "::", "192.0.2.1", "example.org"):
        with pytest.raises(ConfigurationError, match="give a token, or listen on 127"):
            bind(host, 0, token=None)
    assert [is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "localhost")] == [True] * 4
    with serving(url) as address, pytest.raises(HTTPError, match="421"):
        urlopen(Request(address, headers={"Host": "evil.example"}), timeout=20)


def test_what_the_command_refuses(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_web(parser)

    async def serve(*arguments: str) -> None:
        async with Jobs(tmp_path / "jobs.db") as jobs:
            await web(jobs, parser.parse_args(arguments))

    empty = tmp_path / "empty"
    empty.touch()
    with start_blocking_portal() as portal, socket.create_server(("127.0.0.1", 0)) as taken:
        with pytest.raises(UsageError, match="it is empty"):
            portal.call(serve, "--token-file", str(empty))
        with pytest.raises(UsageError, match="No such file"):
            portal.call(serve, "--token-file", str(tmp_path / "none"))
        with pytest.raises(OSError, match="in use"):
            portal.call(serve, "--port", str(taken.getsockname()[1]))
