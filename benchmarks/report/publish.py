"""Writes the report: the page and the charts, and where it is that of the documentation, the README's table."""

from __future__ import annotations

from pathlib import Path

from benchmarks.report.charts import draw
from benchmarks.report.page import page
from benchmarks.report.results import Measured

__all__ = ("DOCS", "publish")

DOCS = Path(__file__).parents[2] / "docs"


def publish(measured: Measured, folder: Path) -> None:
    """Write everything that is made of what was measured."""
    draw(measured, folder / "images")
    (folder / "benchmarks.md").write_text(page(measured))
    if folder.resolve() == DOCS:
        # here alone: it looks at the tests as well, which a report elsewhere needs nothing of
        from docs.generate import write

        write()
