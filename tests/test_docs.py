"""The documentation: its generated parts are current, its links lead somewhere, and its examples run."""

from __future__ import annotations

import ast
import functools
import re
import subprocess
import sys
from pathlib import Path

import pytest

from docs import diagrams, generate

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


@functools.cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, and of the public names that it is the reference of."""
    text = page.read_text()
    titles = {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in HEADING.findall(text)}
    return titles | set(ENTRY.findall(text))


@functools.cache
def functions(path: Path) -> set[str]:
    """The names of all functions in a source file."""
    nodes = ast.walk(ast.parse(path.read_text()))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@functools.cache
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


def readme_example() -> str:
    """The Python example in the README."""
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    return str(example)


def test_generated_parts_are_current() -> None:
    """Tables and pictures say what the code says; `make docs` writes them."""
    assert generate.stale() == []


@pytest.mark.parametrize("page", generate.BLOCKS)
def test_stale_block_is_found(page: str) -> None:
    """A part that was changed by hand is written anew."""
    text = (generate.DOCS / page).read_text()
    changed = text.replace("\n<!-- end:", "\nby hand\n<!-- end:", 1)
    assert changed != text
    assert generate.render(changed, generate.BLOCKS[page]) == text


def test_unknown_block_is_refused() -> None:
    """A page with a block that nobody writes, or without one that somebody does, is an error."""
    with pytest.raises(ValueError, match="has the blocks"):
        generate.render("<!-- begin:unknown -->\n<!-- end:unknown -->", {})
    with pytest.raises(ValueError, match="should have"):
        generate.render("nothing", {"known": lambda: ""})


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


def test_drawn_code_exists() -> None:
    """A method that the picture of a job's way names is there."""
    classes = attributes()
    steps = [step.text for step in diagrams.JOB if isinstance(step, diagrams.Step)]
    drawn = re.findall(r"([A-Z]\w+)\.(\w+)\(", " ".join(steps))
    assert drawn
    assert [f"{owner}.{name}" for owner, name in drawn if name not in classes.get(owner, ())] == []


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_readme_example_runs(backend: str) -> None:
    """The README's example runs as it stands, and prints what its comments say."""
    example = readme_example()
    promised = [comment.strip() for comment in re.findall(r"#(.*)$", example, re.MULTILINE)]
    source = example.replace("anyio.run(main)", f"anyio.run(main, backend={backend!r})")
    done = subprocess.run([sys.executable, "-W", "error", "-c", source], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout.splitlines(), done.returncode) == ("", promised, 0)
