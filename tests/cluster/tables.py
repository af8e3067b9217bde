"""Tables of what was seen of clusters, in build/cluster."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(__file__).parent.parent.parent / "build" / "cluster"


def write(name: str, rows: Iterable[str]) -> None:
    """Write the rows of a table."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (_FOLDER / f"{name}.md").write_text("".join(f"{row}\n" for row in rows))
