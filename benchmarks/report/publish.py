"""Writes the report: the page and the charts, and where it is that of the documentation, the README's table."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.report.charts import draw
from benchmarks.report.page import headline, page
from benchmarks.report.results import Measured

__all__ = ("DOCS", "README", "publish", "with_headline")

DOCS = Path(__file__).parents[2] / "docs"
README = DOCS.parent / "README.md"


def publish(measured: Measured, folder: Path) -> None:
    """Write everything that is made of what was measured."""
    draw(measured, folder / "images")
    (folder / "benchmarks.md").write_text(page(measured))
    if folder.resolve() == DOCS:
        README.write_text(with_headline(README.read_text(), measured))


def with_headline(readme: str, measured: Measured) -> str:
    """Return the README with the short table between its marks."""
    marked = r"(?<=<!-- begin:bench -->\n).*(?=<!-- end:bench -->)"
    return re.sub(marked, lambda _: headline(measured) + "\n", readme, flags=re.DOTALL)
