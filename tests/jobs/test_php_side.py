"""fcgi_jobs.php on a real PHP-FPM, with SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

import fcgi_async.jobs
from fcgi_async import Dispatcher, Job, LocalFPM, Response
from fcgi_async.jobs import Jobs, Task, Worker
from tests.conftest import StartFPM
from tests.eventually import eventually
from tests.jobs.polling import until

pytestmark = pytest.mark.anyio

SCRIPT = Path(__file__).parent / "scripts" / "php_side.php"
LIBRARY = Path(fcgi_async.jobs.__file__).parent / "fcgi_jobs.php"
TASK = Task("side", SCRIPT, keep_result=60)


@pytest.fixture
async def php_fpm(start_fpm: StartFPM) -> LocalFPM:
    """A PHP-FPM with the system's extensions: SQLite's PDO driver is one."""
    return await start_fpm(max_children=2, system_ini=True)


@pytest.fixture
def path() -> Iterator[Path]:
    """The database, in a folder whose name is short: PHP cannot name a socket by more than 107 bytes."""
    with TemporaryDirectory(prefix="jobs-") as folder:
        yield Path(folder, "jobs.db")


def what(path: Path, do: str, **more: object) -> dict[str, object]:
    """The data of a job that uses the library."""
    return {"library": str(LIBRARY), "dsn": f"sqlite:{path}", "do": do, **more}


async def call(php: Dispatcher, path: Path, do: str, **more: object) -> Response:
    """Have PHP use the library, outside any durable job."""
    return await php.run(Job(SCRIPT, json=what(path, do, **more)))


async def test_php_puts_a_job(php_fpm: LocalFPM, path: Path) -> None:
    """It is what a client's would be, and wakes a worker."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(path) as jobs:
        heard = await jobs.store.wait("work", -1, 0)
        arguments = {"task": "mail", "data": {"to": "ä", "n": 1.0}, "delay": 60, "priority": 3}
        response = await call(php, path, "enqueue", arguments=arguments)
        assert response.status == 200, response.text
        assert await jobs.store.wait("work", heard, 30) != heard
        [record] = await jobs.find()
        assert (record.id, record.task, record.state, record.priority) == (response.json(), "mail", "delayed", 3)
        assert record.data == '{"to":"\\u00e4","n":1.0}'
        assert 59 < record.due - record.created < 61


async def test_php_respects_unique_keys(php_fpm: LocalFPM, path: Path) -> None:
    """Those of Python's side too; the same id is stored once."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(path) as jobs:
        await jobs.enqueue(TASK, unique="7")
        held = await call(php, path, "enqueue", arguments={"task": "side", "unique": "7"})
        assert (held.status, held.json()) == (200, None)
        for _ in range(2):
            stored = await call(php, path, "enqueue", arguments={"task": "side", "unique": "8", "id": "mine"})
            assert (stored.status, stored.json()) == (200, "mine")
        assert len(await jobs.find()) == 2


async def test_php_puts_within_its_transaction(php_fpm: LocalFPM, path: Path) -> None:
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(path) as jobs:
        for commit in (False, True):
            response = await call(php, path, "transaction", arguments={"task": "mail"}, commit=commit)
            assert response.status == 200, response.text
            assert len(await jobs.find()) == commit


async def test_a_job_tells_how_far_it_is(php_fpm: LocalFPM, path: Path, tmp_path: Path) -> None:
    """And finds the database by itself."""
    gate = tmp_path / "gate"
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(path) as jobs:
        worker = Worker(php, jobs, [TASK])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(TASK, what(path, "progress", gate=str(gate)))

            async def is_told() -> bool:
                record = await handle.record()
                return (record.progress, record.progress_of) == (3, 10)

            await until(is_told)
            gate.touch()
            assert (await handle.wait(30)).state == "done"
            worker.stop()


@pytest.mark.parametrize("status", [200, 500])
async def test_a_job_completes_itself_with_its_effects(php_fpm: LocalFPM, path: Path, status: int) -> None:
    """Whatever its response says afterwards."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(path) as jobs:
        make_effects(path)
        worker = Worker(php, jobs, [TASK])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(TASK, what(path, "complete", status=status))

            async def is_settled() -> bool:
                record = await handle.record()
                return record.state == "done" and record.worker is None

            await until(is_settled)
            worker.stop()
        record = await handle.record()
        assert (record.failed, record.keep_until is not None) == (0, True)
        assert effects(path) == [handle.id]


async def test_an_attempt_that_lost_its_job_has_no_effect(php_fpm: LocalFPM, path: Path, tmp_path: Path) -> None:
    """An orphan completes nothing once its job was given to another attempt."""
    gate = tmp_path / "gate"
    again = Task("side", SCRIPT, idempotent=True)
    async with Dispatcher(php_fpm.address, max_children=2) as php, Jobs(path) as jobs:
        make_effects(path)
        handle = await jobs.enqueue(again, what(path, "complete", gate=str(gate)))
        store = jobs.store
        claim = await store.claim("lost", Worker(php, jobs, [again])._lanes, 1, durable=True)
        orphan = again.job(claim.jobs[0])
        async with anyio.create_task_group() as group:
            responses: list[Response] = []

            async def run() -> None:
                responses.append(await php.run(orphan))

            group.start_soon(run)
            await eventually(Path(f"{gate}.waits").exists)
            assert await store.recover() == 1
            gate.touch()
        assert responses[0].status == 500
        assert "attempt 1 no longer holds job" in responses[0].text
        assert effects(path) == []
        worker = Worker(php, jobs, [again])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            assert (await handle.wait(30)).state == "done"
            worker.stop()
        assert effects(path) == [handle.id]


async def test_misuse_is_said(php_fpm: LocalFPM, path: Path) -> None:
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(path):
        assert "begin a transaction first" in (await call(php, path, "misuse")).text
        assert "does not run as a durable job" in (await call(php, path, "progress")).text
        wrong = await call(php, path, "enqueue", arguments={"task": "mail", "delay": -1})
        assert "must not be less than 0" in wrong.text


def make_effects(path: Path) -> None:
    """Make a table for effects beside the jobs."""
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("CREATE TABLE effects (id TEXT)")


def effects(path: Path) -> list[str]:
    """The jobs that had an effect."""
    with closing(sqlite3.connect(path)) as connection:
        return [id for (id,) in connection.execute("SELECT id FROM effects")]
