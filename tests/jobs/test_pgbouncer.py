"""PgBouncer in front of PostgreSQL, with session pooling."""

from __future__ import annotations

import os
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import anyio
import psycopg
import pytest

from fcgi_async import Dispatcher, LocalFPM
from fcgi_async.jobs import Jobs, Worker
from tests.jobs.conftest import ON_POSTGRES, begun
from tests.jobs.guard import Guarded, make_directory
from tests.jobs.servers import START_SECONDS, Postgres, is_alive
from tests.jobs.worker_process import make_task

pytestmark = [pytest.mark.anyio, ON_POSTGRES, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

CONFIGURATION = """
[databases]
jobs = host={server} dbname=jobs
[pgbouncer]
listen_addr =
unix_socket_dir = {directory}
auth_type = trust
auth_file = {directory}/users
pool_mode = session
default_pool_size = 20
logfile = {directory}/pgbouncer.log
"""


@pytest.fixture
def pooled(jobs_url: str, postgres: Postgres) -> Iterator[str]:
    """The test's database through a PgBouncer; which passes no `options`, so that its role has the search path."""
    role, schema = f"pooled_{secrets.token_hex(8)}", jobs_url.rpartition("%3D")[2]
    postgres.execute(f"CREATE ROLE {role} LOGIN IN ROLE jobs")
    postgres.execute(f"ALTER ROLE {role} SET search_path = {schema}")
    directory, lock = make_directory()
    with lock:
        (directory / "ini").write_text(CONFIGURATION.format(server=postgres.directory, directory=directory))
        (directory / "users").write_text(f'"{role}" ""\n')
        settings = {}
        if os.geteuid() == 0:
            shutil.chown(directory, "postgres", "postgres")
            settings = {"user": "postgres", "group": "postgres", "extra_groups": []}
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        running = Guarded([program, str(directory / "ini")], directory, lock, "KILL", settings)
        url = f"postgresql://{role}@{quote(str(directory), safe='')}:6432/jobs"
        deadline = time.monotonic() + START_SECONDS
        while not answers(url):
            assert is_alive(running.pid), (directory / "log").read_text()
            assert time.monotonic() < deadline, (directory / "log").read_text()
            time.sleep(0.02)
        yield url
        running.end()
        shutil.rmtree(directory)
    postgres.execute(f"DROP OWNED BY {role}")
    postgres.execute(f"DROP ROLE {role}")


def answers(url: str) -> bool:
    """Whether a connection can be made."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


async def test_durable_jobs_work_through_it(pooled: str, jobs_url: str, fpm: LocalFPM, tmp_path: Path) -> None:
    """Others' puts wake the store, and jobs run once."""
    marks, task = tmp_path / "marks", make_task(idempotent=False)
    # the owner makes the tables
    async with Jobs(jobs_url) as others, Jobs(pooled) as jobs, Dispatcher(fpm.address, max_children=2) as php:
        heard = await jobs.store.wait("work", -1, 0)
        await others.enqueue(task, {"marks": str(marks)})
        with anyio.fail_after(20):
            assert await jobs.store.wait("work", heard, 60) != heard
        worker = Worker(php, jobs, [task])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            for _ in range(3):
                assert (await (await jobs.enqueue(task, {"marks": str(marks)})).wait(30)).state == "done"
            worker.stop()
    assert set(begun(marks).values()) == {1}
    assert len(begun(marks)) == 4
