"""`fcgi-async top`: a pool and its workers again and again, as lines, as JSON, and on a terminal."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import attrs
import pytest
from rich.console import Console

from fcgi_async import LocalFPM
from fcgi_async.commands.request_rate import RequestRate
from fcgi_async.commands.top_report import Look
from fcgi_async.commands.top_screen import table
from tests.cli.conftest import SCRIPTS, SECONDS, RunCommand, StartCommand, wait_until
from tests.cli.test_status import PROCESS, STATUS, busy_fpm

__all__ = ("busy_fpm",)


def test_once(command: RunCommand, fpm: LocalFPM) -> None:
    """One line, of the workers that are there; a single look has no rate."""
    result = command("top", fpm.status_address, "--once")
    assert (result.code, result.err) == (0, "")
    found = re.fullmatch(
        r"\d\d:\d\d:\d\d  pool www: (\d) active, (\d) idle of 4, queue unknown, - requests/s, CPU [\d.]+ %, "
        r"memory [\d.]+ MiB, max_children reached \d+, slow 0\n",
        result.out.decode(),
    )
    assert found
    assert int(found[1]) + int(found[2]) == 4


def test_rate(start: StartCommand, command: RunCommand, fpm: LocalFPM, pool: list[str]) -> None:
    """A look has what was served since the one before; an interrupt is the proper end."""
    started = start("top", fpm.status_address, "--json", "--interval", "0.05")
    assert started.process.stdout is not None
    looks: list[dict[str, Any]] = [json.loads(started.process.stdout.readline())]
    assert looks[0]["requests_per_second"] is None
    assert command("bench", SCRIPTS / "answer.php", "-n", "100", *pool).code == 0
    for _ in range(5):
        looks.append(json.loads(started.process.stdout.readline()))
    started.process.send_signal(signal.SIGINT)
    result = started.end()
    assert (result.code, result.err) == (0, "")
    assert max(look["requests_per_second"] for look in looks[1:]) > 0
    assert {"pid", "state", "requests", "cpu", "memory", "script"} <= looks[0]["workers"][0].keys()
    assert looks[0]["total"] == len(looks[0]["workers"]) == 4


def test_busy_worker(command: RunCommand, busy_fpm: tuple[LocalFPM, Path]) -> None:
    """What a worker is at is told, with pm.status_listen while all of them are busy."""
    look = json.loads(command("top", "--fpm-config", busy_fpm[0].directory / "fpm.conf", "--once", "--json").out)
    assert (look["active"], look["idle"]) == (1, 0)
    assert look["workers"][0]["state"] == "Running"
    assert look["workers"][0]["script"].endswith(".php")


def test_no_page(command: RunCommand, tmp_path: Path) -> None:
    """A page that is not there ends it, with what to set."""
    conf = tmp_path / "fpm.conf"
    conf.write_text("[www]\nlisten = /run/none.sock\npm = static\npm.max_children = 1\n")
    result = command("top", "--fpm-config", conf)
    assert result.code == 1
    assert "set pm.status_path, and pm.status_listen" in result.err
    assert command("top", "unix:///nowhere", "--once").code == 1


def test_page_that_is_away(start: StartCommand, fpm_here: LocalFPM) -> None:
    """A page that is away for a moment is said to be, and looked at again."""
    real = Path(fpm_here.status_address.removeprefix("unix://"))
    link = real.with_name("top.sock")
    link.symlink_to(real)
    started = start("top", f"unix://{link}", "--interval", "0.02")
    assert started.process.stdout is not None
    assert started.process.stderr is not None
    started.process.stdout.readline()
    link.unlink()
    assert b"no such socket" in started.process.stderr.readline()
    link.symlink_to(real)
    wait_until(lambda: b"pool www" in started.process.stdout.readline())  # type: ignore[union-attr]
    link.unlink()
    started.process.send_signal(signal.SIGINT)
    assert started.end().code == 0


@pytest.mark.parametrize("no_color", ["", "1"])
def test_on_a_terminal(fpm: LocalFPM, no_color: str) -> None:
    """A terminal is drawn on, in colours unless NO_COLOR is set, and is given back as it was."""
    ours, theirs = pty.openpty()
    arguments: list[Any] = [sys.executable, "-m", "fcgi_async", "top", fpm.status_address, "--interval", "0.05"]
    environment = {**os.environ, "TERM": "xterm-256color", "NO_COLOR": no_color, "COLUMNS": "120", "LINES": "30"}
    with subprocess.Popen(arguments, stdin=theirs, stdout=theirs, stderr=subprocess.PIPE, env=environment) as process:
        os.close(theirs)
        out = b""
        while out.count(b"REQUESTS") < 2:
            out += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        deadline = time.monotonic() + SECONDS
        while b"\x1b[?1049l" not in out and time.monotonic() < deadline:
            out += os.read(ours, 65536)
        assert process.wait(timeout=SECONDS) == 0
    os.close(ours)
    assert b"\x1b[?1049h" in out
    assert b"pool www" in out
    assert bool(re.search(rb"\x1b\[[0-9;]*36m", out)) is not bool(no_color)


def test_table() -> None:
    """Those at work come first; what a client sent is neither markup nor a terminal's code; few rows are enough."""
    look = Look(STATUS, None)
    hostile = attrs.evolve(PROCESS, pid=99, request_duration=99.0, request_uri="/[red]\x1b[2J")
    look = attrs.evolve(look, status=attrs.evolve(STATUS, processes=(*STATUS.processes, hostile)))
    console = Console(width=160, force_terminal=False)
    with console.capture() as capture:
        console.print(table(look, rows=2))
    head, first, second = capture.get().rstrip().splitlines()
    assert head.split()[:3] == ["PID", "STATE", "FOR"]
    assert first.split()[0] == "99"
    assert "/[red]\\x1b[2J" in first
    assert int(second.split()[0]) in {process.pid for process in STATUS.processes if process.active}


def test_rates() -> None:
    """A worker that is new began with no requests, also one with the pid of another; nothing is below 0."""
    rate = RequestRate()
    worker = attrs.evolve(PROCESS, requests=10)
    status = attrs.evolve(STATUS, processes=(worker,))
    assert rate.rates(status, 1.0) is None
    more = attrs.evolve(worker, requests=30), attrs.evolve(worker, pid=70, requests=4)
    found = rate.rates(attrs.evolve(STATUS, processes=more), 3.0)
    assert found is not None
    assert (found.pool, found.workers) == (12.0, {7: 10.0, 70: 2.0})
    again = attrs.evolve(worker, requests=6, start_time=STATUS.start_time)
    found = rate.rates(attrs.evolve(STATUS, processes=(again, attrs.evolve(more[1], requests=1))), 4.0)
    assert found is not None
    assert found.workers == {7: 6.0, 70: 0.0}
