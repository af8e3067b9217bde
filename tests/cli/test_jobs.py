"""`fcgi-async worker` and `fcgi-async jobs`: durable jobs from the command line."""

from __future__ import annotations

import json
import re
import signal
from pathlib import Path
from urllib.request import urlopen

import pytest

from fcgi_async.jobs.sql.schema import VERSION
from tests.cli.conftest import RunCommand, StartCommand, wait_until
from tests.jobs.conftest import ON_POSTGRES, ON_SQLITE
from tests.jobs.servers import perform
from tests.jobs.worker_process import SCRIPT

TASKS = f"""
from fcgi_async.jobs import Cron, Task
MAIL = Task("mail", {str(SCRIPT)!r}, queue="mail", keep_result=60)
TASKS = [MAIL, Task("report", {str(SCRIPT)!r})]
RELATIVE = Task("relative", "job.php")
SECONDLY = Cron("secondly", "* * * * * *", MAIL, {{"body": "tick"}})
"""


@pytest.fixture
def url(jobs_url: str) -> str:
    """A database of the test's own."""
    return jobs_url


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


@ON_SQLITE
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

    assert run("migrate") == (0, {"version": VERSION})
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
    again = command("jobs", "retry", "a")
    assert again.out == b"0 retried\n"
    assert again.err.startswith("fcgi-async: 1 not retried: not in the database, or in another state")
    assert command("jobs", "list").out.decode().splitlines()[1].startswith("a  ")
    counts = command("jobs", "counts").out.decode()
    assert "ready: 1" in counts
    assert "mail: 1 ready, 1 delayed" in counts
    assert run("check") == (0, {"faults": []})


def test_check_finds_what_nobody_will_look_at(command: RunCommand, url: str) -> None:
    command("jobs", "migrate", "--jobs", url)
    assert command("jobs", "check", "--jobs", url).out == b"nothing is wrong\n"
    perform(url, "INSERT INTO fcgi_jobs (task, data, state) VALUES ('mail', 'null', 'running')")
    found = command("jobs", "check", "--jobs", url)
    assert (found.code, found.out.decode().splitlines()) == (
        1,
        ["1 jobs are running but no worker has them: set their state to 'in_doubt'"],
    )


def test_what_others_wrote_does_not_reach_the_terminal(command: RunCommand, url: str) -> None:
    assert command("jobs", "migrate", "--jobs", url).code == 0
    perform(url, "INSERT INTO fcgi_jobs (id, task, data) VALUES ('x', '\x1b[2J', '\x1b]0;x\x07')")
    for action in (["list"], ["show", "x"], ["counts"]):
        shown = command("jobs", *action, "--jobs", url)
        assert shown.code == 0
        assert b"\x1b" not in shown.out
        assert b"\\x1b[2J" in shown.out


@ON_SQLITE
@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["jobs", "counts"], 2, "name the database of the jobs with --jobs URL"),
        (["jobs", "counts", "--jobs", "redis://x"], 2, "redis: is not a store of jobs"),
        (["jobs", "counts", "--jobs", "sqlite:///none/such/jobs.db"], 2, "there is no file /none/such/jobs.db"),
        (["jobs", "migrate", "--jobs", "sqlite:///none/such/jobs.db"], 1, "its folder must be there"),
        (["jobs", "enqueue", "mail", "{not", "--jobs", "URL"], 2, "the data is not JSON: "),
        (["jobs", "enqueue", "../mail", "--jobs", "URL"], 2, "letters, digits"),
        (["jobs", "show", "none", "--jobs", "URL"], 1, "no job 'none' is in the database"),
        (["jobs", "purge", "--jobs", "URL"], 2, "by their ids, or by --state"),
        (["worker", "--tasks", "app_tasks"], 2, "write MODULE:NAME"),
        (["worker", "--tasks", "no_such_module:X", "--jobs", "URL"], 2, "No module named 'no_such_module'"),
        (["worker", "--tasks", "json:loads", "--jobs", "URL"], 2, "is not a Task"),
        (["worker", "--tasks", "app_tasks:TASKS", "--schedules", "app_tasks:TASKS"], 2, "is not a Cron"),
        (["worker", "--tasks", "app_tasks:TASKS", "--schedules", "app"], 2, "such as app.tasks:SCHEDULES"),
        (["worker", "--tasks", "app_tasks:TASKS", "--lease", "0", "--jobs", "URL"], 2, "lease) must be"),
    ],
)
@pytest.mark.usefixtures("tasks")
def test_what_is_refused_is_said_in_one_line(
    command: RunCommand, url: str, arguments: list[str], code: int, said: str
) -> None:
    command("jobs", "migrate", "--jobs", url)
    result = command(*(url if argument == "URL" else argument for argument in arguments))
    result.assert_one_line()
    assert (result.code, said in result.err) == (code, True), result.err


@ON_SQLITE
def test_a_task_that_the_pool_cannot_run_is_refused(command: RunCommand, pool: list[str], url: str, tasks: str) -> None:
    """Before it kills any job."""
    result = command("worker", "--jobs", url, "--tasks", "app_tasks:RELATIVE", *pool)
    result.assert_one_line()
    assert result.code == 2
    assert "'job.php'" in result.err


def test_schedules_put_jobs(
    command: RunCommand, start: StartCommand, pool: list[str], url: str, tasks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The worker finds its database in the environment, and says how long it is taken for alive."""
    monkeypatch.setenv("FCGI_ASYNC_JOBS", url)
    command("jobs", "migrate")
    worker = start("worker", "--tasks", tasks, "--schedules", "app_tasks:SECONDLY", "--lease", "7", *pool)

    def done() -> int:
        states = json.loads(command("jobs", "counts", "--json").out)["states"]
        return int(states["done"])

    wait_until(lambda: done() >= 2)
    if not url.startswith("sqlite:"):
        assert perform(url, "SELECT lease - seen FROM fcgi_workers") == [(7000,)]
    worker.process.send_signal(signal.SIGTERM)
    assert worker.end().code == 0
    assert b'"body":"tick"' in command("jobs", "list", "--limit", "1", "--json").out.replace(b"\\", b"")


def test_a_page_is_served(command: RunCommand, start: StartCommand, url: str) -> None:
    assert command("jobs", "enqueue", "mail", "--id", "first", "--jobs", url).code == 0
    assert command("jobs", "cancel", "first", "--jobs", url).code == 0
    served = start("jobs", "web", "--port", "0", "--jobs", url)
    assert served.process.stderr is not None
    [address] = re.findall(r"http://\S+", served.process.stderr.readline().decode())
    with urlopen(f"{address}?state=cancelled", timeout=30) as response:
        assert "cancelled" in response.read().decode()
    served.process.send_signal(signal.SIGTERM)
    assert served.end().code == -signal.SIGTERM


@pytest.mark.parametrize(
    "secret",
    [
        "postgresql://jobs:s3cret@127.0.0.1:1/jobs",
        "mysql://jobs:s3cret@127.0.0.1:1/jobs",
        "postgresql://jobs:s3cret@127.0.0.1:none/jobs",
        "mysql://jobs:s3cret@127.0.0.1:none/jobs",
        "postgresql://jobs:s3cret@[::1/jobs",
        "mysql://jobs:s3cret@[::1/jobs",
        "//jobs:s3cret@host/jobs",
        "jobs@host:s3cret/jobs",
        "redis://jobs:s3cret@host",
    ],
)
@pytest.mark.parametrize("arguments", [["jobs", "counts"], ["worker", "--tasks", "app_tasks:TASKS", "--verbose"]])
@pytest.mark.usefixtures("tasks")
def test_no_password_is_shown(
    command: RunCommand, pool: list[str], secret: str, arguments: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever is wrong with the address of the database."""
    monkeypatch.setenv("FCGI_ASYNC_JOBS", secret)
    shown = command(*arguments, *(pool if arguments[0] == "worker" else []))
    assert shown.code in (1, 2)
    assert shown.err.startswith("fcgi-async: ")
    assert "s3cret" not in shown.err + shown.out.decode()


@ON_POSTGRES
def test_a_password_that_is_not_needed_is_not_shown_either(
    command: RunCommand, start: StartCommand, pool: list[str], url: str, tasks: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a worker that runs, nor in its list of processes, if the environment has it."""
    monkeypatch.setenv("FCGI_ASYNC_JOBS", url.replace("jobs@", "jobs:s3cret@"))
    worker = start("worker", "--tasks", tasks, "--verbose", *pool)
    wait_until(lambda: json.loads(command("jobs", "counts", "--json", "--jobs", url).out)["workers"])
    for shown in (Path(f"/proc/{worker.process.pid}/cmdline").read_bytes(), command("jobs", "counts").out):
        assert b"s3cret" not in shown
    worker.process.send_signal(signal.SIGTERM)
    ended = worker.end()
    assert (ended.code, "s3cret" in ended.err) == (0, False), ended.err


def test_a_worker_takes_from_several_databases(
    command: RunCommand, start: StartCommand, pool: list[str], tmp_path: Path, tasks: str
) -> None:
    """Each queue has its own; `--of` says which one a command means."""
    mail, others = f"sqlite://{tmp_path}/the mail.db", f"sqlite://{tmp_path}/others.db"
    both = ["--jobs", f"mail={mail}", "--jobs", others]
    put = command("jobs", "enqueue", "mail", "--of", "mail", *both)
    assert (put.code, put.err) == (0, "")
    report = command("jobs", "enqueue", "report", "--of", "default", *both).out.decode().strip()
    start("worker", "--tasks", tasks, *both, *pool)

    def state(id: str, url: str) -> object:
        return json.loads(command("jobs", "show", id, "--json", "--jobs", url).out)["state"]

    wait_until(lambda: state(put.out.decode().strip(), mail) == "done")
    wait_until(lambda: state(report, others) == "done")


def test_several_databases_stand_in_the_environment(
    command: RunCommand, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With blanks in between; pausing a queue finds its database, and what could mean any of them is refused."""
    mail, others = f"sqlite://{tmp_path}/the mail.db", f"sqlite://{tmp_path}/others.db"
    monkeypatch.setenv("FCGI_ASYNC_JOBS", f"mail={mail}\n {others} ")
    for queue, url in (("mail", mail), ("news", others)):
        assert command("jobs", "migrate", "--of", queue).code == 0
        assert command("jobs", "pause", queue).code == 0
        assert json.loads(command("jobs", "counts", "--json", "--jobs", url).out)["paused"] == [queue]
    refused = command("jobs", "counts")
    assert (refused.code, "say which by one of its queues, --of mail" in refused.err) == (2, True)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["a=sqlite:///a.db", "a=sqlite:///b.db"], "two databases are named for queue 'a'"),
        (["sqlite:///a.db", "sqlite:///b.db"], "write --jobs QUEUE=URL for all but one"),
        (["a=sqlite:///a.db", "b=sqlite:///b.db"], "no database is named for queue 'c'"),
    ],
)
def test_databases_that_are_named_wrongly_are_refused(command: RunCommand, given: list[str], said: str) -> None:
    """Before anything is opened."""
    done = command("jobs", "counts", "--of", "c", *(part for url in given for part in ("--jobs", url)))
    assert (done.code, said in done.err) == (2, True)
