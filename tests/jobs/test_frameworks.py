"""Jobs put in the transactions of Symfony's and Laravel's ways to a database, by Debian's packages of them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import anyio
import pytest

from fcgi_async.jobs import Jobs
from tests.jobs.pdo import pdo_place
from tests.jobs.records import MAIL
from tests.jobs.servers import perform
from tests.jobs.test_php_side import LIBRARY

SCRIPTS = Path(__file__).parent / "scripts"
# what is tested is PHP
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

FRAMEWORKS = pytest.mark.parametrize("framework", ["doctrine", "laravel"])


async def run(framework: str, url: str, **environment: str) -> str:
    """Run the script of a framework; return what it says, which is nothing."""
    place = pdo_place(url)
    php = ["php", "-d", "display_errors=stderr", "-d", "log_errors=off"]
    command = [*php, str(SCRIPTS / f"{framework}.php"), str(LIBRARY), place["dsn"], place["user"] or ""]
    done = await anyio.run_process(command, check=False, env={**os.environ, **environment})
    assert done.returncode == 0, done.stderr.decode()
    return (done.stdout + done.stderr).decode()


@FRAMEWORKS
async def test_a_job_is_put_with_the_order_or_not_at_all(framework: str, jobs_url: str) -> None:
    """In transactions that are committed, rolled back, and nested in one that is committed nevertheless."""
    async with Jobs(jobs_url) as jobs:
        perform(jobs_url, "CREATE TABLE orders (number INTEGER)")
        assert await run(framework, jobs_url) == ""
        assert [json.loads(record.data)["order"] for record in await jobs.find()] == [1, 3, 5]
        assert perform(jobs_url, "SELECT number FROM orders ORDER BY number") == [(1,), (3,), (5,)]


@FRAMEWORKS
async def test_a_job_is_completed_with_its_effects(framework: str, jobs_url: str) -> None:
    """Once: an attempt that has lost the job rolls back."""
    async with Jobs(jobs_url) as jobs:
        perform(jobs_url, "CREATE TABLE orders (number INTEGER)")
        await run(framework, jobs_url)
        perform(jobs_url, "INSERT INTO fcgi_workers (id, host, pid, started, seen) VALUES ('w', 'host', 1, 0, 0)")
        [claimed] = (await jobs.store.claim("w", MAIL, 1, durable=True)).jobs
        attempt = {"FCGI_JOB_ID": claimed.id, "FCGI_JOB_ATTEMPT": str(claimed.attempt)}
        await run(framework, jobs_url, **attempt)
        assert (await jobs.get(claimed.id)).state == "done"
        with pytest.raises(AssertionError, match="no longer holds job"):
            await run(framework, jobs_url, **attempt)
        assert perform(jobs_url, "SELECT number FROM orders WHERE number = 100") == [(100,)]
