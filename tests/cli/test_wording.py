"""What a command says of wrong options names them, and none of the library's arguments."""

from __future__ import annotations

import re
from pathlib import Path

import attrs
import pytest

from fcgi_async.commands.wording import in_options
from fcgi_async.errors import StatusUnavailable
from fcgi_async.fpm.status import StatusPage, fetch_status
from fcgi_async.testing import Request, Responder, Stall
from tests.cli.conftest import SCRIPTS, Result, RunCommand
from tests.handlers import HEAD
from tests.listening import unix_address

ECHO = str(SCRIPTS / "echo.php")
POOL = ["--fpm", "unix:///nowhere/fpm.sock", "--max-children", "4"]
# Endpoint(...), name=, Limits.head, from_fpm_config: whatever Python's users write and the command's do not
ARGUMENT = re.compile(r"\b[A-Z]\w+\(|\b[a-z_]+=(?!\S*/|\d)|\w+_\w+\(|\b(?:Endpoint|StatusPage|Limits|Timeouts)\b")

# FPM's configuration, and what is wrong with it
CONFIGURATIONS = {
    "empty": "",
    "two pools": "[a]\nlisten = 1\n[b]\nlisten = 2\n",
    "variable": "[www]\nlisten = ${FCGI_ASYNC_NOWHERE}\npm = static\npm.max_children = 1\n",
    "prefix": "[www]\nlisten = run/www.sock\npm = static\npm.max_children = 1\n",
    "include": "[global]\ninclude = nowhere/*.conf\n",
    "number": "[www]\nlisten = 9000\npm = static\npm.max_children = many\n",
    "no number": "[www]\nlisten = 9000\npm = static\n",
    "time": "[www]\nlisten = 9000\npm = static\npm.max_children = 1\nrequest_terminate_timeout = soon\n",
    "line": "[www]\nwhat is this\n",
}


@pytest.mark.parametrize("verb", ["ping", "status"])
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "the file is empty; `php-fpm -tt` prints to standard error"),
        ("two pools", "there is no pool 'www'; there is: a, b. Name one of them with --pool, or give the file"),
        ("variable", "set FCGI_ASYNC_NOWHERE in this command's environment too, or give what `php-fpm -tt` prints"),
        ("prefix", "which is not known here; give --prefix, such as /usr/local"),
        ("include", "in any folder above; give --prefix, such as /usr/local"),
        ("number", "pm.max_children = many is not a whole number"),
        ("no number", "has no 'pm.max_children', without which FPM does not start"),
        ("time", "is not a time"),
        ("line", "'what is this' is neither a section nor a setting"),
        ("nowhere", "cannot be read (No such file or directory); give FPM's main file"),
    ],
)
def test_fpm_configuration(command: RunCommand, tmp_path: Path, verb: str, name: str, said: str) -> None:
    """What is wrong with FPM's configuration, and which option helps."""
    path = tmp_path / "fpm.conf"
    if name in CONFIGURATIONS:
        path.write_text(CONFIGURATIONS[name])
    result = command(verb, "--fpm-config", path)
    assert str(path) in result.err
    assert_refused(attrs.evolve(result, err=result.err.replace(str(path), "FILE")), said)


def test_the_options_that_help(command: RunCommand, tmp_path: Path) -> None:
    """--prefix and --pool do what the errors say; then it is FPM that is not there."""
    path = tmp_path / "fpm.conf"
    path.write_text(CONFIGURATIONS["prefix"].replace("www", "a") + CONFIGURATIONS["prefix"].replace("www", "b"))
    result = command("ping", "--fpm-config", path, "--pool", "b", "--prefix", "/nowhere")
    assert result.code == 1
    assert "unix:///nowhere/run/b.sock" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["status", "unix:///nowhere", "--path", "status"], "--path 'status': a path such as /status"),
        (["status", "nowhere"], "'nowhere' is not an address; write unix:///"),
        (["ping", "tcp://nowhere"], "does not name a host and a port"),
        (["ping", "unix://nowhere"], "names neither an absolute path nor @name"),
        (["ping", f"unix:///{'x' * 200}"], "longer than the 107 bytes a unix socket can have"),
        (["ping", "unix:///nowhere", "--pool", "www"], "leave out its ADDRESS, or name a file with --fpm-config"),
        (["ping", "unix:///nowhere", "--prefix", "/"], "leave out its ADDRESS, or name a file with --fpm-config"),
        (["ping", "unix:///nowhere", "--fpm-config", "x"], "the ADDRESS of a pool, or --fpm-config FILE, not both"),
        (["map", ECHO, "--fpm", "unix:///nowhere"], "--fpm needs --max-children"),
        (["run", ECHO, "--fpm", "unix:///nowhere", "--reserve", "-1"], "--reserve must be at least 0, not -1"),
        (["run", ECHO, "--fpm", "unix:///nowhere", "--pool", "www"], "--pool and --prefix need --fpm-config FILE"),
        (["run", ECHO, *POOL, "--fpm-config", "x"], "--fpm ADDRESS, or with --fpm-config FILE, not both"),
        (["map", ECHO, "--fpm-config", "/nowhere/fpm.conf"], "/nowhere/fpm.conf: cannot be read"),
        (["map", ECHO, *POOL, "--reserve", "4"], "--max-children 4 less --reserve 4 leaves no worker"),
        (["run", ECHO, *POOL, "--reserve", "-1"], "--reserve must be at least 0, not -1"),
        (["run", "", *POOL], "PHP-FPM does not know this directory; give the script's absolute path"),
    ],
)
def test_pool_options(command: RunCommand, arguments: list[str], said: str) -> None:
    """A pool that cannot be used like this is refused with the option that it is about."""
    assert_refused(command(*arguments), said)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--uri", "a"], "--uri 'a' must start with / and have no whitespace"),
        (["--uri", "/a%00"], "the path of --uri has a NUL"),
        (["--uri", "/a", "--query", "b=1"], "--uri and --query are both given"),
        (
            ["--uri", "/a", "--param", "QUERY_STRING=b"],
            "--uri sets REQUEST_URI and QUERY_STRING; --param must not",
        ),
        (["--query", "a", "--param", "QUERY_STRING=b"], "--query sets QUERY_STRING; --param must not"),
        (["--query", "a\0"], "--query has a NUL"),
        (["--method", "G E T"], "--method 'G E T' is not a request method"),
        (["--timeout", "-1"], "--timeout must be a number of seconds of at least 0; not -1.0"),
        (["--param", "=1"], "--param has an empty name"),
        (["--param", "A=\0"], "--param 'A' has a NUL"),
        (["--param", "REQUEST_METHOD=GET"], "--param 'REQUEST_METHOD' would be sent twice; set it with --method"),
        (["--param", "SCRIPT_FILENAME=/a"], "set it with SCRIPT"),
        (["--param", "PHP_VALUE=a"], "PHP_VALUE is refused: it changes php.ini settings"),
        (["--header", "A: b\nc"], "--header 'A' has a line break"),
        (["--header", "A: b", "--param", "HTTP_A=c"], "a header becomes HTTP_A, and --param 'HTTP_A' is the same"),
    ],
)
def test_job_options(command: RunCommand, arguments: list[str], said: str) -> None:
    """So is a job that could never be sent."""
    assert_refused(command("run", ECHO, *POOL, *arguments), said)


def assert_refused(result: Result, said: str) -> None:
    """It is said in one line, in the command's words."""
    assert (result.code, result.out) == (2, b"")
    result.assert_one_line()
    assert said in result.err
    assert not ARGUMENT.search(result.err)


@pytest.mark.anyio
@pytest.mark.parametrize("anyio_backend", [("asyncio", {})])
@pytest.mark.parametrize(
    ("head", "said"),
    [
        (HEAD, "set pm.status_path in that pool's configuration, and give --path the same"),
        (b"Status: 404 Not Found\r\n\r\n", "the page has another path or none; set pm.status_path"),
        (None, "set pm.status_listen there, and name it"),
    ],
    ids=["no page", "another path", "no answer"],
)
async def test_status_page(tmp_path: Path, anyio_backend: object, head: bytes | None, said: str) -> None:
    """A page that is none, is elsewhere or does not answer is asked for with --path, or at another ADDRESS."""

    async def script(request: Request) -> None:
        if head is None:
            await request.fault(Stall())
        else:
            await request.write_stdout(head + b"no page")

    async with Responder(script, unix_address(tmp_path)) as responder:
        with pytest.raises(StatusUnavailable) as caught:
            await fetch_status(StatusPage(responder.address), timeout=0.1 if head is None else 20)
    message = in_options(str(caught.value))
    assert said in message
    assert not ARGUMENT.search(message)
