"""Bad input at the command line: one line on standard error, exit code 2 or 1, no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.conftest import SCRIPTS, RunCommand, StartCommand

ECHO = str(SCRIPTS / "echo.php")
NOWHERE = ["--fpm", "unix:///nowhere/fpm.sock", "--max-children", "4"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jog", ECHO], "jog"),
        (["run"], "SCRIPT"),
        (["run", ECHO, "--nonsense"], "--nonsense"),
        (["run", ECHO, "--json", "1", "--data", "2"], "not allowed with"),
        (["run", ECHO, "--json", "{"], "--json is not JSON"),
        (["run", ECHO, "--json", "NaN"], "NaN is not JSON"),
        (["run", ECHO, "--json", "[" * 100_000], "nested too deeply"),
        (["run", ECHO, "--data", "@/nowhere"], "@/nowhere: No such file"),
        (["run", ECHO, "--header", "no colon"], "no ':'"),
        (["run", ECHO, "--header", "A b: c"], "'A b' is not the name of a header"),
        (["run", ECHO, "--header", "A: 1", "--header", "A: 2"], "given twice"),
        (["run", ECHO, "--param", "no equals sign"], "no '='"),
        (["run", ECHO, "--param", "A=\0"], "NUL"),
        (["run", ECHO, "--param", f"A={'x' * 70_000}"], "64 KiB"),
        (["run", ECHO, "--uri", "/a", "--query", "b=1"], "--uri and --query are both given"),
        (["run", ECHO, "--method", "G E T"], "not a request method"),
        (["run", ECHO, "--timeout", "-1"], "timeout"),
        (["run", ECHO, "--timeout", "soon"], "--timeout"),
        (["run", "nowhere.php"], "no such script"),
        (["run", "a.php", *NOWHERE], "absolute path"),
        (["run", ECHO, "--param", "PHP_ADMIN_VALUE=memory_limit=1", *NOWHERE], "PHP_ADMIN_VALUE is refused"),
        (["map", ECHO, "--param", "REQUEST_BODY_FILE=/etc/passwd", *NOWHERE], "REQUEST_BODY_FILE is refused"),
        (["map", ECHO, "--limit", "0"], "--limit"),
        (["map", ECHO, "--fpm", "unix:///nowhere"], "--max-children"),
        (["run", ECHO, "--fpm", "localhost", "--max-children", "4"], "not an address"),
        (["run", ECHO, "--fpm", "tcp://localhost", "--max-children", "4"], "host and a port"),
        (["run", ECHO, "--fpm", "unix:///nowhere", "--max-children", "many"], "--max-children"),
        (["run", ECHO, "--fpm", "unix:///nowhere", "--max-children", "0"], "0 is less than 1"),
        (["run", ECHO, *NOWHERE, "--reserve", "4"], "leaves no worker"),
        (["run", ECHO, "--reserve", "1"], "--reserve needs --fpm"),
        (["demo", "--directory", "/nowhere"], "no .py files"),
        (["demo", "--json", "/nowhere/t.json"], "no such directory"),
    ],
)
def test_usage_is_exit_code_2(command: RunCommand, arguments: list[str], said: str) -> None:
    """What the command line gets wrong is named in one line, and nothing is run."""
    result = command(*arguments)
    assert (result.code, result.out) == (2, b"")
    result.assert_one_line()
    assert said in result.err


def test_missing_php_fpm(command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """A private PHP-FPM that is not there is a matter of configuration."""
    monkeypatch.setenv("PHP_FPM", "/nowhere/php-fpm")
    result = command("run", ECHO)
    assert result.code == 2
    result.assert_one_line()
    assert "PHP_FPM" in result.err


def test_missing_socket_is_exit_code_1(command: RunCommand) -> None:
    """A pool that is not there fails the job, and PHP did not start it."""
    result = command("run", ECHO, *NOWHERE)
    assert result.code == 1
    result.assert_one_line()
    assert "unix:///nowhere/fpm.sock" in result.err
    assert "PHP did not start it" in result.err


def test_wrong_script_is_exit_code_1(command: RunCommand, pool: list[str]) -> None:
    """A script that FPM does not find is its 404, and what it says of it."""
    result = command("run", "/nowhere.php", *pool)
    assert (result.code, result.out) == (1, b"File not found.\n")
    assert result.err.splitlines()[-1] == (
        "fcgi-async: PHP answered with status 404: PHP-FPM found no /nowhere.php, and it does not exist here "
        "either; give the absolute path on PHP-FPM's side"
    )
    assert "Primary script unknown" in result.err


@pytest.mark.parametrize(
    "arguments", [["--help"], ["run", "--help"], ["map", "--help"], ["demo", "--help"], ["--version"]]
)
def test_help_is_exit_code_0(command: RunCommand, arguments: list[str]) -> None:
    """Help and version are no mistakes."""
    with pytest.raises(SystemExit) as ended:
        command(*arguments)
    assert ended.value.code == 0


def test_process_says_what_the_function_returns(start: StartCommand, tmp_path: Path) -> None:
    """`python -m fcgi_async` ends with the exit code, and one line."""
    result = start("run", tmp_path / "nowhere.php").end()
    assert result.code == 2
    result.assert_one_line()
