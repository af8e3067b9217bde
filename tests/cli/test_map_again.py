"""Jobs of `fcgi-async map` that failed: run again, marked, the last ones; and what is said of all in the end."""

from __future__ import annotations

from pathlib import Path

import pytest

from fcgi_async.commands import pool_options
from fcgi_async.fpm.config import read_pool_config
from tests.cli.conftest import SCRIPTS, RunCommand
from tests.cli.test_map import outcomes

ECHO = SCRIPTS / "echo.php"
ANSWER = SCRIPTS / "answer.php"


@pytest.fixture
def third_time(tmp_path: Path) -> Path:
    """A script that fails twice for each line, and says then how often it was run."""
    script = tmp_path / "third.php"
    script.write_text(
        f"<?php $file = '{tmp_path}/tries-' . md5(file_get_contents('php://input'));"
        " file_put_contents($file, 'x', FILE_APPEND); clearstatcache();"
        " if (filesize($file) < 3) { http_response_code(500); } echo filesize($file);"
    )
    return script


@pytest.mark.parametrize("order", [[], ["--unordered"]])
def test_run_again(command: RunCommand, pool: list[str], third_time: Path, order: list[str]) -> None:
    """With --idempotent a failed job is run again, and in its place among the others."""
    result = command("map", third_time, "--retries", "2", "--idempotent", *order, *pool, stdin=b"1\n2\n3\n")
    found = sorted(outcomes(result), key=lambda outcome: int(outcome["index"]))
    assert result.code == 0
    assert [(outcome["body"], outcome["again"]) for outcome in found] == [(3, 2)] * 3
    if not order:
        assert found == outcomes(result)


@pytest.mark.parametrize(("options", "body"), [(["--retries", "1", "--idempotent"], 2), (["--retries", "5"], 1)])
def test_not_run_again(command: RunCommand, pool: list[str], third_time: Path, options: list[str], body: int) -> None:
    """No more often than told, and never if PHP ran it and it is not idempotent."""
    result = command("map", third_time, *options, *pool, stdin=b"1\n")
    assert result.code == 1
    assert [outcome["body"] for outcome in outcomes(result)] == [body]


def test_what_php_did_not_start_is_run_again(command: RunCommand) -> None:
    """A job that never reached PHP is run again whether it is idempotent or not."""
    result = command(
        "map", ECHO, "--retries", "1", "--fpm", "unix:///nowhere.sock", "--max-children", "1", stdin=b"1\nbad\n"
    )
    assert [(o["error_type"], o["again"]) for o in outcomes(result)] == [("ConnectError", 1), ("InvalidJob", 0)]


def test_success_mark(command: RunCommand, pool: list[str]) -> None:
    """A body without the mark at its end is a failure, and the mark is named."""
    result = command("map", ANSWER, "--success-mark", "done", *pool, stdin=b'"not"\n["done"]\n')
    assert result.code == 1
    assert all("without the mark 'done' at its end" in outcome["error"] for outcome in outcomes(result))
    result = command("map", ANSWER, "--data", "{} done", "--success-mark", "done", *pool, stdin=b"all\n")
    assert (result.code, outcomes(result)[0]["body"]) == (0, "all done")


def test_success_mark_of_one_job(command: RunCommand, pool: list[str]) -> None:
    """`run` takes a mark too."""
    assert command("run", ANSWER, "--data", "all done", "--success-mark", "done", *pool).code == 0
    result = command("run", ANSWER, "--data", "al", "--success-mark", "done", *pool)
    assert (result.code, result.out) == (1, b"al")
    assert "without the mark 'done' at its end" in result.err


def test_fail_fast(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """Once a job has failed no more lines are taken; what runs has its outcome, and it is said what was not run."""
    script = tmp_path / "some.php"
    script.write_text("<?php if (file_get_contents('php://input') === '3') http_response_code(500);")
    lines = "\n".join(map(str, range(5000))).encode()
    result = command("map", script, "--fail-fast", *pool, stdin=lines)
    found = outcomes(result)
    assert result.code == 1
    assert 4 <= len(found) < 100
    assert [outcome["ok"] for outcome in found].count(False) == 1
    assert "and more lines were not read" in result.err


def test_line_that_is_no_job_fails_fast(command: RunCommand, pool: list[str]) -> None:
    """So does a line of which no job can be made."""
    lines = b"1\nbad\n" + b"3\n" * 5000
    result = command("map", ANSWER, "--fail-fast", *pool, stdin=lines)
    assert result.code == 1
    assert len(outcomes(result)) < 100
    assert any(outcome["error_type"] == "InvalidJob" for outcome in outcomes(result))


def test_summary(command: RunCommand, pool: list[str]) -> None:
    """How many jobs there were, and how they ended; nothing if there was no input."""
    result = command("map", ECHO, *pool, stdin=b"1\nbad\n")
    result.assert_one_line()
    assert result.err.startswith("fcgi-async: 2 jobs in ")
    assert result.err.endswith("/s: 1 done, 1 failed\n")
    assert command("map", ECHO, *pool).err == ""


def test_workers_of_a_pool_that_is_configured_here(
    command: RunCommand, pool: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """--fpm needs no --max-children if that pool's configuration is where distributions keep it."""
    conf = tmp_path / "fpm.conf"
    address = pool[1]
    conf.write_text(f"[www]\nlisten = {address.removeprefix('unix://')}\npm = static\npm.max_children = 4\n")
    there = {address: (conf, read_pool_config(conf))}
    monkeypatch.setattr(pool_options, "find_pool_at", lambda address: there.get(str(address)))
    result = command("map", ANSWER, "--fpm", address, stdin=b"1\n")
    assert (result.code, outcomes(result)[0]["body"]) == (0, 1)
    assert command("map", ANSWER, "--fpm", "unix:///elsewhere", stdin=b"1\n").code == 2
