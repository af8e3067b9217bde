"""The page of the tables says what the code does; where it does not, the difference shows what to write."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator

import pytest

from fcgi_async.jobs import Cron, Jobs, Task
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import NewBatch, Query, Settlement
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.mysql import MySQLDialect
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.sql.postgres import PostgresDialect
from fcgi_async.jobs.sql.schema import VERSION, creation
from fcgi_async.jobs.sql.sqlite import SQLiteDialect
from fcgi_async.jobs.sql.statements import INSERT_COLUMNS
from fcgi_async.jobs.store import Store
from tests.docs.blocks import DOCS, blocks
from tests.docs.test_tables import columns, table
from tests.jobs.conftest import ON_SERVERS, OpenJobs
from tests.jobs.records import MAIL, claim, finish, job
from tests.jobs.servers import Server, perform
from tests.jobs.test_store_conformance import lane

PAGE = DOCS / "reference" / "jobs-tables.md"
SQL = [block.text for block in blocks(PAGE) if block.language == "sql"]
PUT, FUNCTION, *GRANTS = SQL[:4]
DIALECTS: dict[str, type[Dialect]] = {
    "SQLite": SQLiteDialect,
    "PostgreSQL": PostgresDialect,
    "MariaDB, MySQL": MySQLDialect,
}

pytestmark = pytest.mark.parametrize("anyio_backend", ["asyncio"])


@pytest.mark.usefixtures("anyio_backend")
@pytest.mark.parametrize("number", range(3))
def test_tables(number: int) -> None:
    """They are made by these statements."""
    statements = creation(list(DIALECTS.values())[number].types)
    assert SQL[4 + number] == "".join(f"{one};\n" for one in statements).replace("{collation}", "utf8mb4_nopad_bin")


@pytest.mark.usefixtures("anyio_backend")
def test_columns_and_clocks() -> None:
    """Those that an INSERT may have are all explained; the present time is what each database has as the default."""
    written = [f"`{name}`" for name in INSERT_COLUMNS if name not in ("batch", "chain")]
    assert [name for (name,) in columns(table("reference/jobs-tables.md", "The INSERT"), 0)] == written
    clocks = table("reference/jobs-tables.md", "The INSERT", 1)
    assert clocks == [(name, f"`{dialect.types.now}`") for name, dialect in DIALECTS.items()]


@pytest.mark.anyio
async def test_the_insert_puts_a_job(open_jobs: OpenJobs, jobs_url: str) -> None:
    """The present time that the page gives is that of the database."""
    jobs = await open_jobs()
    perform(jobs_url, PUT.rstrip(";\n"))
    [first] = await jobs.find()
    assert (first.task, first.data, first.state) == ("mail", '{"to": "a@example.org"}', "ready")
    kind = {"sqlite": "SQLite", "postgresql": "PostgreSQL", "mysql": "MariaDB, MySQL"}[jobs_url.partition(":")[0]]
    [now] = [row[1].strip("`") for row in table("reference/jobs-tables.md", "The INSERT", 1) if row[0] == kind]
    named = "(task, data, state, due, unique_key, unique_until)"
    perform(jobs_url, f"INSERT INTO fcgi_jobs {named} VALUES ('mail', '1', 'delayed', {now} + 9000, '7', {now})")
    [_, second] = await jobs.find()
    assert (second.state, second.unique) == ("delayed", "7")
    assert second.due - second.created == pytest.approx(9, abs=0.1)
    if kind == "PostgreSQL":
        assert perform(jobs_url, FUNCTION.rstrip(";\n")) == [((await jobs.find())[-1].id,)]


@pytest.fixture
def roles(request: pytest.FixtureRequest, jobs_url: str) -> Iterator[dict[str, str]]:
    """URLs of roles that have the page's rights and no others, once the tables are there: the worker's and PHP's."""
    name = secrets.token_hex(8)
    postgres = jobs_url.startswith("postgresql:")
    server: Server = request.getfixturevalue(request.node.callspec.params["jobs_url"])
    names = {"jobs_worker": f"worker_{name}", "shop": f"shop_{name}"}
    place = jobs_url.rpartition("%3D")[2] if postgres else Address(jobs_url).settings["database"]
    for role in names.values():
        perform_as_admin(server, f"CREATE ROLE {role} LOGIN" if postgres else f"CREATE USER {role}@localhost")
    for grant in GRANTS[0 if postgres else 1].replace("\n", " ").split("; "):
        if not grant.strip():
            continue
        statement = grant.replace("SCHEMA public", f"SCHEMA {place}").replace(" ON shop.", f" ON {place}.")
        statement = statement.replace("ON fcgi_jobs", f"ON {place}.fcgi_jobs") if postgres else statement
        statement = re.sub(r"\b(jobs_worker|shop)\b(?!\.)", lambda found: names[found[0]], statement)
        perform_as_admin(server, statement.rstrip(";"))
    yield {role: jobs_url.replace("://jobs@", f"://{name}@") for role, name in names.items()}
    for role in names.values():
        if postgres:
            perform_as_admin(server, f"DROP OWNED BY {role}")
        perform_as_admin(server, f"DROP ROLE {role}" if postgres else f"DROP USER {role}@localhost")


def perform_as_admin(server: Server, statement: str) -> None:
    """Perform a statement as the server's administrator."""
    server.execute(statement)  # type: ignore[attr-defined]


@pytest.fixture
async def tables(anyio_backend: str, jobs_url: str) -> None:
    """The tables, made by their owner."""
    async with Jobs(jobs_url):
        pass


@pytest.mark.anyio
@ON_SERVERS
async def test_the_rights_suffice(tables: None, roles: dict[str, str]) -> None:
    """A worker can do all that it does, and PHP put jobs."""
    store = find_store(roles["jobs_worker"])
    await store.open()
    await store.register("w", MAIL)
    named = "(task, data, unique_key, unique_until)"
    perform(roles["shop"], f"INSERT INTO fcgi_jobs {named} VALUES ('mail', 'null', '7', 1)")
    perform(roles["shop"], "UPDATE fcgi_jobs SET unique_key = NULL WHERE task = 'mail' AND unique_key = '7'")
    if roles["shop"].startswith("postgresql:"):
        perform(roles["shop"], FUNCTION.replace("'mail'", "'other'").rstrip(";\n"))
    [claimed] = await claim(store)
    assert await finish(store, claimed)
    assert await store.recover() == 0
    await all_of_it(store)
    perform(roles["shop"], f"UPDATE fcgi_jobs SET state = 'done', finished = 1 WHERE number = {claimed.number}")
    perform(roles["shop"], f"SELECT id FROM fcgi_jobs WHERE number = {claimed.number}")
    await store.leave("w")
    await store.aclose()
    with pytest.raises(Exception, match=r"denied"):
        perform(roles["shop"], "DELETE FROM fcgi_jobs")


async def all_of_it(store: Store) -> None:
    """What workers, clients and people do beside putting and claiming, in short."""
    cron = Cron("often", "* * * * *", Task("mail", "/mail.php"))
    await store.begin_crons([cron])
    await store.tick([cron])
    await store.make_batch(NewBatch(id="b"), 60)
    await store.add("b", [job(batch="b")], 60)
    await store.close_batch("b", abandoned=False)
    assert (await store.find_batch("b")) is not None
    limited = [lane("mail", rate=(5, 1.0), running=9)]
    [failed] = (await store.claim("w", limited, 1, durable=True)).jobs
    in_doubt = Settlement(number=failed.number, attempt=failed.attempt, state="in_doubt", follows=failed.follows)
    assert await store.settle("w", [in_doubt]) == [True]
    assert await store.note(failed.id, "why")
    assert await store.renew("w")
    assert (await store.reconcile("w", [])).complete
    for action in ("retry", "cancel", "purge"):
        assert await store.change(action, Query(ids=(failed.id,))) == 1
    await store.sweep()
    await store.pause("default", paused=True)
    assert (await store.counts()).states["done"] == 1
    assert await store.check() == []
    assert await store.version() == VERSION
