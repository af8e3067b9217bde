"""The demo's input: the Python files of a directory tree, and their counts."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import attrs

__all__ = ("Count", "count", "find_sources", "total")


@attrs.frozen
class Count:
    """The counts of one file, or of many: words end at ASCII whitespace, lines with a line feed."""

    bytes: int
    lines: int
    words: int
    sha256: str
    files: int = 1


def find_sources(directory: Path) -> dict[str, Path]:
    """Find the `.py` files of a tree, sorted by name, without installed packages."""
    found = {str(path.relative_to(directory)): path for path in directory.rglob("*.py") if path.is_file()}
    installed = {"site-packages", "dist-packages"}
    return {name: found[name] for name in sorted(found) if installed.isdisjoint(Path(name).parts)}


def count(content: bytes) -> Count:
    """Count the same as the PHP script."""
    return Count(len(content), content.count(b"\n"), len(content.split()), hashlib.sha256(content).hexdigest())


def total(counts: Mapping[str, Count]) -> Count:
    """Add up the counts of named files; the hash is of the lines that `sha256sum` would print for them."""
    lines = "".join(f"{counts[name].sha256}  {name}\n" for name in sorted(counts))
    return Count(
        sum(found.bytes for found in counts.values()),
        sum(found.lines for found in counts.values()),
        sum(found.words for found in counts.values()),
        hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(),
        len(counts),
    )
