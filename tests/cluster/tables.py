"""Tables of what was seen of clusters, in build/cluster."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_FOLDER = Path(__file__).parent.parent.parent / "build" / "cluster"


def write(what: str, rows: Iterable[str]) -> None:
    """Write the rows of a table into a file of their own."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    (_FOLDER / f"{re.sub(r'[ ,]+', '-', what)}.md").write_text("".join(f"{row}\n" for row in rows))
