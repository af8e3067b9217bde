"""`fcgi-async bench`: as many jobs as asked for, so many at a time, and where their time went."""

from __future__ import annotations

import json
import re
import signal
from array import array
from pathlib import Path
from urllib.parse import urlencode

import pytest

from fcgi_async.commands.bench_report import Figures, as_json, as_text, percentile
from tests.cli.conftest import SCRIPTS, RunCommand, StartCommand, wait_until

ANSWER = SCRIPTS / "answer.php"
ECHO = SCRIPTS / "echo.php"


def test_figures(command: RunCommand, pool: list[str]) -> None:
    """Each job is counted once; every stage of `Timing` has its percentiles, in order."""
    result = command("bench", ANSWER, "-n", "50", "-c", "8", "--data", "12345", "--json", *pool)
    assert (result.code, result.err, result.out.count(b"\n")) == (0, "", 1)
    found = json.loads(result.out)
    assert (found["jobs"], found["failed"], found["statuses"], found["errors"]) == (50, 0, {"200": 50}, {})
    assert (found["concurrency"], found["workers"], found["bytes"]) == (8, 4, 250)
    assert found["rate"] == pytest.approx(50 / found["seconds"])
    assert list(found["stages"]) == ["queued", "connect", "first_byte", "total"]
    for stage in found["stages"].values():
        values = [stage[name] for name in ("min", "p50", "p75", "p90", "p95", "p99", "p99.9", "max")]
        assert values == sorted(values)
        assert values[0] <= stage["mean"] <= values[-1]
    assert sum(one["count"] for one in found["histogram"]) == 50


def test_text(command: RunCommand, pool: list[str]) -> None:
    """For people: a line for each stage, and a histogram."""
    result = command("bench", ANSWER, "-n", "20", *pool)
    text = result.out.decode()
    assert text.startswith("20 jobs in ")
    assert "; 4 at a time on 4 workers\n20 with status 200; 0 failed; 0 bytes\n" in text
    for stage in ("queued", "connect", "first byte", "total"):
        assert re.search(rf"^{stage}( +[\d,]+\.\d\d){{9}}$", text, re.MULTILINE)
    assert len(re.findall(r"^ +<= [\d,.]+ ms", text, re.MULTILINE)) == 11


def test_never_more_at_a_time(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """With -c 2 no more than two jobs run at once, although there are four workers."""
    script = tmp_path / "together.php"
    script.write_text(
        f"<?php $me = '{tmp_path}/running-' . getmypid(); touch($me);"
        f" $n = count(glob('{tmp_path}/running-*')); file_put_contents('{tmp_path}/seen', \"$n\\n\", FILE_APPEND);"
        " usleep(2000); unlink($me);"
    )
    assert command("bench", script, "-n", "30", "-c", "2", *pool).code == 0
    seen = (tmp_path / "seen").read_text().split()
    assert (len(seen), max(seen)) == (30, "2")


def test_duration(command: RunCommand, pool: list[str]) -> None:
    """With -z jobs are begun for so long, however many they are."""
    found = json.loads(command("bench", ANSWER, "-z", "0.3", "--json", *pool).out)
    assert found["jobs"] > 0
    assert found["seconds"] >= 0.25
    limited = json.loads(command("bench", ANSWER, "-z", "30", "-n", "3", "--json", *pool).out)
    assert limited["jobs"] == 3


def test_failures(command: RunCommand, pool: list[str]) -> None:
    """Statuses and errors are counted, and the exit code tells of them."""
    result = command("bench", ECHO, "--query", "status=503", "-n", "5", *pool)
    assert result.code == 1
    assert b"5 with status 503; 5 failed" in result.out
    result = command("bench", ECHO, "-n", "5", "--fpm", "unix:///nowhere", "--max-children", "1")
    assert result.code == 1
    assert b"5 with ConnectError; 5 failed" in result.out
    assert b"total" not in result.out


def test_interrupted(start: StartCommand, tmp_path: Path) -> None:
    """The first Ctrl-C lets what runs end, and the figures of what was done are there."""
    query = urlencode({"started": tmp_path / "started", "gate": tmp_path / "gate"})
    started = start("bench", SCRIPTS / "gate.php", "-z", "600", "-c", "1", "--query", query, "--json")
    wait_until((tmp_path / "started").exists)
    started.process.send_signal(signal.SIGINT)
    (tmp_path / "gate").touch()
    result = started.end()
    assert result.code == 0
    assert json.loads(result.out)["jobs"] >= 1


def test_interrupted_twice(start: StartCommand, tmp_path: Path) -> None:
    """The second one ends it at once; what was cancelled is no figure."""
    query = urlencode({"started": tmp_path / "started", "gate": tmp_path / "gate"})
    started = start("bench", SCRIPTS / "gate.php", "-c", "2", "--query", query, "--json")
    wait_until((tmp_path / "started").exists)
    started.wait_for_fpm()
    started.process.send_signal(signal.SIGINT)
    started.process.send_signal(signal.SIGTERM)
    result = started.end()
    assert result.code == 130
    assert json.loads(result.out)["jobs"] == 0
    started.assert_fpm_is_gone()


def test_body_of_a_file(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """--data @FILE is what is in it; a file that is not there is wrong usage."""
    (tmp_path / "body").write_text("x" * 100)
    found = json.loads(command("bench", ANSWER, "-n", "2", "--data", f"@{tmp_path}/body", "--json", *pool).out)
    assert found["bytes"] == 200
    result = command("bench", ANSWER, "--data", "@/nowhere", *pool)
    assert result.code == 2
    result.assert_one_line()


def test_percentiles() -> None:
    """They are values that were measured: the smallest that so many percent do not exceed."""
    values = [float(n) for n in range(1, 101)]
    assert [percentile(values, percent) for percent in (0, 1, 50, 99, 99.9, 100)] == [1, 1, 50, 99, 100, 100]
    assert percentile([7.0], 50) == 7


def test_histogram() -> None:
    """It goes up to the 99th percentile in steps that are alike; what is slower has a line of its own."""
    figures = Figures(1, 1)
    figures.statuses[200] = 200
    figures.stages["total"] = array("d", [n / 1000 for n in range(1, 200)] + [100.0])
    bins = json.loads(as_json(figures))["histogram"]
    *steps, slower = [one["count"] for one in bins]
    assert (len(steps), sum(steps), slower) == (10, 198, 2)
    assert set(steps) == {19, 20}
    assert bins[-1]["to"] == 100
    assert as_text(Figures(1, 1)).count("\n") == 1
