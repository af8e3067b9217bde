"""The demo's input: the Python files of a directory tree, and what they count to."""

from __future__ import annotations

import hashlib
import sysconfig
from collections.abc import Iterable
from pathlib import Path

import attrs

__all__ = ("Count", "Source", "Totals", "count", "find_sources", "standard_library")

# packages that were installed beside the standard library
_NOT_STANDARD = {"site-packages", "dist-packages"}


@attrs.frozen
class Source:
    """A Python file.

    Attributes:
        name: its path under the tree.
        path: where it is.
    """

    name: str
    path: Path


@attrs.frozen
class Count:
    """What is counted of a file; a word is what stands between ASCII whitespace, a line what ends with a line feed."""

    bytes: int
    lines: int
    words: int
    sha256: str


@attrs.frozen
class Totals:
    """What is counted of many files.

    Attributes:
        sha256: over the lines that `sha256sum` would print for them.
    """

    files: int
    bytes: int
    lines: int
    words: int
    sha256: str

    @classmethod
    def of(cls, counts: Iterable[tuple[str, Count]]) -> Totals:
        """Add up the counts of named files, in whatever order they come."""
        named = sorted(counts, key=lambda pair: pair[0])
        lines = "".join(f"{found.sha256}  {name}\n" for name, found in named)
        return cls(
            len(named),
            sum(found.bytes for _, found in named),
            sum(found.lines for _, found in named),
            sum(found.words for _, found in named),
            hashlib.sha256(lines.encode("utf-8", "surrogateescape")).hexdigest(),
        )


def standard_library() -> Path:
    """Where the running Python keeps its standard library."""
    return Path(sysconfig.get_path("stdlib"))


def find_sources(directory: Path) -> list[Source]:
    """Find the `.py` files of a tree, in the order of their names; packages that are installed there are left out."""
    found = [
        Source(str(path.relative_to(directory)), path)
        for path in directory.rglob("*.py")
        if path.is_file() and _NOT_STANDARD.isdisjoint(path.relative_to(directory).parts)
    ]
    return sorted(found, key=lambda source: source.name)


def count(content: bytes) -> Count:
    """Count what the PHP script counts."""
    return Count(len(content), content.count(b"\n"), len(content.split()), hashlib.sha256(content).hexdigest())
