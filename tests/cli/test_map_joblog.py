"""The job log of `fcgi-async map`: what ended well is not run again, whatever happened to the run that wrote it."""

from __future__ import annotations

import json
import signal
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from fcgi_async import LocalFPM
from tests.cli.conftest import SCRIPTS, RunCommand, StartCommand, wait_until
from tests.cli.test_map import outcomes

ANSWER = SCRIPTS / "answer.php"


@pytest.fixture
def counting(tmp_path: Path) -> Path:
    """A script that keeps a file of the lines it was run for, and fails for those that are in the file `bad`."""
    (tmp_path / "bad").touch()
    script = tmp_path / "counting.php"
    script.write_text(
        "<?php $line = file_get_contents('php://input');"
        f" file_put_contents('{tmp_path}/ran', \"$line\\n\", FILE_APPEND);"
        f" if (in_array($line, explode(' ', file_get_contents('{tmp_path}/bad')))) http_response_code(500);"
    )
    return script


def ran(folder: Path) -> Counter[str]:
    """How often each line was run."""
    return Counter((folder / "ran").read_text().split())


def events(log: Path) -> list[dict[str, Any]]:
    """What the log has."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def test_what_failed_is_run_again(command: RunCommand, pool: list[str], counting: Path, tmp_path: Path) -> None:
    """With --resume only what failed, and what is new, is run; the log tells of every attempt."""
    log = tmp_path / "log"
    (tmp_path / "bad").write_text("2 4")
    assert command("map", counting, "--joblog", log, *pool, stdin=b"1\n2\n3\n4\n").code == 1
    (tmp_path / "bad").write_text("4")
    result = command("map", counting, "--joblog", log, "--resume", *pool, stdin=b"1\n2\n3\n4\n5\n")
    assert (result.code, [outcome["index"] for outcome in outcomes(result)]) == (1, [1, 3, 4])
    assert "2 done, 1 failed, 2 done before" in result.err
    assert ran(tmp_path) == {"1": 1, "2": 2, "3": 1, "4": 2, "5": 1}
    assert Counter(event["event"] for event in events(log)) == {"run": 2, "began": 7, "ended": 7}
    ended = next(event for event in events(log) if event["event"] == "ended" and not event["ok"])
    assert (ended["status"], ended["error"]) == (500, "PHP answered with status 500")


def test_nothing_is_left_to_run(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """Going on with what is complete runs nothing, and is a success."""
    for options in ([], ["--resume"], ["--resume"]):
        result = command("map", ANSWER, "--joblog", tmp_path / "log", *options, *pool, stdin=b"1\n2\n")
        assert result.code == 0
    assert result.out == b""
    assert "0 jobs in " in result.err
    assert "2 done before" in result.err


def test_log_of_an_earlier_run(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """Without --resume a log that has something in it is refused, and stays as it is."""
    command("map", ANSWER, "--joblog", tmp_path / "log", *pool, stdin=b"1\n")
    before = (tmp_path / "log").read_bytes()
    result = command("map", ANSWER, "--joblog", tmp_path / "log", *pool, stdin=b"1\n")
    assert (result.code, result.out) == (2, b"")
    assert "continue it with --resume" in result.err
    assert (tmp_path / "log").read_bytes() == before


def test_input_that_has_changed(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """Lines that are known by their index have to be the same; those with a key may move and change."""
    command("map", ANSWER, "--joblog", tmp_path / "log", *pool, stdin=b"1\n2\n")
    result = command("map", ANSWER, "--joblog", tmp_path / "log", "--resume", *pool, stdin=b"1\n3\n")
    assert result.code == 2
    assert "job 1 of standard input is not job 1 of --joblog" in result.err
    keyed: list[str | Path] = ["map", ANSWER, "--key", "id", "--joblog", tmp_path / "keyed"]
    command(*keyed, *pool, stdin=b'{"id": "a"}\n{"id": "b"}\n')
    result = command(*keyed, "--resume", *pool, stdin=b'{"id": "c"}\n{"id": "b", "new": 1}\n{"id": "a"}\n')
    assert [outcome["key"] for outcome in outcomes(result)] == ["c"]


def test_equal_lines(command: RunCommand, pool: list[str], counting: Path, tmp_path: Path) -> None:
    """A key that is there several times is as many jobs."""
    arguments: list[str | Path] = ["map", counting, "--data", "{}", "--joblog", tmp_path / "log"]
    command(*arguments, *pool, stdin=b"7\n7\n")
    command(*arguments, "--resume", *pool, stdin=b"7\n7\n7\n")
    assert ran(tmp_path) == {"7": 3}


def test_cut_line(command: RunCommand, pool: list[str], counting: Path, tmp_path: Path) -> None:
    """A last line that is cut is not done; what is written after it stands on a line of its own."""
    log = tmp_path / "log"
    command("map", counting, "--max-children", "1", "--joblog", log, *pool[:2], stdin=b"1\n2\n")
    whole = log.read_bytes()
    assert whole.rstrip().rpartition(b"\n")[2].startswith(b'{"event":"ended"')
    log.write_bytes(whole[:-5])
    for _ in range(2):
        result = command("map", counting, "--joblog", log, "--resume", *pool, stdin=b"1\n2\n")
        assert result.code == 0
    assert ran(tmp_path) == {"1": 1, "2": 2}
    assert len(log.read_bytes().splitlines()) == 1 + 4 + 1 + 2 + 1


@pytest.mark.parametrize("junk", [b"7\n", b"{}\n", b'{"event":"ended","key":[],"digest":"","ok":true}\n', b"\xff\n"])
def test_lines_of_others(command: RunCommand, pool: list[str], tmp_path: Path, junk: bytes) -> None:
    """What is no line of a log is passed over."""
    (tmp_path / "log").write_bytes(junk)
    result = command("map", ANSWER, "--joblog", tmp_path / "log", "--resume", *pool, stdin=b"1\n")
    assert (result.code, len(outcomes(result))) == (0, 1)


def test_killed(start: StartCommand, command: RunCommand, fpm: LocalFPM, counting: Path, tmp_path: Path) -> None:
    """After kill -9 what had ended is not run again; what was in hand is named, and run once more."""
    log = tmp_path / "log"
    script = tmp_path / "slow.php"
    script.write_text(
        counting.read_text() + f" for ($n = 0; $line === '7' && $n < 15000 && !file_exists('{tmp_path}/gate'); $n++) "
        "{ usleep(2000); clearstatcache(); }"
    )
    pool = ["--fpm", fpm.address, "--max-children", "1"]
    started = start("map", script, "--joblog", log, *pool)
    lines = "".join(f"{n}\n" for n in range(20)).encode()
    assert started.process.stdin is not None
    started.process.stdin.write(lines)
    started.process.stdin.flush()
    wait_until(lambda: (tmp_path / "ran").exists() and "7" in ran(tmp_path))
    # PHP may be quicker with it than the log with the one before
    wait_until(lambda: log.read_text().count('"event":"ended"') == 7)
    started.process.send_signal(signal.SIGKILL)
    started.process.wait()
    (tmp_path / "gate").touch()
    result = command("map", script, "--joblog", log, "--resume", *pool, stdin=lines)
    assert result.code == 0
    assert [outcome["index"] for outcome in outcomes(result)] == [*range(7, 20)]
    assert ran(tmp_path) == {str(n): 2 if n == 7 else 1 for n in range(20)}
    named = result.err.splitlines()[0]
    assert "running when an earlier run was cut off, and PHP may have run them; they are run again: 7, 8" in named
    again = command("map", script, "--joblog", log, "--resume", *pool, stdin=lines)
    assert (again.code, again.out) == (0, b"")
    again.assert_one_line()


def test_one_writer(start: StartCommand, command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """Two runs do not write one log."""
    started = start("map", ANSWER, "--joblog", tmp_path / "log", *pool)
    wait_until(lambda: (tmp_path / "log").exists() and (tmp_path / "log").stat().st_size)
    result = command("map", ANSWER, "--joblog", tmp_path / "log", "--resume", *pool, stdin=b"1\n")
    assert result.code == 2
    assert "another fcgi-async writes to it" in result.err
    assert started.end().code == 0
