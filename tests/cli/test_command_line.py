"""The command line before any command runs: what it imports, and what it says of options it does not know."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.cli.conftest import RunCommand

HEAVY = ("rich", "uvicorn", "trio", "fcgi_async.asgi", "fcgi_async.gateway", "fcgi_async.jobs", "fcgi_async.telemetry")


@pytest.mark.parametrize("arguments", [["--help"], ["run", "--help"], ["ping", "unix:///nowhere.sock"]])
def test_a_command_imports_what_it_needs(arguments: list[str]) -> None:
    """A command starts without importing what only other commands use."""
    source = f"""
import sys
from fcgi_async.cli import main
try:
    main({arguments!r})
except SystemExit:
    pass
print("LOADED", *[name for name in {HEAVY!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.splitlines()[-1].split() == ["LOADED"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (
            ["run", "a.php", "--max-childern", "4"],
            "unrecognized arguments: --max-childern 4; did you mean --max-children? (see fcgi-async run --help)",
        ),
        (
            ["jobs", "list", "--jobz=sqlite:///a"],
            "unrecognized arguments: --jobz=sqlite:///a; did you mean --jobs? (see fcgi-async jobs list --help)",
        ),
        (["run", "a.php", "b.php"], "unrecognized arguments: b.php (see fcgi-async run --help)"),
        (["--versoin", "demo"], "unrecognized arguments: --versoin; did you mean --version? (see fcgi-async --help)"),
        (["run", "a.php", "--xyz"], "unrecognized arguments: --xyz (see fcgi-async run --help)"),
        (
            ["serve", ".", "--port", "80"],
            "unrecognized arguments: --port 80; did you mean --listen? (see fcgi-async serve --help)",
        ),
    ],
)
def test_unknown_option(command: RunCommand, arguments: list[str], said: str) -> None:
    """An option that is not known is refused with the nearest one, and with the help of its own command."""
    result = command(*arguments)
    assert (result.code, result.err) == (2, f"fcgi-async: {said}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["rnu"], "argument COMMAND: invalid choice: 'rnu'; did you mean run? (see fcgi-async --help)"),
        (["call"], "argument COMMAND: invalid choice: 'call'; did you mean run? (see fcgi-async --help)"),
        (["jobs", "lst"], "argument ACTION: invalid choice: 'lst'; did you mean list? (see fcgi-async jobs --help)"),
        (
            ["completion", "ksh"],
            "argument SHELL: invalid choice: 'ksh'; choose from bash, zsh, fish (see fcgi-async completion --help)",
        ),
    ],
)
def test_unknown_word(command: RunCommand, arguments: list[str], said: str) -> None:
    """The nearest of many words is named, and all of a few."""
    result = command(*arguments)
    assert (result.code, result.err) == (2, f"fcgi-async: {said}\n")


def test_no_command(command: RunCommand) -> None:
    """Without arguments the help is shown, as an error; without an action the actions are named."""
    result = command()
    assert (result.code, result.out) == (2, b"")
    assert "run one job and print its response" in result.err
    result = command("jobs")
    result.assert_one_line()
    assert "give ACTION, one of enqueue, list, show" in result.err
