"""The examples of the command's page print what they show: `console` blocks are typed, and each output is compared."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import attrs
import pytest

from tests.docs.blocks import DOCS, ROOT, Block, blocks
from tests.docs.machine import Machine
from tests.docs.test_tables import EVERY_COMMAND
from tests.docs.test_typed import matches

# what these print is numbers, which differ from run to run
VARYING = re.compile("fcgi-async (bench|status|top) ")
PAGE = DOCS / "reference" / "command.md"
# what their subcommands share is shown once, for all of them
SHOWN = [name for name in EVERY_COMMAND if " " not in name]


@attrs.frozen
class Typed:
    """A line that is typed, and what it prints."""

    line: str
    prints: str


def typed(block: Block) -> list[Typed]:
    """The lines of a block that begin with `$`, each with what follows it."""
    found = re.split(r"^\$ ", block.text, flags=re.MULTILINE)
    assert found[0] == "", f"{block.place} does not begin with $"
    return [Typed(*one.partition("\n")[::2]) for one in found[1:]]


EXAMPLES = [block for block in blocks(PAGE) if block.language == "console"]


@pytest.mark.parametrize("block", EXAMPLES, ids=lambda block: f"line {block.line}")
def test_an_example(block: Block, machine: Machine, tmp_path: Path) -> None:
    """It prints what the page shows; ... stands for what differs."""
    machine.prepare(PAGE, tmp_path)
    for file in blocks(PAGE):
        if file.name is not None:
            machine.save(file, tmp_path)
    examples = typed(block)
    run("\n".join(kept(machine.translate(one.line, tmp_path), n) for n, one in enumerate(examples)), tmp_path)
    for n, one in enumerate(examples):
        printed = (tmp_path / f"printed-{n}").read_text()
        expected = machine.translate(one.prints, tmp_path)
        if VARYING.match(one.line):
            expected, printed = measured(expected), measured(printed)
        assert matches(expected, printed), f"{one.line} prints\n{printed}"


def kept(line: str, number: int) -> str:
    """A line that keeps what it prints; what runs in the background is a process of the shell's own."""
    background = line.removesuffix(" &")
    return f"{background} > printed-{number} 2>&1 &" if background != line else f"{{ {line}\n}} > printed-{number} 2>&1"


def measured(text: str) -> str:
    """A text in which all numbers are alike, and bars are not there."""
    text = re.sub(r"\d[\d.,:]*", "0", re.sub(r" +#*$", "", text, flags=re.MULTILINE))
    return re.sub(" +", " ", text)


def run(source: str, folder: Path) -> None:
    """Run a script in a folder, and end what it leaves in the background."""
    left_out = ("VIRTUAL_ENV", "NO_COLOR", "TERM")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    given = {"PATH": path, "PYTHONPATH": str(ROOT), "COLUMNS": "80"}
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | given
    shell = subprocess.Popen(
        ["bash", "-c", source], cwd=folder, env=environment, stdin=subprocess.DEVNULL, start_new_session=True
    )
    try:
        shell.wait(60)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGTERM)


def test_each_command_is_shown() -> None:
    """Every command has an example in its section."""
    text = PAGE.read_text()
    sections = {name: text.partition(f"\n## fcgi-async {name}\n")[2].partition("\n## ")[0] for name in SHOWN}
    assert [name for name, section in sections.items() if f"fcgi-async {name}" not in examples_of(section)] == []


def examples_of(section: str) -> str:
    """The blocks of a section that are typed."""
    return "".join(re.findall(r"^```console\n(.*?)^```$", section, re.MULTILINE | re.DOTALL))
