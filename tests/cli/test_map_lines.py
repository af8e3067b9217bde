"""What a line of `fcgi-async map` becomes: a body, or a part of path, query or body; and what its key is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fcgi_async.commands.placeholder import fill_json, fill_path, fill_target
from fcgi_async.errors import InvalidJob
from tests.cli.conftest import SCRIPTS, RunCommand
from tests.cli.test_map import outcomes

ECHO = SCRIPTS / "echo.php"


def test_query_and_target(command: RunCommand, pool: list[str]) -> None:
    """A line is one value of the query, or a part of the target, whatever is in it."""
    result = command("map", ECHO, "--uri", "/a/{}?b={}", *pool, stdin=b"x y&z/\n")
    assert result.code == 0
    assert outcomes(result)[0]["body"]["uri"] == "/a/x%20y%26z%2F?b=x%20y%26z%2F"
    assert outcomes(result)[0]["body"]["method"] == "GET"


@pytest.mark.parametrize(
    ("body", "line", "sent"),
    [
        (["--json", '{"id": {}, "as text": "<{}>"}'], b"7", '{"id": 7, "as text": "<7>"}'),
        (["--json", '["{}"]'], b'a "b" \\', '["a \\"b\\" \\\\"]'),
        (["--data", "id={}"], b'"as it is"', 'id="as it is"'),
    ],
)
def test_body(command: RunCommand, pool: list[str], body: list[str], line: bytes, sent: str) -> None:
    """Within a string of JSON a line is escaped; elsewhere it stands as it is."""
    (outcome,) = outcomes(command("map", ECHO, *body, *pool, stdin=line + b"\n"))
    assert outcome["body"]["body"] == sent


def test_header_and_parameter(command: RunCommand, pool: list[str]) -> None:
    """A line stands in a header or in a parameter as it is."""
    (outcome,) = outcomes(command("map", ECHO, "--header", "X-Asked: <{}>", "--param", "ASKED={}", *pool, stdin=b"a b"))
    assert (outcome["body"]["header"], outcome["body"]["param"]) == ("<a b>", "a b")


def test_script(command: RunCommand, pool: list[str], tmp_path: Path) -> None:
    """A line names the script; one that leads out of its folder is refused, and those around it are run."""
    for name in ("a", "b"):
        (tmp_path / f"{name}.php").write_text(f"<?php echo '{name}';")
    result = command("map", tmp_path / "{}.php", *pool, stdin=b"a\n../secret\nb\n")
    assert [(outcome["ok"], outcome["key"]) for outcome in outcomes(result)] == [
        (True, "a"),
        (False, "../secret"),
        (True, "b"),
    ]
    assert outcomes(result)[1]["error"].startswith("line 2 of standard input has '..' in it")


def test_script_here(command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a private PHP-FPM a script may be named from the current folder; on one that is there it may not."""
    (tmp_path / "a.php").write_text("<?php echo 'here';")
    monkeypatch.chdir(tmp_path)
    assert outcomes(command("map", "{}", stdin=b"a.php\n"))[0]["body"] == "here"
    (outcome,) = outcomes(command("map", "{}", "--fpm", "unix:///nowhere", "--max-children", "1", stdin=b"a.php\n"))
    assert "absolute path" in outcome["error"]


@pytest.mark.parametrize(("line", "said"), [(b"\xff", "is not UTF-8"), (b"{", "makes a body that is not JSON")])
def test_line_that_does_not_fit(command: RunCommand, pool: list[str], line: bytes, said: str) -> None:
    """A line that cannot stand there is an outcome that names it."""
    (outcome,) = outcomes(command("map", ECHO, "--json", '{"id": {}}', *pool, stdin=line + b"\n"))
    assert outcome["error"].startswith(f"line 1 of standard input {said}")


def test_key_is_a_member(command: RunCommand, pool: list[str]) -> None:
    """--key names a member of each line, which is in its outcome; a line without it is refused."""
    lines = [{"id": "a"}, {"id": 7}, {"no": 1}, {"id": True}, [1]]
    stdin = "\n".join(map(json.dumps, lines)).encode()
    found = outcomes(command("map", ECHO, "--key", "id", *pool, stdin=stdin))
    assert [outcome["key"] for outcome in found] == ["a", 7, 2, 3, 4]
    assert [outcome["ok"] for outcome in found] == [True, True, False, False, False]
    assert "has no member 'id' that is a text or a whole number" in found[2]["error"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--json", "1"], "put {} into --json or --data where the line goes"),
        (["--query", "a={}", "--key", "id"], "with {} the line itself is the key"),
        (["--resume"], "--resume needs --joblog FILE"),
        (["--retries", "-1"], "--retries"),
        (["--joblog", "/nowhere/log"], "--joblog /nowhere/log: No such file or directory"),
    ],
)
def test_wrong_options(command: RunCommand, pool: list[str], options: list[str], said: str) -> None:
    """What does not go together is refused before anything is run."""
    result = command("map", ECHO, *options, *pool, stdin=b"1\n")
    assert (result.code, result.out) == (2, b"")
    result.assert_one_line()
    assert said in result.err


def test_places() -> None:
    """A place without {} stays as it is; one may have several; quotes within strings of JSON do not end them."""
    assert fill_target("/a", b"\xff") == "/a"
    assert fill_json('{"a": "\\"{}", "b": {}}', b"1") == b'{"a": "\\"1", "b": 1}'
    with pytest.raises(InvalidJob):
        fill_path("/srv/{}", b"a/../../b")
    assert fill_path("/srv/{}", b"..a") == "/srv/..a"
