"""Who types only a page's commands, in an empty directory, and saves its files there, gets what the page shows."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import DOCS, ROOT, Block, blocks, typed_pages
from tests.docs.machine import Machine

# they need a daemon and a cluster; what they are given is checked in test_configuration.py
NOT_TYPED = ("docker ", "kubectl ")
FIRST_STEPS = DOCS / "first-steps.md"
# each stands alone, unlike the parts of other pages; a client of one's own is on a page of its own
PURPOSES = [
    "Call PHP from FastAPI",
    "Run jobs from cron",
    "Test without PHP",
    "See metrics",
    "Come from PHP",
]


def script(found: Sequence[Block], machine: Machine, directory: Path) -> tuple[str, list[Block]]:
    """What blocks have typed, as one script that keeps what each of them prints; and the blocks that print."""
    lines, printing = ["set -eu"], list[Block]()
    for block in found:
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


def type_in(found: Sequence[Block], machine: Machine, directory: Path) -> None:
    """Save and type blocks in an empty folder, and compare what they print."""
    empty = directory / "empty"
    empty.mkdir()
    source, printing = script(found, machine, directory)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"], "/usr/sbin"])
    # the environment may have another checkout installed
    given = {"PATH": path, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PYTHONPATH": str(ROOT)}
    environment = {name: value for name, value in os.environ.items() if name != "VIRTUAL_ENV"} | given
    with (directory / "said").open("wb") as said:
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
    files = [directory / f"printed-{n}" for n in range(len(printing))]
    printed = [file.read_text() for file in files if file.exists()]
    assert code == 0, (directory / "said").read_text() + "\n".join(printed[-1:])
    for block, output in zip(printing, printed, strict=True):
        if block.prints is not None:
            shown = machine.translate(block.prints, directory)
            assert matches(shown, output), f"{block.place} prints\n{output}"


def pages() -> list[Any]:
    """The pages as parameters; those that make a virtual environment take long."""
    return [
        pytest.param(
            page,
            id=page.relative_to(ROOT).as_posix(),
            marks=[pytest.mark.long] if "-m venv" in page.read_text() else [],
        )
        for page in typed_pages()
        if page != FIRST_STEPS
    ]


@pytest.mark.long
@pytest.mark.parametrize("page", pages())
def test_a_page(page: Path, machine: Machine, tmp_path: Path) -> None:
    """Its commands succeed and print what it shows."""
    machine.prepare(page, tmp_path)
    type_in(blocks(page), machine, tmp_path)


@pytest.mark.parametrize("title", PURPOSES)
def test_a_first_success(title: str, machine: Machine, tmp_path: Path) -> None:
    """Someone with one purpose copies two blocks, a file and what to type, and sees what the page shows."""
    copied = blocks(FIRST_STEPS, title)
    assert len(copied) == 2
    assert copied[0].name is not None
    assert copied[1].prints is not None
    type_in(copied, machine, tmp_path)


def test_the_readme_leads_to_each_purpose() -> None:
    """Its table has a link to each of them, or to the page that the section names."""
    titles = re.findall(r"^## (.+)$", FIRST_STEPS.read_text(), re.MULTILINE)
    anchors = {"docs/first-steps.md#" + title.lower().replace(" ", "-") for title in titles}
    elsewhere = {"docs/first-steps.md#write-your-own-protocol-client": "docs/reference/wire.md#a-blocking-client"}
    links = set(re.findall(r"\]\(([^)]+)\)", (ROOT / "README.md").read_text()))
    assert len(anchors) == 6
    assert {elsewhere.get(anchor, anchor) for anchor in anchors} - links == set()


def test_what_is_printed_is_compared() -> None:
    """Dots stand for what differs from run to run, and for nothing else."""
    assert matches("took ... ms\n", "took 0.7 ms\n")
    assert matches("a\n...\nz", "a\nb\nc\nz\n")
    assert not matches("took ... ms\n", "took 0.7 s\n")
    assert not matches("3\n", "4\n")
