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


@pytest.mark.long
def test_the_site(tmp_path: Path) -> None:
    """It builds without a warning, no link is dead, nothing is loaded from elsewhere, no public name is missing."""
    build(tmp_path)
    pages = {path: Found(path.read_text()) for path in tmp_path.rglob("*.html") if path.name != "404.html"}
    assert dead_links(pages) == []
    loads = [f"{path.name}: {address}" for path, found in pages.items() for address in found.loads]
    assert [load for load in loads if "//" in load and "data:image/svg+xml;base64" not in load] == []
    there = set[str]().union(*(found.names for path, found in pages.items() if path.parent.name == "reference"))
    assert [name for module in MODULES for name in missing(module, there)] == []
    diagrams = [page.stem for page, found in pages.items() if any("data:image" in load for load in found.loads)]
    assert sorted(diagrams) == ["architecture", "index"]


def test_links_and_names_are_seen() -> None:
    """A page's links, its names, and what it loads are told apart."""
    found = Found('<h1 id="a"></h1><a href="b.html#c">b</a><img src="d.svg"><link rel="stylesheet" href="//e/f.css">')
    assert (found.names, found.links, found.loads) == ({"a"}, ["b.html#c"], ["d.svg", "//e/f.css"])
