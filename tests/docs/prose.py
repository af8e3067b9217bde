"""What people read: pages, docstrings, comments, messages and help; without code."""

from __future__ import annotations

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import attrs

from tests.docs.blocks import DOCS, ROOT

SOURCES = ROOT / "fcgi_async"
# a fence, and code within a line
FENCE = re.compile(r"^( *)```.*?^\1```", re.MULTILINE | re.DOTALL)
CODE = re.compile(r"`[^`\n]*`")


@attrs.frozen
class Passage:
    """Some prose, and the line of its file that it begins in."""

    path: Path
    line: int
    text: str

    def find(self, pattern: re.Pattern[str]) -> Iterator[str]:
        """Yield each place that has a pattern, as `path:line: words`."""
        # a line break, and the comment that goes on behind it, is a blank to a reader
        for found in pattern.finditer(self.text):
            line = self.line + self.text.count("\n", 0, found.start())
            yield f"{self.path.relative_to(ROOT)}:{line}: {' '.join(found[0].split())}"


def pages() -> Iterator[Passage]:
    """README and the documentation."""
    for path in [ROOT / "README.md", *sorted(DOCS.rglob("*.md"))]:
        yield Passage(path, 1, without_code(path.read_text()))


def sources() -> Iterator[Passage]:
    """The package's comments, docstrings, messages and help."""
    for path in sorted(SOURCES.rglob("*.py")):
        source = path.read_text()
        yield from (Passage(path, *comment) for comment in comments(source))
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield Passage(path, node.lineno, CODE.sub("", node.value))


def without_code(page: str) -> str:
    """Return a page without its code, each line where it was."""
    return CODE.sub("", FENCE.sub(lambda fence: "\n" * fence[0].count("\n"), page))


def comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield each comment of a module; lines that follow each other are one."""
    lines: list[str] = []
    begin = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        if lines and token.start[0] != begin + len(lines):
            yield begin, "\n".join(lines)
            lines = []
        begin = begin if lines else token.start[0]
        lines.append(CODE.sub("", token.string.lstrip("# ")))
    if lines:
        yield begin, "\n".join(lines)
