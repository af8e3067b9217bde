"""Commands that pages name, and that take too long to be typed here, are there."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.docs.blocks import PAGES, ROOT

# in a block of its own, or as code within a sentence
MAKE = re.compile(r"(?:^    |`)make ([a-z][a-z-]*)", re.MULTILINE)
MODULE = re.compile(r"(?:^    |`|[;/] ?(?:or )?)python -m ([a-z_][\w.]*)", re.MULTILINE)

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())


@every_page
def test_targets(page: Path) -> None:
    """Every `make` target that a page names is in the Makefile."""
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(MAKE.findall(page.read_text())) <= targets


@every_page
def test_modules(page: Path) -> None:
    """Every module that a page has run is one."""
    assert [name for name in MODULE.findall(page.read_text()) if find_spec(name) is None] == []


def test_they_are_seen() -> None:
    """Both forms of a command are found."""
    assert MAKE.findall("see `make docs`\n\n    make bench    # long\n") == ["docs", "bench"]
    assert MODULE.findall("    python -m benchmarks.kept\n") == ["benchmarks.kept"]
