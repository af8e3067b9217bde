"""`fcgi-async run`: the body in, the response out, the exit code from the outcome."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.conftest import SCRIPTS, RunCommand, StartCommand

ECHO = SCRIPTS / "echo.php"


@pytest.mark.parametrize(
    ("arguments", "stdin", "body", "content_type"),
    [
        (["--json", '{"a": 1.50}'], b"", '{"a": 1.50}', "application/json"),
        (["--json", "null"], b"", "null", "application/json"),
        (["--json", "@-"], b"[1]", "[1]", "application/json"),
        (["--json", "1", "--header", "content-type: application/vnd.api+json"], b"", "1", "application/vnd.api+json"),
        (["--data", "a=1"], b"", "a=1", None),
        (["--data", "0"], b"", "0", None),
        (["--data", "-"], b"piped", "piped", None),
        (["--data", "given"], b"and not read", "given", None),
        ([], b"piped\n", "piped\n", None),
    ],
)
def test_body_from_options_or_standard_input(
    command: RunCommand, pool: list[str], arguments: list[str], stdin: bytes, body: str, content_type: str | None
) -> None:
    """The body is what --json or --data says, else standard input, and reaches PHP unchanged."""
    result = command("run", ECHO, *arguments, *pool, stdin=stdin)
    answer = json.loads(result.out)
    assert (result.code, result.err) == (0, "")
    assert (answer["method"], answer["body"], answer["type"]) == ("POST", body, content_type)


def test_body_from_a_file(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """@FILE is the body, byte for byte, in both directions."""
    content = os.urandom(300_000)
    (tmp_path / "body").write_bytes(content)
    result = command("run", SCRIPTS / "answer.php", "--data", f"@{tmp_path / 'body'}", *pool)
    assert (result.code, result.out) == (0, content)


def test_empty_input_is_no_body(command: RunCommand, pool: list[str]) -> None:
    """With nothing on standard input, as under cron, the job is a GET."""
    assert json.loads(command("run", ECHO, *pool).out)["method"] == "GET"


def test_method_in_small_letters(command: RunCommand, pool: list[str]) -> None:
    """The method is upper-cased, as PHP expects it."""
    result = command("run", ECHO, "--method", "post", "--data", "a=1", *pool)
    answer = json.loads(result.out)
    assert (result.code, answer["method"], answer["body"]) == (0, "POST", "a=1")


def test_closed_input_is_no_body(pool: list[str]) -> None:
    """Started without a standard input at all, the job is a GET, and no socket is taken for one."""
    arguments = [sys.executable, "-m", "fcgi_async", "run", str(ECHO), *pool]
    done = subprocess.run(["/bin/sh", "-c", 'exec "$@" <&-', "sh", *arguments], capture_output=True, check=True)
    assert (json.loads(done.stdout)["method"], done.stderr) == ("GET", b"")


def test_empty_data_is_a_body(command: RunCommand, pool: list[str]) -> None:
    """--data '' is a POST without content."""
    assert json.loads(command("run", ECHO, "--data", "", *pool).out)["method"] == "POST"


def test_request_options(command: RunCommand, pool: list[str]) -> None:
    """Target, method, headers and parameters are PHP's."""
    options = ["--uri", "/orders/7?x=1", "--method", "PUT", "--header", "X-Asked: a: b", "--param", "ASKED= c=d"]
    answer = json.loads(command("run", ECHO, *options, *pool).out)
    assert (answer["uri"], answer["method"]) == ("/orders/7?x=1", "PUT")
    assert (answer["header"], answer["param"]) == ("a: b", " c=d")


def test_include_prints_the_head(command: RunCommand, pool: list[str]) -> None:
    """--include prints status and headers, repeated ones too, before the body."""
    result = command("run", ECHO, "--query", "status=201&type=text/plain", "--include", *pool)
    head, _, body = result.out.partition(b"\n\n")
    lines = head.decode().split("\n")
    assert lines[0] == "Status: 201"
    assert [line for line in lines if line.startswith("X-Twice")] == ["X-Twice: 1", "X-Twice: 2"]
    assert json.loads(body)["method"] == "GET"


def test_stderr_goes_to_stderr(command: RunCommand, pool: list[str]) -> None:
    """What PHP logs is on standard error, and does not make a failure."""
    result = command("run", ECHO, "--query", "stderr=noted", *pool)
    assert (result.code, result.err) == (0, "PHP message: noted\n")
    assert b"noted" not in result.out.replace(b"stderr=noted", b"")


def test_a_query_given_twice(command: RunCommand, pool: list[str]) -> None:
    """Several --query are joined; none is lost."""
    answer = json.loads(command("run", ECHO, "--query", "a=1", "--query", "b=2&c=3", "--query", "", *pool).out)
    assert answer["uri"].endswith("?a=1&b=2&c=3")


@pytest.mark.parametrize("status", [400, 404, 500])
def test_failed_job_is_exit_code_1(command: RunCommand, pool: list[str], status: int) -> None:
    """A status from 400 fails; the body is printed all the same."""
    result = command("run", ECHO, "--query", f"status={status}", *pool)
    assert result.code == 1
    assert json.loads(result.out)["method"] == "GET"
    result.assert_one_line()
    assert str(status) in result.err


def test_redirect_is_no_failure(command: RunCommand, pool: list[str]) -> None:
    """A status of 302 is exit code 0."""
    assert command("run", ECHO, "--query", "status=302", *pool).code == 0


def test_timeout_is_exit_code_1(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """A job that misses its deadline fails, and the line says that PHP may have run it."""
    query = f"started={tmp_path / 'started'}&gate={tmp_path / 'gate'}"
    result = command("run", SCRIPTS / "gate.php", "--query", query, "--timeout", "0.2", *pool)
    (tmp_path / "gate").touch()
    assert (result.code, result.out) == (1, b"")
    result.assert_one_line()
    assert "PHP may have run it" in result.err


def test_an_input_without_data_is_said(start: StartCommand, pool: list[str]) -> None:
    """A pipe without data, as in a loop or over ssh, is said; what comes later is the body all the same."""
    started = start("run", ECHO, *pool)
    assert started.process.stderr is not None
    said = started.process.stderr.readline().decode()
    assert said.startswith("fcgi-async: waits for the body on standard input; add </dev/null")
    assert started.process.stdin is not None
    started.process.stdin.write(b"late")
    result = started.end()
    assert (result.code, json.loads(result.out)["body"], result.err) == (0, "late", "")


def test_an_input_that_was_asked_for_is_awaited_silently(start: StartCommand, pool: list[str]) -> None:
    """With --data - nothing is said, however long it takes; nor is anything while data comes."""
    asked, slow = start("run", ECHO, "--data", "-", *pool), start("run", ECHO, *pool)
    assert slow.process.stdin is not None
    slow.process.stdin.write(b"first")
    slow.process.stdin.flush()
    silent = start("run", ECHO, *pool)
    assert silent.process.stderr is not None
    # that one began last, and has been silent for as long as it takes to be said
    assert silent.process.stderr.readline() != b""
    assert [started.end().err for started in (asked, slow, silent)] == ["", "", ""]


def test_a_terminal_is_not_read(pool: list[str]) -> None:
    """With a terminal as its standard input the job is a GET, and nothing is awaited."""
    controller, terminal = os.openpty()
    try:
        arguments = [sys.executable, "-m", "fcgi_async", "run", str(ECHO), *pool]
        done = subprocess.run(arguments, stdin=terminal, capture_output=True, check=True, timeout=60)
    finally:
        os.close(terminal)
        os.close(controller)
    assert (json.loads(done.stdout)["method"], done.stderr) == ("GET", b"")


def test_output_is_streamed(start: StartCommand, pool: list[str], tmp_path: Path) -> None:
    """The first part of a response is there before the script has written the second."""
    started = start("run", SCRIPTS / "parts.php", "--data", "", "--query", f"gate={tmp_path / 'gate'}", *pool)
    assert started.process.stdout is not None
    assert started.process.stdout.read(5) == b"first"
    (tmp_path / "gate").touch()
    result = started.end()
    assert (result.code, result.out, result.err) == (0, b"second", "")


def test_large_response(command: RunCommand, pool: list[str]) -> None:
    """16 MiB arrive whole."""
    result = command("run", SCRIPTS / "flood.php", *pool)
    assert (result.code, result.out == b"x" * (16 * 1024 * 1024)) == (0, True)


def test_private_fpm_and_relative_script(command: RunCommand, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without --fpm a private one is started, and the script is looked for in the current directory."""
    (tmp_path / "here.php").write_text("<?php echo __FILE__;")
    monkeypatch.chdir(tmp_path)
    result = command("run", "here.php")
    assert (result.code, result.out, result.err) == (0, str(tmp_path / "here.php").encode(), "")


def test_php_errors_stay_out_of_the_body(command: RunCommand, tmp_path: Path) -> None:
    """A private PHP-FPM writes errors to standard error, and a fatal one fails the job."""
    (tmp_path / "broken.php").write_text("<?php nothing();")
    result = command("run", tmp_path / "broken.php")
    assert (result.code, result.out) == (1, b"")
    assert "undefined function nothing()" in result.err


@pytest.mark.parametrize(("options", "logged"), [(["-v"], True), ([], False)])
def test_verbose_logs_the_library(
    command: RunCommand, capfdbinary: pytest.CaptureFixture[bytes], pool: list[str], options: list[str], logged: bool
) -> None:
    """-v shows the library's log; without it a warning is a plain line on standard error, and nothing else is there."""
    command("run", ECHO, *options, *pool)
    logging.getLogger("fcgi_async.net").info("connected")
    logging.getLogger("fcgi_async.net").warning("dialled\n\x1b[2J")
    said = capfdbinary.readouterr().err
    assert (b"WARNING fcgi_async.net: dialled\n" in said) is logged
    assert (b"INFO fcgi_async.net: connected\n" in said) is logged
    assert (said == b"fcgi-async: dialled \\x1b[2J\n") is not logged
