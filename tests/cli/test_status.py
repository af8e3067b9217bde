"""`fcgi-async status` and `ping`: what the workers of a pool do, for people and for machines."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import attrs
import pytest
from anyio.from_thread import BlockingPortal

from fcgi_async import LocalFPM, read_pool_config
from fcgi_async.commands import diagnosis, pool_choice
from fcgi_async.commands.report import as_json, as_text
from fcgi_async.commands.terminal import CLEAR_SCREEN, clip, printable
from fcgi_async.errors import ConfigurationError
from fcgi_async.fpm.status import PoolStatus, ProcessState, ProcessStatus
from tests.cli.conftest import SCRIPTS, SECONDS, RunCommand, StartCommand, wait_until

PROCESS = ProcessStatus(
    pid=7,
    state=ProcessState.RUNNING,
    start_time=datetime.fromtimestamp(1795448657, UTC),
    requests=36,
    request_duration=1.25,
    request_method="GET",
    request_uri="/orders?x=1",
    script="/srv/front.php",
    content_length=0,
    user=None,
    last_request_cpu=12.5,
    last_request_memory=2097152,
)
STATUS = PoolStatus(
    pool="www",
    process_manager="dynamic",
    start_time=datetime.fromtimestamp(1795448370, UTC),
    start_since=3725,
    accepted_connections=322,
    listen_queue=5,
    max_listen_queue=9,
    max_children_reached=3,
    slow_requests=1,
    processes=(
        attrs.evolve(PROCESS, pid=1, state=ProcessState.IDLE),
        PROCESS,
        attrs.evolve(
            PROCESS, pid=8, state=ProcessState.READING_HEADERS, request_method=None, request_uri=None, script=None
        ),
        attrs.evolve(PROCESS, pid=9, state=ProcessState.GETTING_REQUEST_INFORMATIONS, request_duration=20.0),
    ),
)
HOSTILE = attrs.evolve(STATUS, processes=(attrs.evolve(PROCESS, request_uri="/\x1b[2J\n\u202e\udcff\x9b"),))


@pytest.fixture
def busy_fpm(fpm_portal: BlockingPortal, start: StartCommand, tmp_path: Path) -> Iterator[tuple[LocalFPM, Path]]:
    """A PHP-FPM whose only worker runs a script."""
    with fpm_portal.wrap_async_context_manager(LocalFPM(max_children=1, system_ini=False)) as fpm:
        query = urlencode({"started": tmp_path / "started", "gate": tmp_path / "gate"})
        started = start(
            "run", SCRIPTS / "gate.php", "--query", query, "--data", "", "--fpm", fpm.address, "--max-children", "1"
        )
        wait_until((tmp_path / "started").exists)
        yield fpm, SCRIPTS / "gate.php"
        (tmp_path / "gate").touch()
        started.end()


def test_report_for_people() -> None:
    """Workers at work first, the longest first, with what they run and for how long; an idle one has nothing to say."""
    assert as_text(STATUS, ["w1", "w2"]).splitlines() == [
        "pool www, pm = dynamic, up 1:02:05, 322 connections",
        "workers: 3 active, 1 idle, 4 in all",
        "queue: 5 waiting, 9 at most",
        "max_children reached: 3, slow requests: 1",
        "",
        "     PID  STATE                  FOR  REQUEST",
        "       9  Getting request   20.000 s  GET /orders?x=1 /srv/front.php",
        "       7  Running            1.250 s  GET /orders?x=1 /srv/front.php",
        "       8  Reading headers    1.250 s  a connection without a request",
        "       1  Idle",
        "",
        "warning: w1",
        "warning: w2",
    ]


def test_queue_that_is_not_known() -> None:
    """What FPM does not know of a unix socket is not shown as 0."""
    text = as_text(attrs.evolve(STATUS, listen_queue=None, max_listen_queue=None, processes=()))
    assert "queue: unknown on a unix socket\n" in text
    assert "PID" not in text


def test_nothing_reaches_the_terminal_raw() -> None:
    """Whatever a client sent as its URI, the terminal shows it and does not obey."""
    line = as_text(HOSTILE).splitlines()[-1]
    assert r"GET /\x1b[2J\n\u202e\udcff\x9b /srv/front.php" in line
    assert all(char.isprintable() for char in as_text(HOSTILE).replace("\n", ""))
    assert as_json(HOSTILE).isascii()
    assert json.loads(as_json(HOSTILE))["processes"][0]["request_uri"] == "/\x1b[2J\n\u202e\udcff\x9b"


def test_lines_are_cut_to_the_terminal() -> None:
    """A line as wide as the terminal stays whole, a longer one shows that it was cut."""
    assert [clip("abcd", width) for width in (None, 4, 3)] == ["abcd", "abcd", "ab…"]
    assert all(len(line) <= 20 for line in as_text(STATUS, width=20).splitlines())
    assert printable("ä ") == "ä "


def test_report_for_machines() -> None:
    """--json is one object on one line, with the counts, times as ISO 8601, and the warnings."""
    text = as_json(STATUS, ["w"])
    found = json.loads(text)
    assert "\n" not in text
    assert (found["active"], found["idle"], found["total"], found["warnings"]) == (3, 1, 4, ["w"])
    assert found["start_time"] == "2026-11-23T15:39:30+00:00"
    assert found["processes"][1] | {"start_time": None} == {
        "pid": 7,
        "state": "Running",
        "start_time": None,
        "requests": 36,
        "request_duration": 1.25,
        "request_method": "GET",
        "request_uri": "/orders?x=1",
        "script": "/srv/front.php",
        "content_length": 0,
        "user": None,
        "last_request_cpu": 12.5,
        "last_request_memory": 2097152,
    }


def test_status_of_a_busy_pool(command: RunCommand, busy_fpm: tuple[LocalFPM, Path]) -> None:
    """Although its only worker is busy, pm.status_listen answers, and shows what it runs."""
    fpm, script = busy_fpm
    result = command("status", fpm.status_address)
    assert (result.code, result.err) == (0, "")
    lines = result.out.decode().splitlines()
    assert lines[0].startswith("pool www, pm = static, up ")
    assert lines[1] == "workers: 1 active, 0 idle, 1 in all"
    assert "Running" in lines[-1]
    assert "POST /gate.php?started=" in lines[-1]
    assert lines[-1].endswith(str(script))
    found = json.loads(command("status", fpm.status_address, "--json").out)
    assert (found["active"], found["processes"][0]["script"]) == (1, str(script))


def test_status_on_the_socket_of_a_busy_pool(command: RunCommand, busy_fpm: tuple[LocalFPM, Path]) -> None:
    """Without pm.status_listen there is no answer in time, and the one line says what to set."""
    result = command("status", busy_fpm[0].address, "--timeout", "0.1")
    assert (result.code, result.out) == (1, b"")
    result.assert_one_line()
    assert "set pm.status_listen" in result.err


def test_ping(command: RunCommand, fpm: LocalFPM) -> None:
    """A worker that is there answers."""
    result = command("ping", fpm.address)
    assert (result.code, result.err) == (0, "")
    assert result.out.decode().startswith(f"{fpm.address}: a worker answered in ")
    assert result.out.endswith(b" ms\n")


def test_ping_of_a_busy_pool(command: RunCommand, busy_fpm: tuple[LocalFPM, Path]) -> None:
    """Where no worker is free in time, that is a failure."""
    result = command("ping", busy_fpm[0].address, "--timeout", "0.1")
    assert (result.code, result.out) == (1, b"")
    result.assert_one_line()
    assert "no worker answered within 0.1 s" in result.err


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["ping", "unix:///nowhere/fpm.sock"], 1, "no such socket"),
        (["status", "unix:///nowhere/fpm.sock"], 1, "no such socket"),
        (["ping", "php-fpm.sock"], 2, "not an address"),
        (["status", "php-fpm.sock"], 2, "not an address"),
        (["status", "unix:///nowhere", "--path", "status"], 2, "a path such as /status"),
        (["status", "unix:///nowhere", "--timeout", "0"], 2, "--timeout"),
        (["status", "unix:///nowhere", "--timeout", "soon"], 2, "--timeout"),
        (["status", "unix:///nowhere", "--watch", "-1"], 2, "--watch"),
        (["status", "unix:///nowhere", "--watch", "nan"], 2, "--watch"),
        (["status", "unix:///nowhere", "--watch"], 1, "no such socket"),
    ],
)
def test_what_cannot_be(command: RunCommand, arguments: list[str], code: int, said: str) -> None:
    """One line says what is wrong; the code tells the command line's faults from FPM's."""
    result = command(*arguments)
    assert (result.code, result.out) == (code, b"")
    result.assert_one_line()
    assert said in result.err


def test_another_path(command: RunCommand, fpm: LocalFPM) -> None:
    """A path that FPM does not know for its status page is named."""
    result = command("status", fpm.status_address, "--path", "/else")
    assert result.code == 1
    assert "/else" in result.err
    assert "pm.status_path" in result.err


def test_pool_by_its_configuration(command: RunCommand, fpm_here: LocalFPM, tmp_path: Path) -> None:
    """--fpm-config finds the pool and its page, and what is said of its settings stands below the workers."""
    conf = tmp_path / "fpm.conf"
    conf.write_text((fpm_here.directory / "fpm.conf").read_text() + "request_terminate_timeout = 0\n")
    result = command("status", "--fpm-config", conf, "--pool", "www", "--json")
    assert result.code == 0
    found = json.loads(result.out)
    assert found["total"] == fpm_here.max_children
    assert any("request_terminate_timeout = 0" in warning for warning in found["warnings"])
    assert "request_terminate_timeout = 0" in command("status", "--fpm-config", conf).out.decode()
    assert command("ping", "--fpm-config", conf).out.decode().startswith(fpm_here.address)
    assert command("status", fpm_here.address, "--fpm-config", conf).code == 2


def test_pool_without_a_status_page(command: RunCommand, tmp_path: Path) -> None:
    """A configuration that names no page is told what to set."""
    conf = tmp_path / "fpm.conf"
    conf.write_text("[www]\nlisten = /run/none.sock\npm = static\npm.max_children = 1\n")
    result = command("status", "--fpm-config", conf)
    assert result.code == 1
    assert "set pm.status_path, and pm.status_listen" in result.err


def test_watch_until_interrupted(start: StartCommand, fpm: LocalFPM) -> None:
    """--watch prints again and again, without a terminal's codes, until Ctrl-C, which is its proper end."""
    started = start("status", fpm.status_address, "--json", "--watch", "0.01")
    assert started.process.stdout is not None
    for _ in range(3):
        assert json.loads(started.process.stdout.readline())["pool"] == "www"
    started.process.send_signal(signal.SIGINT)
    result = started.end()
    assert (result.code, result.err) == (0, "")
    assert b"\x1b" not in result.out


def test_watch_waits_for_fpm_to_come_back(start: StartCommand, fpm_here: LocalFPM) -> None:
    """A page that is away for a moment is said to be, and looked at again."""
    real = Path(fpm_here.status_address.removeprefix("unix://"))
    link = real.with_name("link.sock")
    link.symlink_to(real)
    started = start("status", f"unix://{link}", "--json", "--watch", "0.01")
    assert started.process.stdout is not None
    assert started.process.stderr is not None
    started.process.stdout.readline()
    link.unlink()
    assert b"no such socket" in started.process.stderr.readline()
    link.symlink_to(real)
    wait_until(lambda: json.loads(started.process.stdout.readline())["pool"] == "www")  # type: ignore[union-attr]
    link.unlink()
    started.process.send_signal(signal.SIGINT)
    assert started.end().code == 0


def test_watch_on_a_terminal(fpm: LocalFPM) -> None:
    """On a terminal every page but the first takes the place of the one before."""
    ours, theirs = pty.openpty()
    arguments: list[Any] = [sys.executable, "-m", "fcgi_async", "status", fpm.status_address, "--watch", "0.01"]
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE) as process:
        os.close(theirs)
        out = b""
        while out.count(CLEAR_SCREEN.encode()) < 2:
            out += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=SECONDS) == 0
    os.close(ours)
    first, second, _ = out.split(CLEAR_SCREEN.encode(), 2)
    assert first.startswith(b"pool www")
    assert second.startswith(b"pool www")


def test_head_ends_watch(start: StartCommand, fpm: LocalFPM) -> None:
    """`fcgi-async status --watch | head -1` ends quietly."""
    started = start("status", fpm.status_address, "--watch", "0.01")
    assert started.process.stdout is not None
    started.process.stdout.readline()
    started.process.stdout.close()
    started.process.stdout = None
    result = started.end()
    assert (result.code, result.err) == (141, "")


@pytest.fixture
def found_conf(fpm_here: LocalFPM, monkeypatch: pytest.MonkeyPatch) -> LocalFPM:
    """The shared PHP-FPM's configuration, as if it were where distributions keep it."""
    conf = fpm_here.directory / "fpm.conf"
    for module in (pool_choice, diagnosis):
        monkeypatch.setattr(module, "find_pool_config", lambda pool, *, prefix: (conf, read_pool_config(conf, pool)))
    return fpm_here


@pytest.mark.parametrize("arguments", [["ping"], ["status"], ["top", "--once"], ["doctor", "--json"]])
def test_the_pool_is_found(command: RunCommand, found_conf: LocalFPM, arguments: list[str]) -> None:
    """Without an address each command looks where distributions keep FPM's configuration."""
    result = command(*arguments)
    assert (result.code, result.err) == (0, "")
    assert found_conf.address in result.out.decode() or b"pool www" in result.out or b"4 workers" in result.out


@pytest.mark.parametrize("arguments", [["ping"], ["status", "--path", "/status"], ["doctor", "--json"]])
def test_the_pool_of_the_environment(
    command: RunCommand, fpm: LocalFPM, monkeypatch: pytest.MonkeyPatch, arguments: list[str]
) -> None:
    """FCGI_ASYNC_FPM takes the place of the address, as for `run`; an address on the command line comes first."""
    monkeypatch.setenv("FCGI_ASYNC_FPM", fpm.address)
    assert command(*arguments).code == 0
    assert command(*arguments, "unix:///nowhere/fpm.sock").code == 1
    monkeypatch.setenv("FCGI_ASYNC_FPM", "unix:///nowhere/fpm.sock")
    assert command(*arguments).code == 1


def test_a_pool_that_is_not_found(command: RunCommand, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is said what was looked at, and what to give."""

    def find(*arguments: object, **options: object) -> object:
        raise ConfigurationError("looked for in /etc, and there is none; give path=")

    monkeypatch.setattr(pool_choice, "find_pool_config", find)
    result = command("ping")
    assert result.code == 2
    assert result.err == (
        "fcgi-async: looked for in /etc, and there is none; name the pool's ADDRESS, or --fpm-config FILE\n"
    )
