"""SIGTERM and Ctrl-C: the first one lets what runs end and takes no more lines, the second names what it cuts off."""

from __future__ import annotations

import json
import os
import re
import select
import signal
from pathlib import Path
from typing import Any

import attrs
import pytest

from fcgi_async import LocalFPM
from tests.cli.conftest import SCRIPTS, SECONDS, StartCommand, Started, wait_until
from tests.cli.test_ending import bytes_waiting
from tests.cli.test_map import outcomes

GATE = """<?php
$line = file_get_contents('php://input');
touch("{folder}/began-$line");
for ($tries = 0; $tries < 15000 && !file_exists('{folder}/gate'); $tries++) {{ usleep(2000); clearstatcache(); }}
touch("{folder}/ended-$line");
echo $line;
"""


@attrs.frozen
class Gated:
    """A script that waits for a gate, and a `map` that runs it for each line."""

    folder: Path
    started: Started

    def wait_for(self, count: int) -> None:
        """Return when so many jobs run."""
        wait_until(lambda: len(self.files("began")) == count)

    def open(self) -> None:
        """Let the jobs end."""
        (self.folder / "gate").touch()

    def files(self, what: str) -> list[str]:
        """Which lines have begun or ended."""
        return sorted(path.name.partition("-")[2] for path in self.folder.glob(f"{what}-*"))

    def signal(self, number: int, said: bytes = b"stopping: ") -> None:
        """Send a signal, and wait until it is answered."""
        self.started.process.send_signal(number)
        assert self.started.process.stderr is not None
        if said:
            assert said in self.started.process.stderr.readline()


@pytest.fixture
def gated(start: StartCommand, fpm: LocalFPM, tmp_path: Path) -> Any:
    """Start it with 1,000 lines, on two workers, and wait until both run."""

    def begin(*options: str | Path) -> Gated:
        script = tmp_path / "gated.php"
        script.write_text(GATE.format(folder=tmp_path))
        started = start("map", script, *options, "--fpm", fpm.address, "--max-children", "2")
        assert started.process.stdin is not None
        started.process.stdin.write("".join(f"{n}\n" for n in range(1000)).encode())
        started.process.stdin.flush()
        found = Gated(tmp_path, started)
        found.wait_for(2)
        return found

    return begin


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("order", [[], ["--unordered"]])
def test_first_signal(gated: Any, number: int, order: list[str]) -> None:
    """What runs ends well and has its outcome; nothing else is begun; the exit code is one of its own."""
    run = gated(*order)
    run.signal(number, b"no more lines are taken, 2 running jobs are finished")
    run.open()
    run.started.process.wait(timeout=SECONDS)
    result = run.started.end()
    assert result.code == 3
    assert sorted(outcome["body"] for outcome in outcomes(result)) == [0, 1]
    assert run.files("began") == run.files("ended") == ["0", "1"]
    assert re.search("2 done, 0 failed, [45] read and not run, and more lines were not read$", result.err)


def test_second_signal(gated: Any, tmp_path: Path) -> None:
    """What runs is cut off and named: that PHP may have run it, in the job log too."""
    run = gated("--joblog", tmp_path / "log")
    run.signal(signal.SIGTERM)
    run.signal(signal.SIGTERM, b"")
    run.started.process.wait(timeout=SECONDS)
    run.open()
    result = run.started.end()
    assert (result.code, result.out) == (130, b"")
    lines = result.err.splitlines()
    assert sorted(lines[:2]) == [f"fcgi-async: cut off: job {n}: PHP may have run it" for n in (0, 1)]
    assert lines[2].startswith("fcgi-async: interrupted; 0 jobs in ")
    ended = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines() if '"ended"' in line]
    assert sorted((one["key"], one["may_have_run"]) for one in ended) == [
        (0, True),
        (1, True),
        *((key, False) for key in range(2, len(ended))),
    ]


def test_second_signal_while_nobody_reads(start: StartCommand) -> None:
    """The second signal ends it although its output has nowhere to go."""
    started = start("map", SCRIPTS / "answer.php")
    line = b'"' + b"x" * 4000 + b'"\n'
    assert started.process.stdin is not None
    pipe = started.process.stdin.fileno()
    sent = 0
    started.wait_for_fpm()

    def is_full() -> bool:
        nonlocal sent
        if sent < 100 and select.select((), (pipe,), (), 0)[1]:
            assert os.write(pipe, line) == len(line)
            sent += 1
        # each outcome takes two pages of the pipe, the second one nearly empty
        return bytes_waiting(started) >= 30 * 1024

    wait_until(is_full)
    started.process.send_signal(signal.SIGINT)
    assert started.process.stderr is not None
    assert b"stopping" in started.process.stderr.readline()
    started.process.send_signal(signal.SIGINT)
    started.process.wait(timeout=SECONDS)
    assert started.process.returncode == 130
    started.end()
    started.assert_fpm_is_gone()


def test_signal_while_waiting_for_input(start: StartCommand) -> None:
    """It ends although its input is open and silent, and leaves no PHP-FPM."""
    started = start("map", SCRIPTS / "answer.php")
    started.wait_for_fpm()
    assert started.process.stdin is not None
    assert started.process.stdout is not None
    started.process.stdin.write(b"1\n")
    started.process.stdin.flush()
    started.process.stdout.readline()
    started.process.send_signal(signal.SIGTERM)
    started.process.wait(timeout=SECONDS)
    assert started.process.returncode == 3
    assert "1 done, 0 failed, and more lines were not read" in started.end().err
    started.assert_fpm_is_gone()


def test_signal_while_a_job_waits_to_be_run_again(start: StartCommand, tmp_path: Path) -> None:
    """It is not run again: it has failed, and that is its outcome."""
    script = tmp_path / "fails.php"
    script.write_text(f"<?php touch('{tmp_path}/ran'); http_response_code(503);")
    started = start("map", script, "--retries", "50", "--idempotent")
    assert started.process.stdin is not None
    started.process.stdin.write(b"1\n")
    started.process.stdin.close()
    started.process.stdin = None
    wait_until((tmp_path / "ran").exists)
    started.process.send_signal(signal.SIGINT)
    result = started.end()
    (outcome,) = outcomes(result)
    # every line was read and run, so nothing was left out
    assert (result.code, outcome["status"]) == (1, 503)
    assert outcome["again"] < 50
