"""The documentation as a site: it builds without a warning, misses no public name, and leads nowhere else."""

from __future__ import annotations

import os
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType
from urllib.parse import unquote

import pytest

import fcgi_async
import fcgi_async.asgi
import fcgi_async.telemetry.otel
import fcgi_async.telemetry.prometheus
import fcgi_async.testing
from tests.docs.blocks import ROOT

MODULES = (
    fcgi_async,
    fcgi_async.asgi,
    fcgi_async.telemetry.otel,
    fcgi_async.telemetry.prometheus,
    fcgi_async.testing,
)


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


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built as `make docs` builds it."""
    directory = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", "docs/site/mkdocs.yml"]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(
        [*command, "--site-dir", str(directory)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[Path, Found]:
    """Every page of it."""
    return {path: Found(path.read_text()) for path in site.rglob("*.html") if path.name != "404.html"}


@pytest.mark.long
def test_every_link_leads_somewhere(site: Path, pages: dict[Path, Found]) -> None:
    """A link within the site leads to a file, and to a name in it."""
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
                dead.append(f"{path.relative_to(site)}: {link}")
    assert dead == []


@pytest.mark.long
def test_nothing_is_loaded_from_elsewhere(site: Path, pages: dict[Path, Found]) -> None:
    """Styles, scripts and pictures are the site's own."""
    foreign = [
        f"{path.relative_to(site)}: {address}"
        for path, found in pages.items()
        for address in found.loads
        if "//" in address
    ]
    assert foreign == []


@pytest.mark.long
@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_the_reference_misses_no_public_name(module: ModuleType, pages: dict[Path, Found]) -> None:
    """What a module exports has an entry, under its own name or that of another module that exports the same."""
    there = set[str]().union(*(found.names for path, found in pages.items() if path.parent.name == "reference"))
    missing = [
        name
        for name in module.__all__
        if not any(
            getattr(other, name, None) is getattr(module, name) and f"{other.__name__}.{name}" in there
            for other in MODULES
        )
    ]
    assert missing == []


def test_links_and_names_are_seen() -> None:
    """A page's links, its names, and what it loads are told apart."""
    found = Found('<h1 id="a"></h1><a href="b.html#c">b</a><img src="d.svg"><link rel="stylesheet" href="//e/f.css">')
    assert (found.names, found.links, found.loads) == ({"a"}, ["b.html#c"], ["d.svg", "//e/f.css"])
