"""Ctrl-C and `| head`: the command ends, says no more than it has to, and leaves no PHP-FPM behind."""

from __future__ import annotations

import fcntl
import signal
import struct
import subprocess
import termios
from pathlib import Path
from urllib.parse import urlencode

from tests.cli.conftest import SCRIPTS, SECONDS, StartCommand, Started, wait_until

PIPE_IS_FULL = 60 * 1024


def bytes_waiting(started: Started) -> int:
    """How much of its standard output nobody has read."""
    assert started.process.stdout is not None
    answer = fcntl.ioctl(started.process.stdout.fileno(), termios.FIONREAD, b"\0" * 4)
    waiting: int = struct.unpack("i", answer)[0]
    return waiting


def assert_interrupted(started: Started) -> None:
    """One line, beside those of the demo's progress, exit code 130, nothing left."""
    started.process.send_signal(signal.SIGINT)
    # before anybody reads what it writes, for it may be waiting for that
    started.process.wait(timeout=SECONDS)
    result = started.end()
    said = [line for line in result.err.splitlines() if " files, " not in line]
    assert (result.code, said) == (130, ["fcgi-async: interrupted"])
    started.assert_fpm_is_gone()


def test_interrupted_while_a_script_runs(start: StartCommand, tmp_path: Path) -> None:
    """Ctrl-C ends the command and the script that it waits for."""
    query = urlencode({"started": tmp_path / "started", "gate": tmp_path / "gate"})
    started = start("run", SCRIPTS / "gate.php", "--query", query)
    assert started.process.stdin is not None
    started.process.stdin.write(b"1\n2\n")
    started.process.stdin.close()
    started.process.stdin = None
    wait_until((tmp_path / "started").exists)
    started.wait_for_fpm()
    assert_interrupted(started)


def test_interrupted_while_nobody_reads(start: StartCommand) -> None:
    """Ctrl-C ends `run` although its output has nowhere to go."""
    started = start("run", SCRIPTS / "flood.php", "--data", "")
    started.wait_for_fpm()
    wait_until(lambda: bytes_waiting(started) >= PIPE_IS_FULL)
    assert_interrupted(started)


def test_interrupted_demo(start: StartCommand) -> None:
    """Ctrl-C ends the demo in the midst of its jobs."""
    started = start("demo")
    started.wait_for_fpm()
    assert_interrupted(started)


def test_killed_command_leaves_no_fpm(start: StartCommand) -> None:
    """PHP-FPM goes even where the command has no chance to see to it."""
    started = start("map", SCRIPTS / "answer.php")
    started.wait_for_fpm()
    started.process.kill()
    started.process.wait()
    wait_until(lambda: not list(started.directory.glob("fcgi-*")))
    wait_until(started.fpm_is_gone)


def test_head_ends_map(start: StartCommand) -> None:
    """`producer | fcgi-async map | head -1` ends quietly, as a program that SIGPIPE ended."""
    started = start("map", SCRIPTS / "answer.php")
    with subprocess.Popen(["yes", "1"], stdout=started.process.stdin) as producer:
        assert started.process.stdin is not None
        assert started.process.stdout is not None
        started.process.stdin.close()
        started.process.stdin = None
        started.wait_for_fpm()
        assert started.process.stdout.readline().startswith(b'{"index":0,"key":0,"ok":true')
        started.process.stdout.close()
        started.process.stdout = None
        result = started.end()
        producer.wait()
    assert (result.code, result.err) == (141, "")
    started.assert_fpm_is_gone()


def test_head_ends_run(start: StartCommand) -> None:
    """`fcgi-async run | head -c 1` ends quietly, although the script would write on."""
    started = start("run", SCRIPTS / "flood.php", "--data", "")
    assert started.process.stdout is not None
    started.wait_for_fpm()
    assert started.process.stdout.read(1) == b"x"
    started.process.stdout.close()
    started.process.stdout = None
    result = started.end()
    assert (result.code, result.err) == (141, "")
    started.assert_fpm_is_gone()
