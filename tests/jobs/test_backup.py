"""Databases of durable jobs that were backed up by their servers' programs, and restored."""

from __future__ import annotations

import subprocess
from pathlib import Path

import anyio.to_thread
import pytest

from fcgi_async.jobs import Jobs, Task
from fcgi_async.jobs.sql.mysql_address import Address
from tests.docs.blocks import DOCS
from tests.jobs.conftest import ON_MARIADB, ON_POSTGRES
from tests.jobs.servers import MariaDB, Postgres, find_program, perform

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

PAGE = (DOCS / "guides" / "jobs-on-servers.md").read_text()
PG_DUMP, MARIADB_DUMP = "pg_dump --format=custom", "mariadb-dump --single-transaction"
MAIL = Task("mail", "/srv/app/mail.php")


async def fill(url: str) -> None:
    """Put a few jobs."""
    async with Jobs(url) as jobs:
        await jobs.enqueue(MAIL, {"to": "ä\\'"}, id="first", unique="ü-7", unique_for=3600)
        await jobs.enqueue(MAIL, id="second", delay=60)
        assert await jobs.cancel("second") == 1


async def assert_whole(url: str) -> None:
    """What was put is there, and the tables do all that they did."""
    async with Jobs(url) as jobs:
        found = [(record.id, record.state, record.data, record.unique) for record in await jobs.find()]
        assert found == [("first", "ready", '{"to":"\\u00e4\\\\\'"}', "ü-7"), ("second", "cancelled", "null", None)]
        assert await jobs.store.check() == []
        perform(url, "INSERT INTO fcgi_jobs (task, data) VALUES ('mail', '1')")
        assert [record.number for record in await jobs.find()] == [1, 2, 3]


async def run(*command: str, stdin: bytes = b"") -> bytes:
    """Run a program; return what it prints."""
    done = await anyio.to_thread.run_sync(
        lambda: subprocess.run(command, input=stdin, capture_output=True, check=False)
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout


@ON_POSTGRES
async def test_pg_dump(jobs_url: str, postgres: Postgres, tmp_path: Path) -> None:
    """The function is there again, too."""
    assert PG_DUMP in PAGE
    await fill(jobs_url)
    name, place = jobs_url.rpartition("%3D")[2], [f"--host={postgres.directory}", "--username=jobs"]
    program, *options = PG_DUMP.split()
    dump = tmp_path / "dump"
    await run(find_program(program), *options, f"--file={dump}", f"--schema={name}", *place, "jobs")
    postgres.drop(name)
    await run(find_program("pg_restore"), *place, "--dbname=jobs", "--exit-on-error", str(dump))
    await assert_whole(jobs_url)
    perform(jobs_url, "SELECT fcgi_enqueue('mail')")
    assert perform(jobs_url, "SELECT max(number) FROM fcgi_jobs") == [(4,)]


@ON_MARIADB
async def test_mariadb_dump(jobs_url: str, mariadb: MariaDB) -> None:
    assert MARIADB_DUMP in PAGE
    await fill(jobs_url)
    settings = Address(jobs_url).settings
    name, place = settings["database"], [f"--socket={settings['unix_socket']}", "--user=jobs"]
    program, *options = MARIADB_DUMP.split()
    dump = await run(program, "--no-defaults", *options, *place, name)
    mariadb.drop(name)
    mariadb.execute(f"CREATE DATABASE {name}")
    await run("mariadb", "--no-defaults", *place, name, stdin=dump)
    await assert_whole(jobs_url)
