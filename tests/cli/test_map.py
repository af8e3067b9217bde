"""`fcgi-async map`: a line in, an outcome out, and never more read than is needed."""

from __future__ import annotations

import json
import os
import select
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.cli.conftest import SCRIPTS, Result, RunCommand, StartCommand, wait_until

ECHO = SCRIPTS / "echo.php"
ANSWER = SCRIPTS / "answer.php"


def outcomes(result: Result) -> list[dict[str, Any]]:
    """What was written, a line each."""
    return [json.loads(line) for line in result.out.splitlines()]


def test_outcomes_are_in_the_order_of_the_lines(command: RunCommand, pool: list[str]) -> None:
    """Every line is a job with that JSON as its body; outcomes are in their order, whichever ends first."""
    delays = [150, 0, 60, 0, 30, 0, 0]
    result = command("map", "-q", SCRIPTS / "late.php", *pool, stdin="\n".join(map(str, delays)).encode())
    assert (result.code, result.err) == (0, "")
    assert [(outcome["index"], outcome["body"]) for outcome in outcomes(result)] == list(enumerate(delays))


def test_unordered_outcomes_come_as_they_are_there(start: StartCommand, pool: list[str], tmp_path: Path) -> None:
    """With --unordered a job that blocks does not hold up the others' outcomes."""
    script = tmp_path / "sometimes.php"
    script.write_text(
        "<?php if (file_get_contents('php://input') === '0')"
        f" for ($n = 0; $n < 15000 && !file_exists('{tmp_path}/gate'); $n++) {{ usleep(2000); clearstatcache(); }}"
    )
    started = start("map", "-q", script, "--unordered", *pool)
    assert started.process.stdin is not None
    assert started.process.stdout is not None
    started.process.stdin.write(b"0\n1\n2\n")
    started.process.stdin.flush()
    first = [json.loads(started.process.stdout.readline())["index"] for _ in range(2)]
    (tmp_path / "gate").touch()
    assert (sorted(first), outcomes(started.end())[0]["index"]) == ([1, 2], 0)


def test_compressed_bodies(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """A body that PHP compressed is JSON as any other, and one in an unknown coding ends nothing."""
    script = tmp_path / "compressed.php"
    script.write_text(
        "<?php $coding = json_decode(file_get_contents('php://input'));"
        ' header("Content-Encoding: $coding"); echo gzencode(\'{"a": 1}\');'
    )
    result = command("map", "-q", script, *pool, stdin=b'"gzip"\n"br"\n')
    assert (result.code, result.err) == (0, "")
    known, unknown = outcomes(result)
    assert known["body"] == {"a": 1}
    assert isinstance(unknown["body"], str)


def test_outcome_of_a_job(command: RunCommand, pool: list[str]) -> None:
    """An outcome says all there is to know of a job."""
    result = command("map", "-q", ECHO, "--query", "stderr=noted", *pool, stdin=b'{"a": 1}\n')
    (outcome,) = outcomes(result)
    assert {name: outcome[name] for name in ("index", "ok", "status", "stderr", "error", "may_have_run")} == {
        "index": 0,
        "ok": True,
        "status": 200,
        "stderr": "PHP message: noted",
        "error": None,
        "may_have_run": True,
    }
    assert (outcome["body"]["body"], outcome["body"]["type"]) == ('{"a": 1}', "application/json")
    assert set(outcome["timing"]) == {"queued", "connect", "first_byte", "total"}


@pytest.mark.parametrize(
    ("line", "body"),
    [
        ('{"a":[1,null]}', {"a": [1, None]}),
        ('"\\ud800"', "\ud800"),
        ("1e999", "1e999"),
        ("123456789012345678901234567890", 123456789012345678901234567890),
    ],
)
def test_body_is_json_where_it_is_json(command: RunCommand, pool: list[str], line: str, body: object) -> None:
    """A response that is JSON stands in the outcome as such, and always in one that is JSON itself."""
    result = command("map", "-q", ANSWER, *pool, stdin=line.encode())
    assert b"Infinity" not in result.out
    assert outcomes(result)[0]["body"] == body


def test_body_is_text_otherwise(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """What is not JSON is text; bytes that are no text are replaced."""
    (tmp_path / "text.php").write_text(r'<?php echo "caf\xc3\xa9 \xff";')
    assert outcomes(command("map", "-q", tmp_path / "text.php", *pool, stdin=b"1"))[0]["body"] == "caf\xe9 \ufffd"


def test_failed_job_is_exit_code_1(command: RunCommand, pool: list[str]) -> None:
    """A job that fails is an outcome, and shows in the exit code; the others are run."""
    result = command("map", "-q", ECHO, "--query", "status=503", *pool, stdin=b"1\n2\n")
    assert (result.code, result.err) == (1, "")
    assert [(o["ok"], o["status"], o["error"]) for o in outcomes(result)] == [
        (False, 503, "PHP answered with status 503")
    ] * 2


def test_missing_socket_is_an_outcome(command: RunCommand) -> None:
    """A job that never reached PHP says so."""
    result = command("map", "-q", ECHO, "--fpm", "unix:///nowhere.sock", "--max-children", "1", stdin=b"1\n")
    (outcome,) = outcomes(result)
    assert result.code == 1
    assert (outcome["ok"], outcome["status"], outcome["error_type"]) == (False, None, "ConnectError")
    assert outcome["may_have_run"] is False


@pytest.mark.parametrize("bad", [b"{", b"NaN", b"\xff", b"1 2", b"[" * 100_000])
@pytest.mark.parametrize("order", [[], ["--unordered"]])
def test_malformed_line_is_an_outcome_that_names_it(
    command: RunCommand, pool: list[str], bad: bytes, order: list[str]
) -> None:
    """A line that is not JSON is refused by its number, in its place; those around it are run; blank ones are none."""
    result = command("map", "-q", ANSWER, *order, *pool, stdin=b"1\n\n" + bad + b"\n4\n")
    found = sorted(outcomes(result), key=lambda outcome: int(outcome["index"]))
    assert (result.code, result.err) == (1, "")
    assert [(outcome["index"], outcome["body"]) for outcome in found] == [(0, 1), (1, None), (2, 4)]
    assert found[1]["error"].startswith("line 3 of standard input is not JSON")
    assert found[1]["error"].endswith("put {} where a line goes, as in --query 'line={}'")
    assert found[1]["error_type"] == "InvalidJob"
    if not order:
        assert found == outcomes(result)


def test_no_input_is_no_job(command: RunCommand, pool: list[str]) -> None:
    """Nothing in, nothing out, nothing wrong."""
    result = command("map", "-q", ECHO, *pool)
    assert (result.code, result.out, result.err) == (0, b"", "")


def test_long_line(command: RunCommand, pool: list[str]) -> None:
    """A line may be longer than what is read at once, and the last needs no end."""
    text = "x" * 1_000_000
    result = command("map", "-q", ANSWER, *pool, stdin=json.dumps(text).encode())
    assert outcomes(result)[0]["body"] == text


def test_outcome_is_written_while_input_is_open(start: StartCommand, pool: list[str]) -> None:
    """Whoever writes a line gets its outcome without writing another: good or bad."""
    started = start("map", "-q", ANSWER, *pool)
    assert started.process.stdin is not None
    assert started.process.stdout is not None
    for line in (b"1", b"bad", b"3"):
        started.process.stdin.write(line + b"\n")
        started.process.stdin.flush()
        assert json.loads(started.process.stdout.readline())["ok"] is (line != b"bad")
    assert started.end().code == 1


@pytest.mark.parametrize("line", [b'"' + b"x" * 4093 + b'"\n', b"bad" + b"x" * 4092 + b"\n"], ids=["jobs", "bad lines"])
def test_endless_input_is_read_only_as_jobs_are_taken(
    start: StartCommand, pool: list[str], tmp_path: Path, line: bytes
) -> None:
    """While the first job blocks, what the producer can write stays bounded; then all of it is worked on."""
    query = urlencode({"started": tmp_path / "started", "gate": tmp_path / "gate"})
    started = start("map", "-q", SCRIPTS / "gate.php", "--limit", "4", "--query", query, *pool)
    assert started.process.stdin is not None
    pipe = started.process.stdin.fileno()
    os.set_blocking(pipe, False)
    # larger than all that may be on its way: 64 KiB in the pipe, as much read ahead, 4 jobs and one more
    plenty = 2048
    written = os.write(pipe, b"1\n") // 2
    wait_until((tmp_path / "started").exists)
    while written < plenty and select.select((), (pipe,), (), 1.0)[1]:
        # a page fits into a pipe that is ready, or none of it
        assert os.write(pipe, line) == len(line)
        written += 1
    assert 16 <= written < 64
    (tmp_path / "gate").touch()
    assert len(outcomes(started.end())) == written
