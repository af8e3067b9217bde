"""Completion: a shell that asks is answered with commands, options and choices."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand


def completions(line: str, folder: Path) -> list[str]:
    """What the command answers to a shell that has this line, with the cursor at its end."""
    asked = {"_ARGCOMPLETE": "1", "_ARGCOMPLETE_IFS": "\n", "COMP_LINE": line, "COMP_POINT": str(len(line))}
    asked["_ARGCOMPLETE_STDOUT_FILENAME"] = str(folder / "answer")
    subprocess.run([sys.executable, "-m", "fcgi_async"], env={**os.environ, **asked}, check=True, timeout=60)
    return (folder / "answer").read_text().split("\n")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("fcgi-async ma", {"map"}),
        ("fcgi-async map --re", {"--resume", "--retries", "--reserve"}),
        ("fcgi-async config --format o", {"options"}),
        ("fcgi-async jobs pu", {"purge"}),
    ],
)
def test_words(tmp_path: Path, line: str, expected: set[str]) -> None:
    """Commands, options and choices are completed."""
    assert {word.strip() for word in completions(line, tmp_path)} == expected


def test_file_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So are scripts."""
    (tmp_path / "thumb.php").touch()
    monkeypatch.chdir(tmp_path)
    assert [word.strip() for word in completions("fcgi-async run thu", tmp_path)] == ["thumb.php"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_code_for_a_shell(command: RunCommand, shell: str) -> None:
    """What a shell evaluates names the command."""
    result = command("completion", shell)
    assert (result.code, result.err) == (0, "")
    assert b"fcgi-async" in result.out


def test_bash_takes_it(command: RunCommand) -> None:
    """bash evaluates it, and knows then how to complete the command."""
    code = command("completion", "bash").out.decode()
    shown = subprocess.run(
        ["bash", "-c", f"{code}\ncomplete -p fcgi-async"], capture_output=True, text=True, check=True, timeout=60
    )
    assert shown.stdout.rstrip().endswith(" fcgi-async")


def test_without_argcomplete(command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the extra it is said what to install."""
    monkeypatch.setitem(sys.modules, "argcomplete", None)
    monkeypatch.setitem(sys.modules, "argcomplete.shell_integration", None)
    result = command("completion", "bash")
    assert result.code == 2
    result.assert_one_line()
    assert "pip install 'fcgi-async[cli]'" in result.err
