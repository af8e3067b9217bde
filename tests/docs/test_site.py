"""The documentation as a site: it builds without a warning, misses no public name, and leads nowhere else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

import fcgi_async
import fcgi_async.asgi
import fcgi_async.jobs
import fcgi_async.sync
import fcgi_async.telemetry.instrumentor
import fcgi_async.telemetry.metrics_server
import fcgi_async.telemetry.otel
import fcgi_async.telemetry.prometheus
import fcgi_async.testing
import fcgi_async.wire
from tests.docs.blocks import ROOT
from tests.eventually import soon
from tests.examples.browser import browser

MODULES = (
    fcgi_async,
    fcgi_async.asgi,
    fcgi_async.jobs,
    fcgi_async.sync,
    fcgi_async.telemetry.instrumentor,
    fcgi_async.telemetry.metrics_server,
    fcgi_async.telemetry.otel,
    fcgi_async.telemetry.prometheus,
    fcgi_async.testing,
    fcgi_async.wire,
)
# what people look for, and the page that helps
SOUGHT = {
    "grafana": "guides/operations.html",
    "healthz": "guides/containers.html",
    "Flask": "guides/threads.html",
    "sans-io": "reference/wire.html",
    "thread": "faq.html",
    "File not found": "troubleshooting.html",
    "no worker took the job": "troubleshooting.html",
}
PHONE = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": False}
# pixels beyond the window, and pictures that were not loaded
TOO_WIDE_AND_BROKEN = """
    const broken = [...document.images].filter(image => !image.complete || !image.naturalWidth);
    return [document.documentElement.scrollWidth - innerWidth, broken.map(image => image.src.slice(0, 80))];
"""
TABS = ["Start", "Guides", "Reference", "Explanation", "Evidence"]


class Found(HTMLParser):
    """What a page has: the names that can be linked to, its links, and what a browser loads with it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value for name, value in attrs if value is not None}
        self.names |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        elif tag in ("img", "script", "iframe") and "src" in given:
            self.loads.append(given["src"])
        elif tag == "link" and given.get("rel") in ("stylesheet", "icon", "preconnect"):
            self.loads.append(given["href"])


def build(directory: Path) -> None:
    """Build the site as `make docs` builds it; a warning is an error."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml"]
    done = subprocess.run(
        [*command, "--site-dir", str(directory)],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def dead_links(pages: dict[Path, Found]) -> list[str]:
    """The links that lead to no file, or to no name in it; those to other sites are not followed."""
    dead = []
    for path, found in pages.items():
        for link in found.links + found.loads:
            if ":" in link.partition("/")[0]:
                continue
            place, _, name = link.partition("#")
            target = (path.parent / unquote(place)).resolve() if place else path
            if target.is_dir():
                target /= "index.html"
            if not target.exists() or (name and target in pages and unquote(name) not in pages[target].names):
                dead.append(f"{path.name}: {link}")
    return dead


def missing(module: ModuleType, there: set[str]) -> list[str]:
    """The public names of a module without an entry, also under another module that exports the same."""
    return [
        name
        for name in module.__all__
        if not any(
            getattr(other, name, None) is getattr(module, name) and f"{other.__name__}.{name}" in there
            for other in MODULES
        )
    ]


def words(text: str, separator: str) -> list[str]:
    """The words of a text, as the site's search tells them apart."""
    return [word for word in re.split(separator, re.sub(r"<[^>]+>", "", text).lower()) if word]


def found_by_search(site: Path, sought: str) -> set[str]:
    """The pages that the index of the site's search has words of."""
    index = json.loads((site / "search" / "search_index.json").read_text())
    separator = index["config"]["separator"]
    wanted = set(words(sought, separator))
    return {
        entry["location"].partition("#")[0]
        for entry in index["docs"]
        if wanted <= set(words(f"{entry['title']} {entry['text']}", separator))
    }


def tabs(page: Path) -> list[str]:
    """The titles of the tabs on a page."""
    links = re.findall(r'<a [^>]*class="md-tabs__link"[^>]*>(.*?)</a>', page.read_text(), re.DOTALL)
    return [re.sub(r"<[^>]+>", "", link).strip() for link in links]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built once."""
    folder = tmp_path_factory.mktemp("site")
    build(folder)
    return folder


@pytest.mark.long
def test_the_site(site: Path) -> None:
    """It builds without a warning, no link is dead, nothing is loaded from elsewhere, no public name is missing."""
    pages = {path: Found(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}
    assert dead_links(pages) == []
    loads = [f"{path.name}: {address}" for path, found in pages.items() for address in found.loads]
    assert [load for load in loads if "//" in load and "data:image/svg+xml;base64" not in load] == []
    there = set[str]().union(*(found.names for path, found in pages.items() if path.parent.name == "reference"))
    assert [name for module in MODULES for name in missing(module, there)] == []
    diagrams = [page.stem for page, found in pages.items() if any("data:image" in load for load in found.loads)]
    assert sorted(diagrams) == ["architecture", "index"]
    assert tabs(site / "index.html") == TABS
    assert "Switch to dark" in (site / "index.html").read_text()


@pytest.mark.long
@pytest.mark.parametrize("sought", SOUGHT)
def test_the_search_finds(sought: str, site: Path) -> None:
    """The page that helps is among those that the search finds."""
    assert SOUGHT[sought] in found_by_search(site, sought)


@pytest.mark.long
@pytest.mark.timeout(300)
def test_every_page_fits_a_phone(site: Path, tmp_path: Path) -> None:
    """In a browser no page is wider than a narrow window, and each picture is shown."""
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 50
    with browser(tmp_path / "profile") as driver:
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        for page in pages:
            driver.get(page.as_uri())
            # the layout moves until the fonts and scripts of the page are there
            with suppress(AssertionError):
                soon(lambda: driver.execute_script(TOO_WIDE_AND_BROKEN) == [0, []])
            assert driver.execute_script(TOO_WIDE_AND_BROKEN) == [0, []], page.relative_to(site)


def test_links_and_names_are_seen() -> None:
    """A page's links, its names, and what it loads are told apart."""
    found = Found('<h1 id="a"></h1><a href="b.html#c">b</a><img src="d.svg"><link rel="stylesheet" href="//e/f.css">')
    assert (found.names, found.links, found.loads) == ({"a"}, ["b.html#c"], ["d.svg", "//e/f.css"])
