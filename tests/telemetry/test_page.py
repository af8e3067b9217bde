"""The page about telemetry names every logger."""

from __future__ import annotations

import re
from pathlib import Path

import fcgi_async

PAGE = (Path(__file__).parents[2] / "docs" / "telemetry.md").read_text()


def test_every_logger_is_named() -> None:
    """The table has the loggers that the code has, and no others."""
    sources = [path.read_text() for path in Path(fcgi_async.__file__).parent.rglob("*.py")]
    loggers = {name for source in sources for name in re.findall(r'= logging\.getLogger\("(\w+\.\w+)"\)', source)}
    assert set(re.findall(r"^\| `(fcgi_async\.\w+)` \|", PAGE, re.MULTILINE)) == loggers
