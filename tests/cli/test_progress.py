"""Progress on a terminal: a bar that is drawn over itself, and gone in the end."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
from rich.console import Console

from fcgi_async.commands.map_standing import Standing
from fcgi_async.commands.map_table import table
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


def run(
    terminal: Terminal, tmp_path: Path, *arguments: str | Path, shared: bool = False, **environment: str
) -> tuple[bytes, bytes]:
    """Run a command with its standard error on a terminal; return what it wrote to standard output and to that."""
    (tmp_path / "jobs").write_bytes(b"1\n2\n3\n4\n")
    with (tmp_path / "jobs").open("rb") as jobs:
        process = subprocess.Popen(
            [sys.executable, "-m", "fcgi_async", *map(str, arguments)],
            stdin=jobs,
            stdout=terminal.theirs if shared else subprocess.PIPE,
            stderr=terminal.theirs,
            env={**os.environ, "COLUMNS": "80", "TERM": "dumb", **environment},
        )
    os.close(terminal.theirs)
    shown = terminal.read()
    out, _ = process.communicate(timeout=SECONDS)
    assert process.returncode == 0
    return out or b"", shown


def test_map_shows_a_bar(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """`map` shows how much of its input file is done, and takes the bar away."""
    out, shown = run(terminal, tmp_path, "map", "-q", SCRIPTS / "answer.php", *pool)
    assert out.count(b"\n") == 4
    assert b"\x1b" not in out
    assert shown.startswith(CLEAR_LINE + b"[")
    assert b"1 done, 0 failed" in shown
    assert shown.endswith(CLEAR_LINE)
    assert max(map(len, shown.split(CLEAR_LINE))) < 80


def test_bar_and_outcomes_share_a_terminal(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """Where both go to one terminal, an outcome is written on a line of its own."""
    _, shown = run(terminal, tmp_path, "map", "-q", SCRIPTS / "answer.php", *pool, shared=True)
    lines = [line.rpartition(CLEAR_LINE)[2] for line in shown.split(b"\r\n")]
    assert [line[:10] for line in lines] == [b'{"index":%d' % index for index in range(4)] + [b""]


def test_map_shows_a_table(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """A terminal that can draw gets a table with the time that is left; in the end only the summary stays."""
    out, shown = run(terminal, tmp_path, "map", SCRIPTS / "answer.php", *pool, TERM="xterm", NO_COLOR="")
    assert out.count(b"\n") == 4
    assert b"\x1b" not in out
    for head in (b"DONE", b"FAILED", b"IN HAND", b"JOBS/S", b"ELAPSED", b"LEFT"):
        assert head in shown
    # hidden while it is drawn
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"DONE")
    assert b"fcgi-async: 4 jobs in " in shown


def test_table_without_colours(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """NO_COLOR leaves the colours out."""
    with_colours = rb"\x1b\[[0-9;]*3[0-9]"
    _, shown = run(terminal, tmp_path, "map", SCRIPTS / "answer.php", *pool, TERM="xterm-256color", NO_COLOR="1")
    assert b"DONE" in shown
    assert not re.search(with_colours, shown)


def test_table_and_outcomes_share_a_terminal(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """What is written to standard output stands whole above the table."""
    _, shown = run(terminal, tmp_path, "map", "-q", SCRIPTS / "answer.php", *pool, shared=True, TERM="xterm")
    assert len(re.findall(rb'\{"index":\d,.*\}\r\n', shown)) == 4


def test_what_is_left() -> None:
    """The rest takes as long as what was done; nobody knows of a pipe, nor before anything was read."""
    standing = Standing(read=25, total=100, done=4, failed=1, in_hand=2, seconds=10.0)
    assert (standing.left, standing.rate) == (30.0, 0.5)
    assert attrs.evolve(standing, total=None).left is None
    assert attrs.evolve(standing, read=0).left is None
    assert "unknown" in drawn(attrs.evolve(standing, total=None))
    assert re.search(r" +4 +1 +2 +0 +0:00:10 +0:00:30", drawn(standing))


def drawn(standing: Standing) -> str:
    """What is drawn."""
    console = Console(file=io.StringIO(), width=80)
    with console.capture() as capture:
        console.print(table(standing))
    return capture.get()


def test_demo_shows_a_bar(terminal: Terminal, pool: list[str], tmp_path: Path) -> None:
    """The demo shows how many files are done."""
    (tmp_path / "one.py").write_text("pass\n")
    _, shown = run(terminal, tmp_path, "demo", "--directory", tmp_path, *pool)
    assert b"[########################] 1 of 1 files, 0 queued" in shown
    assert shown.endswith(CLEAR_LINE)
