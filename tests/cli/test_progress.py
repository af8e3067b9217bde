"""Progress on a terminal: a bar that is drawn over itself, and gone in the end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest

from tests.cli.conftest import SCRIPTS, SECONDS

CLEAR_LINE = b"\r\x1b[K"


@attrs.frozen
class Terminal:
    """A terminal of 80 columns, and our end of it."""

    theirs: int
    ours: int

    def read(self) -> bytes:
        """What was written to it; call this when nobody holds it open any more."""
        shown = b""
        try:
            while data := os.read(self.ours, 65536):
                shown += data
        except OSError:
            # Linux's way to say that a terminal has been closed
            pass
        return shown


@pytest.fixture
def terminal() -> Iterator[Terminal]:
    """A terminal for a process."""
    ours, theirs = pty.openpty()
    yield Terminal(theirs, ours)
    os.close(ours)


def run(terminal: Terminal, tmp_path: Path, *arguments: str | Path, shared: bool = False) -> tuple[bytes, bytes]:
    """Run a command with its standard error on a terminal; return what it wrote to standard output and to that."""
    (tmp_path / "jobs").write_bytes(b"1\n2\n3\n4\n")
    with (tmp_path / "jobs").open("rb") as jobs:
        process = subprocess.Popen(
            [sys.executable, "-m", "fcgi_async", *map(str, arguments)],
            stdin=jobs,
            stdout=terminal.theirs if shared else subprocess.PIPE,
            stderr=terminal.theirs,
            env={**os.environ, "COLUMNS": "80"},
        )
    os.close(terminal.theirs)
    shown = terminal.read()
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return out or b"", shown


def test_map_shows_a_bar(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """`map` shows how much of its input file is done, and takes the bar away."""
    out, shown = run(terminal, tmp_path, "map", SCRIPTS / "answer.php", *pool)
    assert out.count(b"\n") == 4
    assert b"\x1b" not in out
    assert shown.startswith(CLEAR_LINE + b"[")
    assert b"1 done, 0 failed" in shown
    assert shown.endswith(CLEAR_LINE)
    assert max(map(len, shown.split(CLEAR_LINE))) < 80


def test_bar_and_outcomes_share_a_terminal(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """Where both go to one terminal, an outcome is written on a line of its own."""
    _, shown = run(terminal, tmp_path, "map", SCRIPTS / "answer.php", *pool, shared=True)
    lines = [line.rpartition(CLEAR_LINE)[2] for line in shown.split(b"\r\n")]
    assert [line[:10] for line in lines] == [b'{"index":%d' % index for index in range(4)] + [b""]


def test_demo_shows_a_bar(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """The demo shows how many files are done."""
    (tmp_path / "one.py").write_text("pass\n")
    _, shown = run(terminal, tmp_path, "demo", "--directory", tmp_path, *pool)
    assert b"[########################] 1 of 1 files, 0 queued" in shown
    assert shown.endswith(CLEAR_LINE)
