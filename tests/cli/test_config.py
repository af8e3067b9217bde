"""`fcgi-async config`: what FPM's configuration says, as Python, options and environment that work."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest

from fcgi_async import Endpoint, LocalFPM, StatusPage
from tests.cli.conftest import SCRIPTS, RunCommand


@pytest.fixture
def conf(fpm_here: LocalFPM) -> Path:
    """The configuration of the PHP-FPM that tests share."""
    return fpm_here.directory / "fpm.conf"


def test_python(command: RunCommand, conf: Path) -> None:
    """The code makes the endpoint that `from_fpm_config()` makes."""
    result = command("config", "--fpm-config", conf)
    names: dict[str, object] = {}
    exec(result.out.decode(), names)
    found, expected = names["endpoint"], Endpoint.from_fpm_config(conf)
    assert isinstance(found, Endpoint)
    assert (found.address, found.max_children, found.reserve) == (expected.address, 4, 1)
    assert isinstance(found.status, StatusPage)
    assert found.status == expected.status


def test_processes(command: RunCommand, conf: Path) -> None:
    """Processes stand in the code; the options of one of them leave the others' workers alone."""
    arguments = ["config", "--fpm-config", str(conf), "--processes", "3"]
    assert b"processes=3" in command(*arguments).out
    found = json.loads(command(*arguments, "--format", "json").out)
    assert (found["reserve"], found["processes"], found["share"]) == (1, 3, 1)
    assert command(*arguments, "--format", "options").out.endswith(b" --max-children 4 --reserve 3\n")


def test_options(command: RunCommand, conf: Path) -> None:
    """The options can be given to another command."""
    options = shlex.split(command("config", "--fpm-config", conf, "--format", "options").out.decode())
    result = command("bench", SCRIPTS / "answer.php", "-n", "2", "--json", *options)
    assert json.loads(result.out)["workers"] == 3


def test_environment(command: RunCommand, conf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment takes the place of the options; an option goes before it."""
    for line in command("config", "--fpm-config", conf, "--format", "environment").out.decode().splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        monkeypatch.setenv(name, *shlex.split(value))
    arguments = ["bench", str(SCRIPTS / "answer.php"), "-n", "2", "--json"]
    assert json.loads(command(*arguments).out)["workers"] == 3
    assert json.loads(command(*arguments, "--reserve", "2").out)["workers"] == 2
    assert json.loads(command(*arguments, "--fpm-config", conf, "--reserve", "0").out)["workers"] == 4
    monkeypatch.setenv("FCGI_ASYNC_MAX_CHILDREN", "many")
    result = command(*arguments)
    assert result.code == 2
    assert "FCGI_ASYNC_MAX_CHILDREN=many is not a whole number of workers" in result.err


def test_without_a_page(command: RunCommand, tmp_path: Path) -> None:
    """What is not configured is left out, and what breaks promises is said on standard error."""
    conf = tmp_path / "fpm.conf"
    conf.write_text("[www]\nlisten = 9000\npm = static\npm.max_children = 4\nlisten.backlog = 1\n")
    result = command("config", "--fpm-config", conf)
    assert "StatusPage" not in result.out.decode()
    assert "tcp://127.0.0.1:9000" in result.out.decode()
    assert "listen.backlog = 1 is less than pm.max_children" in result.err
    assert command("config", "--fpm-config", conf, "--reserve", "4").code == 2
