"""The other examples, run as their docstrings say."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from fcgi_async import LocalFPM
from tests.asgi.server import serving, uvicorn
from tests.examples.conftest import EXAMPLES

PRINTS = {
    "finish_early.py": """\
{"result":"a letter to ada will be written"}
['ada', 'bob']
""",
    "front_controller.py": """\
201 https://shop.example/api/orders/1
{'order': 1, 'with': 'lines'}
{'order': 2, 'with': None}
204 404
""",
    "wordpress.py": """\
['post hello-world', 'post 2']
{'success': True, 'data': 7}
200 b''
301 https://blog.example/
""",
}
# where Symfony is installed: tests/apps/test_symfony_jobs.py
ELSEWHERE = "symfony/invoices.py"


def test_none_is_forgotten() -> None:
    """Every example is run here or beside."""
    examples = {path.relative_to(EXAMPLES).as_posix() for path in EXAMPLES.rglob("*.py")}
    elsewhere = {"batch.py", "blog_service.py", "killed_worker/demo.py", "progress/service.py", "starlette_fan_out.py"}
    elsewhere.add(ELSEWHERE)
    assert examples == PRINTS.keys() | elsewhere


def run(name: str, *arguments: str, feed: str = "") -> subprocess.CompletedProcess[str]:
    """Run an example."""
    command = [sys.executable, "-W", "error", str(EXAMPLES / name), *arguments]
    return subprocess.run(command, input=feed, capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("name", PRINTS)
def test_it_prints(name: str) -> None:
    """It prints what it should, and nothing on standard error."""
    done = run(name)
    assert (done.stdout, done.stderr, done.returncode) == (PRINTS[name], "", 0)


def test_batch(fpm: LocalFPM) -> None:
    """A result for each line, on an FPM that is there; what failed is told, and makes the exit code."""
    lines = "".join(f"{n}\n" for n in range(1, 201))
    done = run("batch.py", fpm.address, "2", feed=lines)
    assert (done.stderr, done.returncode) == ("200 done, 0 failed\n", 0)
    results = [json.loads(line) for line in done.stdout.splitlines()]
    assert sorted(result["square"] for result in results) == [n**2 for n in range(1, 201)]
    assert len({result["worker"] for result in results}) >= 1

    done = run("batch.py", fpm.address, "2", feed="3\n-7\n")
    assert (json.loads(done.stdout)["square"], done.returncode) == (9, 1)
    assert done.stderr.startswith("-7: PHP answered with status 200, and without the mark")


def test_batch_with_an_fpm_of_its_own() -> None:
    """Without an address it starts one."""
    done = run("batch.py", feed="12\n")
    assert (json.loads(done.stdout)["square"], done.returncode) == (144, 0)


def test_killed_worker() -> None:
    """No job is lost; twice ran those at most that the killed worker had in its hands."""
    done = run("killed_worker/demo.py")
    assert (done.stderr, done.returncode) == ("", 0)
    put, killed, rest = done.stdout.splitlines()
    assert put.startswith("1,000 jobs were put into sqlite:///")
    in_hand = int(re.findall(r"(\d+) in its hands", killed)[0])
    [(ran, lost, twice)] = re.findall(r"rest: ([\d,]+) jobs have run, (\d+) were lost, (\d+) ran twice", rest)
    assert (ran, lost) == ("1,000", "0")
    assert int(twice) <= in_hand


def test_starlette_fan_out(fpm: LocalFPM, tmp_path: Path) -> None:
    """The prices that can be had, and null for the one that cannot."""
    environment = {"FPM": fpm.address, "MAX_CHILDREN": "4"}
    with serving(uvicorn("starlette_fan_out:app"), environment, tmp_path, cwd=EXAMPLES) as service:
        with service.client() as client:
            found = client.get("/prices", params={"id": ["1", "2", "13"]})
    assert found.json() == {"1": {"id": 1, "cents": 99}, "2": {"id": 2, "cents": 199}, "13": None}


def test_blog_service(fpm: LocalFPM, tmp_path: Path) -> None:
    """Pages of the site and routes of the service, and nobody is sent elsewhere."""
    environment = {"FPM": fpm.address, "MAX_CHILDREN": "4"}
    headers = {"Host": "blog.example", "X-Forwarded-Proto": "https"}
    with serving(uvicorn("blog_service:app"), environment, tmp_path, cwd=EXAMPLES) as service:
        with service.client() as client:
            assert client.get("/2024/05/hello-world/", headers=headers).text == "post hello-world"
            assert client.get("/?p=2", headers=headers).text == "post 2"
            assert client.get("/wp-load.php.bak", headers=headers).status_code == 404
            assert client.get("/", headers={"Host": "evil.example"}).status_code == 421
            assert client.post("/api/cron").json() == {"status": 200}
