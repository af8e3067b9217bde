"""Tables of older releases are migrated to this one, with their jobs."""

from __future__ import annotations

import secrets
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import psycopg
import pytest
from pymysql.constants import CLIENT

from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Query
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.sql.schema import VERSION
from fcgi_async.jobs.sql.store import SQLStore
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_MARIADB, ON_SQLITE, Execute
from tests.jobs.records import MAIL, claim, finish
from tests.jobs.servers import Server, perform

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

# as they were when they were made, by the kind of database and the version
SCHEMAS = Path(__file__).parent / "schemas"
DONE = "INSERT INTO fcgi_jobs (task, data, state, keep_until) VALUES ('mail', '3', 'done', 9000000000000)"


def make_tables(url: str, version: int) -> None:
    """Make the tables of a version."""
    kind = url.partition(":")[0]
    script = (SCHEMAS / f"{kind}-{version}.sql").read_text()
    if kind == "sqlite":
        with closing(sqlite3.connect(url.removeprefix("sqlite://"))) as sqlite, sqlite:
            sqlite.executescript(script)
    elif kind == "mysql":
        with Address(url).connect(client_flag=CLIENT.MULTI_STATEMENTS) as mysql, mysql.cursor() as cursor:
            cursor.execute(script)
            while cursor.nextset():
                pass
    else:
        with psycopg.connect(url) as postgres:
            postgres.execute(script.encode())


async def indexes(store: Store) -> set[str]:
    """The names of the existing indexes."""
    assert isinstance(store, SQLStore)
    found: set[str] = await store._committer.call(lambda dialect: dialect.indexes())
    return {name for name in found if name.startswith("fcgi_")}


async def columns(store: Store, table: str) -> set[str]:
    """The names of a table's columns."""
    assert isinstance(store, SQLStore)
    found: set[str] = await store._committer.call(lambda dialect: dialect.columns(table))
    return found


@pytest.mark.parametrize("version", range(1, VERSION))
async def test_every_older_version_is_migrated(jobs_url: str, execute: Execute, fresh_url: str, version: int) -> None:
    """The jobs are kept and run, and the tables are the same as in a new database."""
    make_tables(jobs_url, version)
    execute("INSERT INTO fcgi_jobs (task, data) VALUES ('mail', '1')")
    execute("INSERT INTO fcgi_jobs (task, data, state, due) VALUES ('mail', '2', 'delayed', 1)")
    execute(DONE)
    execute("DELETE FROM fcgi_jobs WHERE data = '3'")
    store, fresh = find_store(jobs_url), find_store(fresh_url)
    await store.open()
    await fresh.open()
    assert await store.version() == VERSION
    assert await indexes(store) == await indexes(fresh)
    for name in ("fcgi_jobs", "fcgi_workers"):
        assert await columns(store, name) == await columns(fresh, name)
    assert await store.check() == []
    await store.register("w", MAIL)
    claimed = await claim(store, 9)
    assert sorted(each.data for each in claimed) == ["1", "2"]
    assert await finish(store, claimed[0])
    # numbers go on after those that were used
    execute(DONE)
    assert max(record.number for record in await store.find(Query())) == 4
    await store.aclose()
    await fresh.aclose()


@pytest.fixture
def fresh_url(request: pytest.FixtureRequest, jobs_url: str, tmp_path: Path) -> Iterator[str]:
    """Another empty database of the same kind."""
    if jobs_url.startswith("sqlite:"):
        yield f"sqlite://{tmp_path / 'fresh.db'}"
        return
    server: Server = request.getfixturevalue(request.node.callspec.params["jobs_url"])
    name = f"fresh_{secrets.token_hex(8)}"
    yield server.empty(name)
    server.drop(name)


@ON_SQLITE
async def test_values_of_other_types_are_converted(jobs_url: str, execute: Execute) -> None:
    """SQLite accepted them before; an application's triggers and views stay."""
    make_tables(jobs_url, 1)
    for statement in (
        "INSERT INTO fcgi_jobs (task, data, priority, due) VALUES ('mail', CAST('{}' AS BLOB), 'high', 1.5)",
        "CREATE TABLE orders (number INTEGER)",
        "CREATE VIEW waiting AS SELECT * FROM fcgi_jobs WHERE state = 'ready'",
        """CREATE TRIGGER ordered AFTER INSERT ON orders BEGIN
            INSERT INTO fcgi_jobs (task, data) VALUES ('mail', NEW.number); END""",
        """CREATE TRIGGER counted AFTER INSERT ON fcgi_jobs BEGIN
            UPDATE fcgi_queues SET paused = 1; END""",
    ):
        execute(statement)
    store = find_store(jobs_url)
    await store.open()
    execute("INSERT INTO fcgi_queues (name) VALUES ('other')")
    execute("INSERT INTO orders VALUES (7)")
    found = [(record.data, record.priority, record.due) for record in await store.find(Query())]
    assert found[0] == ("{}", 0, 0.001)
    assert found[1][0] == "7"
    assert perform(jobs_url, "SELECT count(*) FROM waiting") == [(2,)]
    assert (await store.counts()).paused == ("other",)
    await store.aclose()


@ON_MARIADB
@pytest.mark.parametrize(
    ("version", "performed"),
    [
        (1, "CREATE INDEX fcgi_batches_open ON fcgi_batches (open, open_until)"),
        (2, "ALTER TABLE fcgi_workers ADD COLUMN watched bigint NOT NULL DEFAULT 0"),
    ],
)
async def test_an_interrupted_migration_goes_on(jobs_url: str, execute: Execute, version: int, performed: str) -> None:
    """Each of MariaDB's and MySQL's statements is committed by itself."""
    make_tables(jobs_url, version)
    execute(performed)
    store = find_store(jobs_url)
    await store.open()
    assert await store.version() == VERSION
    await store.aclose()
