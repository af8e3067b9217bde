"""The code blocks of a page.

A block whose first line is a comment with nothing but a path is a file of that name; Python without a name is run as it
stands, `sh` is typed, and `text` right behind `sh` is what that prints.
"""

from __future__ import annotations

import re
from pathlib import Path

import attrs

__all__ = ("DOCS", "PAGES", "ROOT", "Block", "blocks", "typed_pages")

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]

_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_NAME = re.compile(r"(?:#|;|//|<\?php //) ([\w./-]+\.\w+)$")


@attrs.frozen
class Block:
    """One fenced block.

    Attributes:
        page: where it stands.
        line: the line of its first line there, from 1.
        language: what stands behind its fence.
        text: what it holds.
        prints: what the text block right behind it says; None where there is none.
    """

    page: Path
    line: int
    language: str
    text: str
    prints: str | None = None

    @property
    def name(self) -> str | None:
        """The file that it is."""
        found = _NAME.match(self.text.partition("\n")[0])
        return found[1] if found else None

    @property
    def place(self) -> str:
        """Where it stands, for people."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path, title: str | None = None) -> list[Block]:
    """The fenced blocks of a page, or of its part under a heading; what a command prints belongs to the command."""
    text, found = page.read_text(), list[Block]()
    begin = end = 0 if title is None else text.index(f"\n## {title}\n") + 1
    last = len(text) if title is None else text.find("\n## ", end)
    for fence in _FENCED.finditer(text, begin, last if last > 0 else len(text)):
        language, content = fence.groups()
        if language == "text" and found and found[-1].language == "sh" and not text[end : fence.start()].strip():
            found[-1] = attrs.evolve(found[-1], prints=content)
        else:
            found.append(Block(page, text.count("\n", 0, fence.start()) + 2, language, content))
        end = fence.end()
    return found


def typed_pages() -> list[Path]:
    """The pages that have commands to type."""
    return [page for page in PAGES if any(block.language == "sh" for block in blocks(page))]
