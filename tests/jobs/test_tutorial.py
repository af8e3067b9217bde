"""The tutorial of durable jobs does what it says, on a real PHP-FPM."""

from __future__ import annotations

import importlib
import inspect
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import anyio
import httpx
import pytest

from fcgi_async import Dispatcher, Endpoint, FastCGIError, LocalFPM
from fcgi_async.jobs import Cron, Jobs, Task, Worker
from fcgi_async.jobs.locate import _KINDS, find_store
from tests.docs.blocks import DOCS
from tests.docs.test_tables import table
from tests.jobs.polling import until

PAGE = (DOCS / "jobs.md").read_text()
PAGES_WITH_PHP = ("jobs.md", "guides/jobs-from-php.md", "guides/from-laravel-queues.md", "guides/from-messenger.md")
MODULES = ("tasks", "service", "worker")
# instead of a picture library, which not every PHP has
STUB = """<?php
$data = json_decode(file_get_contents('php://input'), true);
if (isset($data['target'])) {
    file_put_contents($data['target'], 'x');
}
echo json_encode($data);
"""


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, ModuleType]]:
    """The page's modules, in a folder of the test's own."""
    for name, code in re.findall(r"```python\n# (\w+)\.py\n(.*?)```", PAGE, re.DOTALL):
        moved = code.replace("/var/lib/app/", f"{tmp_path}/").replace("/srv/app/", f"{tmp_path}/")
        (tmp_path / f"{name}.py").write_text(
            moved.replace("/srv/in/", f"{tmp_path}/").replace("/srv/out", str(tmp_path))
        )
    for script in ("thumbnail.php", "report.php"):
        (tmp_path / script).write_text(STUB)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield {name: importlib.import_module(name) for name in MODULES}
    for name in MODULES:
        del sys.modules[name]


def thumbnails(folder: Path) -> list[str]:
    """The names of those that were made."""
    return sorted(path.name for path in folder.glob("*.webp"))


@pytest.mark.anyio
async def test_the_tutorial(modules: dict[str, ModuleType], fpm: LocalFPM, tmp_path: Path) -> None:
    """The service puts, a worker with its tasks and schedule runs them, and the report follows the album."""
    tasks, service, worker = (modules[name] for name in MODULES)
    jobs: Jobs = service.jobs
    transport = httpx.ASGITransport(app=service.app)
    async with jobs, httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        job = (await client.post("/pictures/7")).json()["job"]
        assert (await client.post("/albums", json=[1, 2, 3])).status_code == 200
        assert (await client.get("/jobs/")).status_code == 401
        page = await client.get("/jobs/", auth=("me", "change me"))
        assert '<a class="tile ready some" href="?state=ready"><b>4</b>' in page.text
        async with Dispatcher(Endpoint(fpm.address, max_children=2)) as php, anyio.create_task_group() as group:
            running = Worker(php, jobs, tasks.TASKS, schedules=[worker.NIGHTLY])
            group.start_soon(running.run)
            await jobs.handle(job).result(30)

            async def is_reported() -> bool:
                return [record.state for record in await jobs.find(task="report")] == ["done"]

            await until(is_reported)
            running.stop()
    assert thumbnails(tmp_path) == ["1.webp", "2.webp", "3.webp", "7.webp"]


@pytest.mark.parametrize("page", PAGES_WITH_PHP)
def test_its_php_is_php(page: str) -> None:
    scripts = re.findall(r"```php\n(.*?)```", (DOCS / page).read_text(), re.DOTALL)
    assert scripts
    for script in scripts:
        done = subprocess.run(["php", "-l"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("page", ["from-laravel-queues.md", "from-messenger.md"])
def test_tasks_of_the_guides(page: str) -> None:
    """They are tasks, and schedules of theirs."""
    [code] = re.findall(r"```python\n# tasks\.py\n(.*?)```", (DOCS / "guides" / page).read_text(), re.DOTALL)
    found: dict[str, list[object]] = {}
    exec(code, found)
    assert all(isinstance(task, Task) for task in found["TASKS"])
    assert all(isinstance(cron, Cron) for cron in found.get("SCHEDULES", []))


def test_our_column_beside_others() -> None:
    """It says of us what the code does."""
    rows = {row[0]: row[1] for row in table("jobs.md", "Beside others")}
    stores = rows["where jobs are kept"].split(", ")
    for name in stores:
        find_store(f"{name.lower()}://user@host/database")
    schemes = set(re.findall(r"(\w+)://", _KINDS))
    assert schemes <= {name.lower() for name in stores}
    has = {
        "put with the application's data in one transaction": hasattr(Jobs, "statement"),
        'tells "did not run" from "may have run"': hasattr(FastCGIError("x"), "may_have_run"),
        "chains, batches with a callback": hasattr(Jobs, "chain") and hasattr(Jobs, "batch"),
        "by the clock": "schedules" in inspect.signature(Worker).parameters,
        "rate over all hosts": "rate" in inspect.signature(Task).parameters,
        "a page to look at": hasattr(Jobs, "page"),
    }
    assert {name: rows[name] for name in has} == {name: "yes" if there else "no" for name, there in has.items()}
    others = {"language of the jobs": "PHP", "runs them in": "PHP-FPM"}
    assert rows.keys() - has.keys() - others.keys() == {"where jobs are kept"}
    assert others.items() <= rows.items()
