"""`fcgi-async doctor`: each thing that a pool needs is looked at, and what is wrong comes with what to do."""

from __future__ import annotations

import json
import os
import pty
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import LocalFPM
from fcgi_async.commands import diagnosis
from fcgi_async.commands.check import State
from fcgi_async.commands.symptoms import socket_file
from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm import search
from fcgi_async.net.address import Address
from tests.cli.conftest import SECONDS, Result, RunCommand
from tests.cli.test_peers import Serve, is_silent, serve, speaks_http
from tests.cli.test_status import busy_fpm

__all__ = ("busy_fpm", "serve")


@pytest.fixture
def conf(fpm_here: LocalFPM, tmp_path: Path) -> Path:
    """A copy of the shared PHP-FPM's configuration in which nothing is to be complained of."""
    path = tmp_path / "fpm.conf"
    path.write_text((fpm_here.directory / "fpm.conf").read_text() + "request_terminate_timeout = 5s\n")
    return path


def checks(result: Result) -> dict[str, dict[str, Any]]:
    """What --json says, by the names of the checks."""
    assert result.out.count(b"\n") == 1
    return {check["name"]: check for check in json.loads(result.out)["checks"]}


def test_sound_pool(command: RunCommand, conf: Path, fpm_here: LocalFPM) -> None:
    """Everything is looked at, a line each, and nothing is wrong."""
    result = command("doctor", "--fpm-config", conf)
    assert (result.code, result.err) == (0, "")
    lines = result.out.decode().splitlines()
    assert [line.split()[0] for line in lines] == ["ok"] * len(lines)
    for said in (
        f"{conf}, pool www",
        "may open it",
        "accepts connections",
        "php-fpm",
        "a worker answered in ",
        "process_control_timeout = 10s",
        "idle of 4 workers",
        "pm = static",
        "pm.max_children = 4",
        "3 of 4 workers for this process, 1 left to other clients",
    ):
        assert said in result.out.decode(), said
    assert b"\x1b" not in result.out


def test_json(command: RunCommand, conf: Path, fpm_here: LocalFPM) -> None:
    """--json says the same in one object."""
    result = command("doctor", "--fpm-config", conf, "--json", "--reserve", "0", "--processes", "2")
    found = json.loads(result.out)
    assert (result.code, found["ok"], found["address"]) == (0, True, fpm_here.address)
    assert checks(result)["share"]["found"] == "2 of 4 workers for each of 2 processes, 0 left to other clients"
    assert {check["state"] for check in found["checks"]} == {"ok"}
    assert str(fpm_here.pid) in checks(result)["listener"]["found"]


def test_settings_that_break_promises(command: RunCommand, conf: Path) -> None:
    """What should be set otherwise is a warning with the value to write, and no failure."""
    text = re.sub("(process_control_timeout *=).*", r"\1 0", conf.read_text())
    conf.write_text(text.replace("request_terminate_timeout = 5s", ""))
    result = command("doctor", "--fpm-config", conf, "--json")
    found = checks(result)
    assert result.code == 0
    assert found["process_control_timeout"]["state"] == "warning"
    assert "a reload or a stop kills running jobs" in found["process_control_timeout"]["found"]
    assert found["process_control_timeout"]["advice"].startswith("set it in [global] above the longest job")
    assert found["request_terminate_timeout"]["state"] == "warning"
    assert found["listen.backlog"]["state"] == "ok"


def test_pool_of_another_configuration(command: RunCommand, fpm: LocalFPM) -> None:
    """An address alone will do: what only the configuration tells is unknown, and the page tells the rest."""
    found = checks(command("doctor", fpm.address, "--json"))
    assert found["configuration"]["state"] == "unknown"
    assert found["FastCGI"]["state"] == found["status page"]["state"] == "ok"
    assert found["max_children"]["found"] == "pm.max_children = 4"
    assert "process_control_timeout" not in found


def test_no_socket(command: RunCommand) -> None:
    """A socket that is not there fails, with what to compare; nothing is asked of it."""
    result = command("doctor", "unix:///nowhere/fpm.sock", "--json")
    found = checks(result)
    assert (result.code, result.err) == (1, "")
    assert found["socket"]["state"] == found["reachable"]["state"] == "failed"
    assert "check that FPM runs" in found["socket"]["advice"]
    assert "FastCGI" not in found
    assert "status page" not in found


def test_not_fastcgi(command: RunCommand, serve: Serve) -> None:
    """What speaks HTTP can be reached, and is no PHP-FPM."""
    result = command("doctor", serve(speaks_http), "--json", "--max-children", "4")
    found = checks(result)
    assert result.code == 1
    assert found["reachable"]["state"] == "ok"
    assert found["FastCGI"]["state"] == "failed"
    assert "what listens there is not PHP-FPM" in found["FastCGI"]["advice"]


@pytest.mark.parametrize("who", ["busy", "silent"])
def test_no_answer(command: RunCommand, busy_fpm: tuple[LocalFPM, Path], serve: Serve, who: str) -> None:
    """A pool whose workers are all busy, or a peer that is silent, fails, and both are named."""
    address = busy_fpm[0].address if who == "busy" else serve(is_silent)
    result = command("doctor", address, "--timeout", "0.1", "--json")
    found = checks(result)["FastCGI"]
    assert (result.code, found["state"]) == (1, "failed")
    assert "no worker answered within 0.1 s" in found["found"]
    assert "workers are busy" in found["advice"]


def test_busy_pool_by_its_configuration(command: RunCommand, busy_fpm: tuple[LocalFPM, Path]) -> None:
    """With pm.status_listen the page shows that the workers are busy."""
    conf = busy_fpm[0].directory / "fpm.conf"
    result = command("doctor", "--fpm-config", conf, "--timeout", "0.5", "--json")
    found = checks(result)
    assert (result.code, found["FastCGI"]["state"], found["status page"]["state"]) == (1, "failed", "ok")
    assert "1 active and 0 idle of 1 workers" in found["status page"]["found"]


def test_socket_that_this_user_may_not_open(monkeypatch: pytest.MonkeyPatch, fpm_here: LocalFPM) -> None:
    """It is said whose the socket is, its mode, and what to set."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    found = socket_file(Address.parse(fpm_here.address))
    assert found is not None
    assert found.state is State.FAILED
    assert "may not open it" in found.found
    assert "listen.mode = 0660" in found.advice


def test_socket_of_a_group(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If its group may open it, the first advice is to join that group."""
    monkeypatch.setattr("os.access", lambda path, mode: False)
    monkeypatch.setattr("fcgi_async.commands.symptoms._group", lambda gid: "www-data")
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "fpm.sock"))
        (tmp_path / "fpm.sock").chmod(0o660)
        if os.geteuid() == 0:
            os.chown(tmp_path / "fpm.sock", -1, 33)
        found = socket_file(Address.parse(f"unix://{tmp_path}/fpm.sock"))
    assert found is not None
    assert "(usermod -aG www-data " in found.advice


def test_file_that_is_no_socket(command: RunCommand, tmp_path: Path) -> None:
    """A file in the socket's place is told from a socket that nobody listens at."""
    (tmp_path / "fpm.sock").touch()
    found = checks(command("doctor", f"unix://{tmp_path}/fpm.sock", "--json"))
    assert "is not a socket" in found["socket"]["found"]


def test_configuration_of_an_address(
    command: RunCommand, fpm: LocalFPM, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pool of any name is found by its address, beside a pool www."""
    conf = tmp_path / "etc" / "php-fpm.conf"
    conf.parent.mkdir()
    others = "listen = 127.0.0.1:9\npm = static\npm.max_children = 1\n"
    mine = f"listen = {fpm.address.removeprefix('unix://')}\npm = static\npm.max_children = {fpm.max_children}\n"
    conf.write_text(f"[www]\n{others}[shop]\n{mine}")
    monkeypatch.setattr(search, "_ROOT", tmp_path)
    found = checks(command("doctor", fpm.address, "--json"))
    assert found["configuration"]["found"] == f"{conf}, pool shop"
    assert found["max_children"]["found"] == f"pm.max_children = {fpm.max_children}"


def test_no_configuration(command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an address, and without a configuration in the usual places, it is said what to give."""

    def find(*arguments: object, **options: object) -> object:
        raise ConfigurationError("looked for in /etc, and there is none; give path=")

    monkeypatch.setattr(diagnosis, "find_pool_config", find)
    result = command("doctor")
    assert (result.code, result.err) == (1, "")
    assert b"and there is none; name it with --fpm-config FILE" in result.out
    assert result.out.startswith(b"failed")


def test_share_that_leaves_nothing(command: RunCommand, conf: Path) -> None:
    """A reserve of all workers is a failure before a dispatcher refuses it."""
    result = command("doctor", "--fpm-config", conf, "--reserve", "4")
    assert result.code == 1
    assert b"--max-children 4 less --reserve 4 leaves no worker" in result.out


def test_wrong_options(command: RunCommand, conf: Path) -> None:
    """An address beside a configuration, and what is no address, are wrong usage."""
    for arguments in (["unix:///a", "--fpm-config", str(conf)], ["fpm.sock"]):
        result = command("doctor", *arguments)
        assert (result.code, result.out) == (2, b"")
        result.assert_one_line()


@pytest.mark.parametrize("no_color", ["", "1"])
def test_colours(conf: Path, no_color: str) -> None:
    """A terminal gets colours, unless NO_COLOR is set."""
    ours, theirs = pty.openpty()
    arguments = [sys.executable, "-m", "fcgi_async", "doctor", "--fpm-config", str(conf)]
    environment = {**os.environ, "NO_COLOR": no_color, "TERM": "xterm"}
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, env=environment) as process:
        os.close(theirs)
        shown = os.read(ours, 65536)
        assert process.wait(timeout=SECONDS) == 0
    os.close(ours)
    assert (b"\x1b[32mok" in shown) is not bool(no_color)
