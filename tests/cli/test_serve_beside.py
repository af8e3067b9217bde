"""What `fcgi-async serve` runs beside the site, by several processes, and with other servers."""

from __future__ import annotations

import json
import os
import signal
import ssl
import subprocess
from pathlib import Path

import httpx
import pytest

from tests.cli.conftest import RunCommand, StartCommand, wait_until
from tests.cli.serving import client, serving

JOBS = """
import anyio
from fcgi_async import Job

async def fill(php):
    "As many jobs as there are, each of which waits for the gate."
    async with php.group() as group:
        for _ in range(20):
            await group.submit(Job(ROOT + "/job.php"))

async def fail(php):
    raise RuntimeError("the jobs are broken")
"""
GATE = """<?php
file_put_contents($_SERVER['DOCUMENT_ROOT'] . '/began', 'x', FILE_APPEND);
while (!file_exists($_SERVER['DOCUMENT_ROOT'] . '/gate')) { usleep(5000); clearstatcache(); }
"""
TASKS = """
from fcgi_async.jobs import Cron, Task
TASKS = [Task("note", ROOT + "/note.php")]
SCHEDULES = [Cron("often", "* * * * * *", TASKS[0], "hello")]
"""


@pytest.fixture
def site_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A site, and a module with jobs beside it in the working directory."""
    root = tmp_path / "site"
    root.mkdir()
    (root / "index.php").write_text("<?php echo 'front';")
    (root / "job.php").write_text(GATE)
    (root / "note.php").write_text("<?php file_put_contents(__DIR__ . '/noted', file_get_contents('php://input'));")
    (tmp_path / "site_jobs.py").write_text(f"ROOT = {str(root)!r}\n{JOBS}")
    (tmp_path / "site_tasks.py").write_text(f"ROOT = {str(root)!r}\n{TASKS}")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent.parent.parent))
    return root


def test_jobs_leave_workers_to_visitors(start: StartCommand, site_folder: Path) -> None:
    """Twenty jobs that do not end take three of four workers, and pages are made by the fourth."""
    with serving(start, site_folder, "--jobs", "site_jobs:fill") as site, client(site.url) as visitor:
        began = site_folder / "began"
        wait_until(lambda: began.exists() and began.stat().st_size == 3)
        assert [visitor.get("/").text for _ in range(3)] == ["front"] * 3
        assert began.stat().st_size == 3
        (site_folder / "gate").touch()
        wait_until(lambda: began.stat().st_size == 20)


def test_jobs_that_fail_end_the_site(start: StartCommand, site_folder: Path) -> None:
    """What has started it starts it again; the error is on standard error."""
    started = start("serve", site_folder, "--jobs", "site_jobs:fail", "--listen", "127.0.0.1:0")
    result = started.end()
    assert result.code == 1
    assert "RuntimeError: the jobs are broken" in result.err


def test_durable_jobs_are_run(start: StartCommand, command: RunCommand, site_folder: Path, tmp_path: Path) -> None:
    """Beside the site, until a signal."""
    url = f"sqlite://{tmp_path / 'jobs.db'}"
    with serving(start, site_folder, "--worker", url, "--tasks", "site_tasks:TASKS") as site:
        assert command("jobs", "enqueue", "note", '"hello"', "--jobs", url).code == 0
        wait_until(lambda: (site_folder / "noted").exists())
        with client(site.url) as visitor:
            assert visitor.get("/").text == "front"
        assert site.end().code == 0
    assert json.loads(command("jobs", "counts", "--json", "--jobs", url).out)["workers"] == []


def test_schedules_are_kept(start: StartCommand, command: RunCommand, site_folder: Path, tmp_path: Path) -> None:
    """By the worker beside the site; without one they are refused."""
    schedules, url = ("--schedules", "site_tasks:SCHEDULES"), f"sqlite://{tmp_path / 'jobs.db'}"
    with serving(start, site_folder, "--worker", url, "--tasks", "site_tasks:TASKS", *schedules) as site:
        wait_until(lambda: (site_folder / "noted").exists())
        assert site.end().code == 0
    refused = command("serve", site_folder, *schedules)
    assert (refused.code, "--schedules needs --worker" in refused.err) == (2, True)


def members(url: str) -> set[int]:
    """The processes that answer at a status socket, so far as a few questions tell."""
    found = set()
    for _ in range(40):
        with client(url) as owner:
            found.add(owner.get("/-/status").json()["pid"])
    return found


def test_several_processes(start: StartCommand, site_folder: Path, pool: list[str], tmp_path: Path) -> None:
    """They share the sockets and the workers; one that is killed is replaced; a signal ends all."""
    status = f"unix:{tmp_path / 'status.sock'}"
    with serving(start, site_folder, *pool, "--processes", "2", "--status", status) as site:
        wait_until(lambda: len(members(status)) == 2)
        with client(status) as owner:
            assert owner.get("/-/status").json()["share"] == 2
        with client(site.url) as visitor:
            assert visitor.get("/").text == "front"
        killed = min(members(status))
        os.kill(killed, signal.SIGKILL)
        assert f"process {killed} ended with -9" in site.read_err("starting another one")
        wait_until(lambda: len(members(status) - {killed}) == 2)
        now = members(status)
        assert site.end().code == 0
    assert [pid for pid in now if alive(pid)] == []


def test_processes_end_with_the_first(start: StartCommand, site_folder: Path, pool: list[str], tmp_path: Path) -> None:
    """However that ended."""
    status = f"unix:{tmp_path / 'status.sock'}"
    with serving(start, site_folder, *pool, "--processes", "2", "--status", status) as site:
        wait_until(lambda: len(members(status)) == 2)
        pids = members(status)
        site.started.process.kill()
        wait_until(lambda: not any(alive(pid) for pid in pids))


def test_processes_behind_a_proxy(start: StartCommand, site_folder: Path, pool: list[str], tmp_path: Path) -> None:
    """What it says of the client is believed through a unix socket, by each of them."""
    (site_folder / "who.php").write_text("<?php echo $_SERVER['REMOTE_ADDR'];")
    listen = ("--listen", f"unix:{tmp_path / 'site.sock'}")
    with serving(start, site_folder, *pool, "--processes", "2", *listen) as site, client(site.url) as visitor:
        assert visitor.get("/who.php", headers={"X-Forwarded-For": "192.0.2.7"}).text == "192.0.2.7"


def alive(pid: int) -> bool:
    """Whether a process runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for localhost, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    cert, key = folder / "cert.pem", folder / "key.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(key), "-out", str(cert)]
    subprocess.run([*command, *subject], check=True, capture_output=True, timeout=60)
    return cert, key


@pytest.mark.parametrize(
    ("options", "version"),
    [
        ([], "HTTP/1.1"),
        (["--http2"], "HTTP/2"),
        (["--trio"], "HTTP/2"),
    ],
    ids=["uvicorn", "http2", "trio"],
)
def test_https(
    start: StartCommand, site_folder: Path, certificate: tuple[Path, Path], options: list[str], version: str
) -> None:
    """By each server, on each event loop; PHP is told of it."""
    (site_folder / "https.php").write_text("<?php echo $_SERVER['HTTPS'], ' ', $_SERVER['SERVER_PROTOCOL'];")
    cert, key = map(str, certificate)
    with serving(start, site_folder, "--tls-cert", cert, "--tls-key", key, *options) as site:
        context = ssl.create_default_context(cafile=cert)
        with httpx.Client(base_url=site.url, verify=context, http2=True, timeout=30) as visitor:
            response = visitor.get("/https.php")
        expected = "HTTP/2.0" if version == "HTTP/2" else version
        assert (response.http_version, response.text) == (version, f"on {expected}")
        result = site.end()
    assert result.code == 0, result.err
