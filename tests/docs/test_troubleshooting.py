"""The page about errors has each of them, and quotes messages as the code has them."""

from __future__ import annotations

import ast
import builtins
import re
from functools import cache

import pytest

import fcgi_async
import fcgi_async.jobs
import fcgi_async.testing
import fcgi_async.wire
from tests.docs.blocks import DOCS, ROOT

PAGE = (DOCS / "troubleshooting.md").read_text()
ERRORS = {
    name
    for module in (fcgi_async, fcgi_async.jobs, fcgi_async.testing, fcgi_async.wire)
    for name in module.__all__
    if isinstance(public := getattr(module, name), type) and issubclass(public, Exception)
}
# quoted in a table whose first column is of messages, or in the words of an entry
TABLES = re.findall(r"^\| message \|.*\n\| ---.*\n((?:\|.*\n)*)", PAGE, re.MULTILINE)
MESSAGES = [row.split("`")[1] for rows in TABLES for row in rows.splitlines()]


@cache
def texts() -> list[str]:
    """Every text of the package; what is filled in is an ellipsis."""
    found = []
    for path in (ROOT / "fcgi_async").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(re.sub(r"%(\.\d+)?[a-z]", "...", node.value))
            elif isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "..." for part in node.values]
                found.append("".join(map(str, parts)))
    return found


def is_said(message: str) -> bool:
    """Whether the package has a text with these words, where ... stands for anything."""
    pattern = re.compile(".*".join(re.escape(part) for part in message.split("...")), re.DOTALL)
    return any(pattern.search(text) for text in texts())


def test_every_error_has_an_entry() -> None:
    """And every entry is of an error."""
    entries = set(re.findall(r"^### (\w+)$", PAGE, re.MULTILINE))
    assert ERRORS - entries == set()
    assert {name for name in entries - ERRORS if not hasattr(builtins, name)} == set()


@pytest.mark.parametrize("message", MESSAGES)
def test_a_message(message: str) -> None:
    """A message is quoted as the code has it, so that a search for it finds its cure: change it on the page too."""
    assert is_said(message)


def test_a_message_that_nobody_says_is_found() -> None:
    """Words and their order are compared."""
    assert len(MESSAGES) > 50
    assert is_said("no worker took the job within its deadline, ... s after the call")
    assert not is_said("no worker took the job after its deadline")
