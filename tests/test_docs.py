"""The documentation: its links lead somewhere, and what it names exists."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")), *sorted((ROOT / "benchmarks").glob("*.md"))]
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
ENTRY = re.compile(r"^::: (\S+)$", re.MULTILINE)
TEST_NAME = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
SOURCE_NAME = re.compile(r"`((?:[a-z]+/)+[a-z_]+\.py)`")
METHOD_NAME = re.compile(r"`([A-Z]\w+)\.(\w+)(?:\(\))?`")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


def dead_links(page: Path, text: str) -> list[str]:
    """The links of a page that lead to no file, or to no heading in it; those to other sites are not followed."""
    dead = []
    for link in LINK.findall(text):
        if "://" in link:
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            dead.append(link)
    return dead


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, and of the public names that it is the reference of."""
    text = page.read_text()
    titles = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)}
    return titles | set(ENTRY.findall(text))


@cache
def functions(path: Path) -> set[str]:
    """The names of all functions in a source file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@cache
def attributes() -> dict[str, set[str]]:
    """What every class of the package defines in its body, or a class of the package that it is made of."""
    found: dict[str, set[str]] = {}
    bases: dict[str, list[str]] = {}
    for path in (ROOT / "fcgi_async").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                names = found.setdefault(node.name, set())
                bases.setdefault(node.name, []).extend(base.id for base in node.bases if isinstance(base, ast.Name))
                for item in node.body:
                    if isinstance(item, ast.FunctionDef | ast.AsyncFunctionDef):
                        names.add(item.name)
                    elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        names.add(item.target.id)
    return {name: own.union(*(found.get(base, set()) for base in bases[name])) for name, own in found.items()}


@every_page
def test_links_lead_somewhere(page: Path) -> None:
    """Every link and picture of a page is a file that is there."""
    assert dead_links(page, page.read_text()) == []


def test_dead_link_is_found() -> None:
    """A missing file, a missing heading and a missing picture are dead links."""
    text = "[a](nothing.md) [b](index.md#nothing) ![c](images/nothing.svg) [d](https://example.org/x) [e](index.md)"
    assert dead_links(ROOT / "docs" / "page.md", text) == ["nothing.md", "index.md#nothing", "images/nothing.svg"]


@every_page
def test_named_tests_exist(page: Path) -> None:
    """A test that a page names as proof is there."""
    named = set(TEST_NAME.findall(page.read_text()))
    missing = [
        f"{path}::{name}"
        for path, name in sorted(named)
        if not (ROOT / path).exists() or (name and name not in functions(ROOT / path))
    ]
    assert missing == []


@every_page
def test_named_code_exists(page: Path) -> None:
    """A file or a method of the package that a page names is there."""
    text, classes = page.read_text(), attributes()
    files = [path for path in SOURCE_NAME.findall(text) if not path.startswith(("tests/", "docs/", "benchmarks/"))]
    assert [path for path in files if not (ROOT / "fcgi_async" / path).exists()] == []
    methods = [(owner, name) for owner, name in METHOD_NAME.findall(text) if owner in classes]
    assert [f"{owner}.{name}" for owner, name in methods if name not in classes[owner]] == []


def test_the_readme_is_short() -> None:
    """Someone new reads it whole."""
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120
