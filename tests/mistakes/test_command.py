"""Mistakes at the command line: each is told in one line, with the option, the value and the cure."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import attrs
import pytest

from tests.cli.conftest import RunCommand
from tests.mistakes.mistake import ADDRESS, ECHO

POOL: Final = ("--fpm", ADDRESS, "--max-children", "4")


@attrs.frozen
class Wrong:
    """Wrong arguments, and the words that the line must have."""

    name: str
    arguments: tuple[str, ...]
    what: str
    where: str
    cure: str


WRONG: Final = (
    Wrong("unknown command", ("jog", ECHO), "invalid choice", "'jog'", "fcgi-async --help"),
    Wrong("unknown option", ("run", ECHO, "--fast"), "unrecognized", "--fast", "--help"),
    Wrong("no script", ("run",), "required", "SCRIPT", "fcgi-async run --help"),
    Wrong(
        "script that is not there",
        ("run", "/nowhere/a.php"),
        "no such script",
        "/nowhere/a.php",
        "give the path of a PHP file",
    ),
    Wrong("relative script", ("run", "a.php", *POOL), "does not know this directory", "a.php", "absolute path"),
    Wrong(
        "word as an address",
        ("run", ECHO, "--fpm", "fpm", "--max-children", "4"),
        "not an address",
        "'fpm'",
        "unix:///",
    ),
    Wrong("number of workers not given", ("map", ECHO, "--fpm", ADDRESS), "needs", "--fpm", "--max-children"),
    Wrong(
        "no worker left", ("map", ECHO, *POOL, "--reserve", "4"), "leaves no worker", "--reserve 4", "lower --reserve"
    ),
    Wrong("two pools", ("run", ECHO, *POOL, "--fpm-config", "x"), "not both", "--fpm ADDRESS", "--fpm-config FILE"),
    Wrong(
        "no FPM's configuration",
        ("ping", "--fpm-config", "/nowhere/a"),
        "No such file",
        "/nowhere/a",
        "give FPM's main",
    ),
    Wrong("JSON that is none", ("run", ECHO, "--json", "{"), "is not JSON", "--json", "Expecting"),
    Wrong(
        "query with its mark", ("run", ECHO, "--query", "?a=1"), "starts with '?'", "--query '?a=1'", "leave that out"
    ),
    Wrong("header without a colon", ("run", ECHO, "--header", "A"), "has no ':'", "--header 'A'", "name and value"),
    Wrong("negative timeout", ("run", ECHO, *POOL, "--timeout", "-1"), "not -1.0", "--timeout", "at least 0"),
    Wrong(
        "refused parameter",
        ("run", ECHO, *POOL, "--param", "PHP_VALUE=a"),
        "is refused",
        "PHP_VALUE",
        "it changes php.ini",
    ),
    Wrong("socket that is not there", ("run", ECHO, *POOL), "no such socket", ADDRESS, "check that FPM runs"),
    Wrong("jobs without a database", ("jobs", "list"), "name the database", "--jobs", "FCGI_ASYNC_JOBS"),
    Wrong(
        "unknown database", ("jobs", "list", "--jobs", "redis://a"), "not a store of jobs", "redis:", "write sqlite:///"
    ),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.name)
def test_a_mistake(command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: Wrong) -> None:
    """It ends with an error, and nothing but that line."""
    monkeypatch.chdir(tmp_path)
    result = command(*wrong.arguments)
    assert result.code in (1, 2)
    result.assert_one_line()
    assert wrong.what in result.err
    assert wrong.where in result.err
    assert wrong.cure in result.err
