"""The tutorial of durable jobs does what it says, on a real PHP-FPM."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import anyio
import httpx
import pytest

from fcgi_async import Dispatcher, Endpoint, LocalFPM
from fcgi_async.jobs import Jobs, Worker
from tests.jobs.polling import until

pytestmark = pytest.mark.anyio

PAGE = (Path(__file__).parent.parent.parent / "docs" / "jobs.md").read_text()
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


def test_its_php_is_php() -> None:
    scripts = re.findall(r"```php\n(.*?)```", PAGE, re.DOTALL)
    assert len(scripts) == 2
    for script in scripts:
        done = subprocess.run(["php", "-l"], input=script, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout
