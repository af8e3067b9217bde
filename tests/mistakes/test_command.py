"""Mistakes at the command line: each is told in one line, with the option, the value and the cure."""

from __future__ import annotations

import socket
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
    Wrong(
        "module that is not there",
        ("worker", "--tasks", "nope:TASKS", "--jobs", "sqlite://a"),
        "No module named",
        "--tasks nope:TASKS",
        "PYTHONPATH",
    ),
    Wrong(
        "file instead of a module",
        ("worker", "--tasks", "app/tasks.py:TASKS", "--jobs", "sqlite://a"),
        "not a file's",
        "--tasks app/tasks.py",
        "app.tasks:TASKS",
    ),
    Wrong(
        "name that the module does not have",
        ("worker", "--tasks", "json:laods", "--jobs", "sqlite://a"),
        "json has no laods",
        "--tasks json:laods",
        "did you mean json:loads?",
    ),
    Wrong("file instead of a folder", ("serve", ECHO), "this is a file", ECHO, "give the site's folder"),
    Wrong("folder of a socket", ("gateway", "--listen", "unix:///nowhere/a"), "No such file", "/nowhere/a", "make the"),
    Wrong("kept without a number", ("gateway", "--listen", "unix:///a", "--kept", "5"), "5 is not", "--kept", "10=2"),
    Wrong("weight that is none", ("worker", "--tasks", "a:b", "--queue", "a=x"), "a=x is not", "--queue", "mail=2"),
    Wrong("number that is none", ("map", ECHO, "--max-children", "many"), "many is not", "--max-children", "whole"),
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


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("x = (", "broken.py:1: '(' was never closed"),
        ("\n1 / 0", "broken.py:2: ZeroDivisionError: division by zero"),
        ("import not_installed", "No module named 'not_installed'; install it in the environment of this command"),
    ],
)
def test_a_module_that_cannot_be_imported(
    command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, said: str
) -> None:
    """The line names the place of the error, without a traceback."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "broken.py").write_text(source)
    result = command("worker", "--tasks", "broken:TASKS", "--jobs", "sqlite://jobs.db")
    result.assert_one_line()
    assert result.code == 2
    assert said in result.err


def test_a_socket_with_another_name(command: RunCommand, tmp_path: Path) -> None:
    """The sockets in that folder are named."""
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(tmp_path / "php8.2-fpm.sock"))
        result = command("ping", f"unix://{tmp_path}/fpm.sock")
        assert f"; {tmp_path} has php8.2-fpm.sock\n" in result.err
        assert f"; {tmp_path} has php8.2-fpm.sock" in command("doctor", f"unix://{tmp_path}/fpm.sock").out.decode()
    assert " has " not in command("ping", "unix:///nowhere/fpm.sock").err


def test_a_relative_script_that_is_here(command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its absolute path is named."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.php").touch()
    assert f"on its side, such as {tmp_path}/a.php\n" in command("run", "a.php", *POOL).err


def test_a_query_in_the_scripts_name(command: RunCommand, pool: list[str]) -> None:
    """--query is named."""
    assert "with --query 'n=1'\n" in command("run", f"{ECHO}?n=1", *pool).err
