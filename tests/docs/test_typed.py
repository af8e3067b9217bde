"""Who types only a page's commands, in an empty directory, and saves its files there, gets what the page shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import ROOT, Block, blocks, typed_pages
from tests.docs.machine import Machine

# they need a daemon and a cluster; what they are given is checked in test_configuration.py
NOT_TYPED = ("docker ", "kubectl ")


def script(page: Path, machine: Machine, directory: Path) -> tuple[str, list[Block]]:
    """What a page has typed, as one script that keeps what each block prints; and the blocks that print."""
    lines, printing = ["set -eu"], list[Block]()
    for block in blocks(page):
        if block.name is not None:
            name, text = (machine.translate(part, directory) for part in (block.name, block.text))
            lines += [f'mkdir -p "$(dirname {name})"', f"cat > {name} <<'__END_OF_FILE__'", text + "__END_OF_FILE__"]
        elif block.language == "sh" and not block.text.startswith(NOT_TYPED):
            typed = machine.translate(block.text, directory)
            lines += ["{", typed, f"}} > {directory}/printed-{len(printing)} 2>&1"]
            printing.append(block)
    return "\n".join(lines), printing


def matches(expected: str, printed: str) -> bool:
    """Whether this was printed, where ... stands for anything within a line, or alone on a line for any lines."""
    lines = [
        r"(?:.*\n)*?" if line == "..." else re.escape(line).replace(r"\.\.\.", ".*") + r"\n"
        for line in expected.rstrip().split("\n")
    ]
    return re.fullmatch("".join(lines), printed.rstrip() + "\n") is not None


def pages() -> list[Any]:
    """The pages as parameters; the tutorial has a virtual environment made."""
    return [
        pytest.param(
            page, id=page.relative_to(ROOT).as_posix(), marks=[pytest.mark.long] if page.stem == "tutorial" else []
        )
        for page in typed_pages()
    ]


@pytest.mark.parametrize("page", pages())
def test_a_page(page: Path, machine: Machine, tmp_path: Path) -> None:
    """Its commands succeed and print what it shows."""
    empty = tmp_path / "empty"
    empty.mkdir()
    machine.prepare(page, tmp_path)
    source, printing = script(page, machine, tmp_path)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    left_out = ("VIRTUAL_ENV", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | {"PATH": path}
    with (tmp_path / "said").open("wb") as said:
        shell = subprocess.Popen(
            ["bash", "-c", source],
            cwd=empty,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=said,
            start_new_session=True,
        )
        try:
            code = shell.wait(100)
        finally:
            # and whatever it left in the background, or as a daemon
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGTERM)
            for daemon in empty.glob("*.pid"):
                os.kill(int(daemon.read_text()), signal.SIGTERM)
    files = [tmp_path / f"printed-{n}" for n in range(len(printing))]
    printed = [file.read_text() for file in files if file.exists()]
    assert code == 0, (tmp_path / "said").read_text() + "\n".join(printed[-1:])
    for block, output in zip(printing, printed, strict=True):
        if block.prints is not None:
            shown = machine.translate(block.prints, tmp_path)
            assert matches(shown, output), f"{block.place} prints\n{output}"


def test_what_is_printed_is_compared() -> None:
    """Dots stand for what differs from run to run, and for nothing else."""
    assert matches("took ... ms\n", "took 0.7 ms\n")
    assert matches("a\n...\nz", "a\nb\nc\nz\n")
    assert not matches("took ... ms\n", "took 0.7 s\n")
    assert not matches("3\n", "4\n")
