"""`fcgi-async worker` and `fcgi-async jobs`: durable jobs from the command line."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.cli.conftest import RunCommand, StartCommand, wait_until
from tests.jobs.worker_process import SCRIPT

TASKS = f"""
from fcgi_async.jobs import Task
MAIL = Task("mail", {str(SCRIPT)!r}, queue="mail", keep_result=60)
TASKS = [MAIL, Task("report", {str(SCRIPT)!r})]
RELATIVE = Task("relative", "job.php")
"""


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A database of the test's own."""
    return f"sqlite://{tmp_path / 'jobs.db'}"


@pytest.fixture
def tasks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module with tasks, as the command names it; it is imported from the working directory."""
    (tmp_path / "app_tasks.py").write_text(TASKS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    return "app_tasks:TASKS"


def test_jobs_are_put_run_and_shown(
    command: RunCommand, start: StartCommand, pool: list[str], url: str, tasks: str
) -> None:
    """By a worker that ends with SIGTERM."""
    put = command("jobs", "enqueue", "mail", '{"body": "hello"}', "--jobs", url)
    assert (put.code, put.err) == (0, "")
    id = put.out.decode().strip()
    worker = start("worker", "--jobs", url, "--tasks", tasks, "--queue", "mail=3", *pool)

    def shown() -> dict[str, object]:
        found: dict[str, object] = json.loads(command("jobs", "show", id, "--json", "--jobs", url).out)
        return found

    wait_until(lambda: shown()["state"] == "done")
    assert (shown()["queue"], shown()["data"], shown()["attempt"]) == ("mail", '{"body":"hello"}', 1)
    response = shown()["response"]
    assert isinstance(response, dict)
    assert response["content"] == "hello"
    text = command("jobs", "show", id, "--jobs", url).out.decode()
    assert f"id: {id}\n" in text
    assert text.endswith("\nhello\n")
    assert "worker " in command("jobs", "counts", "--jobs", url).out.decode()
    worker.process.send_signal(signal.SIGTERM)
    ended = worker.end()
    assert ended.code == 0
    assert "takes jobs of mail, report\n" in ended.err
    assert json.loads(command("jobs", "counts", "--json", "--jobs", url).out)["workers"] == []


def test_a_second_signal_ends_it_at_once(
    command: RunCommand, start: StartCommand, pool: list[str], url: str, tasks: str, tmp_path: Path
) -> None:
    """What runs may have run: it is in doubt."""
    gate, marks = tmp_path / "gate", tmp_path / "marks"
    try:
        data = json.dumps({"gate": str(gate), "marks": str(marks)})
        id = command("jobs", "enqueue", "mail", data, "--jobs", url).out.decode().strip()
        worker = start("worker", "--jobs", url, "--tasks", tasks, *pool)
        wait_until(marks.exists)
        worker.process.send_signal(signal.SIGINT)
        assert worker.process.stderr is not None
        lines = [worker.process.stderr.readline().decode() for _ in range(2)]
        assert "a second signal ends it at once" in lines[1]
        worker.process.send_signal(signal.SIGINT)
        assert worker.end().code == 130
        assert json.loads(command("jobs", "show", id, "--json", "--jobs", url).out)["state"] == "in_doubt"
    finally:
        gate.touch()


def test_what_a_person_does(command: RunCommand, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each action, for people and for machines; the database may be named in the environment."""
    monkeypatch.setenv("FCGI_ASYNC_JOBS", url)

    def run(*arguments: str) -> tuple[int, object]:
        done = command("jobs", *arguments, "--json")
        assert done.err == ""
        lines = [json.loads(line) for line in done.out.splitlines()]
        return done.code, lines[0] if len(lines) == 1 else lines

    assert run("migrate") == (0, {"version": 1})
    for id in ("a", "b", "c"):
        assert run("enqueue", "mail", "--id", id, "--delay", "60", "--unique", id) == (0, {"id": id})
    code, listed = run("list", "--state", "delayed", "--task", "mail")
    assert isinstance(listed, list)
    assert (code, [record["id"] for record in listed]) == (0, ["a", "b", "c"])
    assert run("cancel", "a") == (0, {"cancelled": 1})
    assert run("cancel", "a", "b") == (1, {"cancelled": 1})
    assert run("retry", "a") == (0, {"retried": 1})
    assert run("purge", "b") == (0, {"deleted": 1})
    assert run("purge", "--state", "dead") == (0, {"deleted": 0})
    code, counted = run("pause", "mail")
    assert isinstance(counted, dict)
    assert counted["paused"] == ["mail"]
    assert command("jobs", "resume", "mail").code == 0
    assert command("jobs", "retry", "a").out == b"0 retried\n"
    assert command("jobs", "list").out.decode().splitlines()[1].startswith("a  ")
    counts = command("jobs", "counts").out.decode()
    assert "ready: 1" in counts
    assert "mail: 1 ready, 1 delayed" in counts
    assert run("check") == (0, {"faults": []})


def test_check_finds_what_nobody_will_look_at(command: RunCommand, url: str, tmp_path: Path) -> None:
    assert command("jobs", "check", "--jobs", url).out == b"nothing is wrong\n"
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
        connection.execute("INSERT INTO fcgi_jobs (task, data, state) VALUES ('mail', 'null', 'running')")
    found = command("jobs", "check", "--jobs", url)
    assert (found.code, found.out.decode().splitlines()) == (
        1,
        ["1 jobs are running and no worker has them: set their state to 'in_doubt'"],
    )


def test_what_others_wrote_does_not_reach_the_terminal(command: RunCommand, url: str, tmp_path: Path) -> None:
    assert command("jobs", "migrate", "--jobs", url).code == 0
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
        connection.execute("INSERT INTO fcgi_jobs (id, task, data) VALUES ('x', ?, ?)", ("\x1b[2J", "\x1b]0;x\x07"))
    for action in (["list"], ["show", "x"], ["counts"]):
        shown = command("jobs", *action, "--jobs", url)
        assert shown.code == 0
        assert b"\x1b" not in shown.out
        assert b"\\x1b[2J" in shown.out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["jobs", "counts"], 2, "name the database of the jobs with --jobs URL"),
        (["jobs", "counts", "--jobs", "redis://x"], 2, "is not a store of jobs"),
        (["jobs", "counts", "--jobs", "sqlite:///none/such/jobs.db"], 1, "its folder must be there"),
        (["jobs", "enqueue", "mail", "{not", "--jobs", "URL"], 2, "JSON: "),
        (["jobs", "enqueue", "../mail", "--jobs", "URL"], 2, "letters, digits"),
        (["jobs", "show", "none", "--jobs", "URL"], 1, "no job 'none' is in the database"),
        (["jobs", "purge", "--jobs", "URL"], 2, "by their ids, or by --state"),
        (["worker", "--tasks", "app_tasks"], 2, "write MODULE:NAME"),
        (["worker", "--tasks", "no_such_module:X", "--jobs", "URL"], 2, "No module named 'no_such_module'"),
        (["worker", "--tasks", "json:loads", "--jobs", "URL"], 2, "is not a Task"),
    ],
)
def test_what_is_refused_is_said_in_one_line(
    command: RunCommand, url: str, arguments: list[str], code: int, said: str
) -> None:
    result = command(*(url if argument == "URL" else argument for argument in arguments))
    result.assert_one_line()
    assert (result.code, said in result.err) == (code, True), result.err


def test_a_task_that_the_pool_cannot_run_is_refused(command: RunCommand, pool: list[str], url: str, tasks: str) -> None:
    """Before it kills any job."""
    result = command("worker", "--jobs", url, "--tasks", "app_tasks:RELATIVE", *pool)
    result.assert_one_line()
    assert result.code == 2
    assert "'job.php'" in result.err
