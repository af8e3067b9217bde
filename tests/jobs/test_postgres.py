"""What only PostgreSQL has: fcgi_enqueue(), transactions of others, leases, and a server that forgets."""

from __future__ import annotations

from pathlib import Path

import anyio
import psycopg
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs, SchemaMismatch, StoreRefused, StoreUnavailable, Task
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Query, Settlement
from fcgi_async.jobs.sql.postgres_address import Address
from fcgi_async.jobs.sql.postgres_errors import translate
from fcgi_async.jobs.sql.postgres_store import PostgresStore
from fcgi_async.jobs.store import Store
from tests.eventually import eventually
from tests.jobs.conftest import ON_POSTGRES, Execute, MakeStore, OpenJobs
from tests.jobs.records import MAIL, claim, finish, job
from tests.jobs.servers import Postgres

pytestmark = [pytest.mark.anyio, ON_POSTGRES]

SCRIPT = Path(__file__).parent / "scripts" / "job.php"


def connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    """A connection of the application's."""
    return psycopg.connect(url)


# from SQL


async def test_a_job_is_put_by_a_function(store: Store, jobs_url: str) -> None:
    """With the data as text or jsonb; what is no JSON is refused, and a key that is held gives NULL."""
    with connect(jobs_url) as connection:

        def value(statement: str) -> object:
            row = connection.execute(statement.encode()).fetchone()
            return None if row is None else row[0]

        first = value("""SELECT fcgi_enqueue('mail', '{"to":"a"}', priority => 3)""")
        second = value("SELECT fcgi_enqueue('mail', jsonb_build_object('to', 'b'), delay => 60, \"unique\" => '7')")
        assert value("SELECT fcgi_enqueue('mail', 'null', \"unique\" => '7')") is None
        third = value("SELECT fcgi_enqueue('report')")
        connection.commit()
        with pytest.raises(psycopg.errors.InvalidTextRepresentation):
            connection.execute("SELECT fcgi_enqueue('mail', '{')")
    records = {record.id: record for record in await store.find(Query())}
    assert list(records) == [first, second, third]
    seen = [(record.task, record.data, record.state, record.priority) for record in records.values()]
    assert seen == [
        ("mail", '{"to":"a"}', "ready", 3),
        ("mail", '{"to": "b"}', "delayed", 0),
        ("report", "null", "ready", 0),
    ]


async def test_the_function_wakes_workers(store: Store, jobs_url: str) -> None:
    heard = await store.wait("work", -1, 0)
    with connect(jobs_url) as connection:
        connection.execute("SELECT fcgi_enqueue('mail')")
        assert await store.wait("work", heard, 0.05) == heard
    with anyio.fail_after(20):
        assert await store.wait("work", heard, 60) != heard


async def test_a_job_is_put_in_the_callers_own_transaction(open_jobs: OpenJobs, jobs_url: str) -> None:
    """Committed with the caller's data, or not at all; ringing wakes workers."""
    jobs, mail = await open_jobs(), Task("mail", SCRIPT)
    heard = await jobs.store.wait("work", -1, 0)
    with connect(jobs_url) as connection:
        connection.execute(*jobs.statement(mail, {"order": 1}))
        connection.rollback()
        connection.execute(*jobs.statement(mail, {"order": 7}, delay=5, unique="7"))
        assert await jobs.find() == []
    [record] = await jobs.find()
    assert (record.data, record.state, record.unique) == ('{"order":7}', "delayed", "7")
    assert record.due - record.created == 5
    jobs.ring()
    with anyio.fail_after(20):
        assert await jobs.store.wait("work", heard, 60) != heard


# a server that was killed has forgotten its last transactions that need not have been on disk


async def test_a_lost_claim_is_claimed_again(store: Store, execute: Execute, postgres: Postgres) -> None:
    """Nobody claims before what is in hand was compared."""
    await store.register("w", MAIL)
    await store.put([job(), job()])
    held = await claim(store, 2)
    execute(FORGET_CLAIMS)
    await _cut(store, postgres)
    with pytest.raises(StoreUnavailable, match="compared with the table first"):
        await claim(store)
    compared = await store.reconcile("w", held)
    assert (compared.given_back, compared.lost) == (0, frozenset())
    assert await claim(store) == ()
    for claimed in held:
        assert await finish(store, claimed)


async def test_a_settlement_of_a_lost_claim_counts(store: Store, execute: Execute, postgres: Postgres) -> None:
    await store.register("w", MAIL)
    await store.put([job()])
    [claimed] = await claim(store)
    execute(FORGET_CLAIMS)
    await _cut(store, postgres)
    assert await finish(store, claimed)
    assert (await store.counts()).states["done"] == 1


async def test_a_lost_settlement_is_written_again(store: Store, execute: Execute, postgres: Postgres) -> None:
    """Whether or not the claim was forgotten too."""
    await store.register("w", MAIL)
    await store.put([job(), job()])
    first, second = await claim(store, 2)
    for claimed in (first, second):
        assert await finish(store, claimed)
    execute(f"UPDATE fcgi_jobs SET state = 'running', worker = 'w' WHERE number = {first.number}")
    execute(f"{FORGET_CLAIMS} WHERE number = {second.number}")
    await _cut(store, postgres)
    compared = await store.reconcile("w", [])
    assert (compared.given_back, compared.lost) == (0, frozenset())
    assert (await store.counts()).states["done"] == 2


async def test_all_attempts_of_a_job_were_lost(store: Store, execute: Execute, postgres: Postgres) -> None:
    """The earlier one that failed is written again first, so that the one in hand follows it."""
    await store.register("w", MAIL)
    await store.put([job()])
    [first] = await claim(store)
    failed = Settlement(number=first.number, id=first.id, attempt=1, state="ready", counts=True, durable=False)
    assert await store.settle("w", [failed]) == [True]
    [second] = await claim(store)
    execute("UPDATE fcgi_jobs SET state = 'ready', worker = NULL, attempt = 0, failed = 0")
    await _cut(store, postgres)
    compared = await store.reconcile("w", [second])
    assert (compared.given_back, compared.lost) == (0, frozenset())
    assert await claim(store) == ()
    assert await finish(store, second)
    assert (await store.find(Query()))[0].failed == 1


@pytest.mark.parametrize("ended", ["before", "after"])
async def test_a_number_that_was_given_again(store: Store, execute: Execute, postgres: Postgres, ended: str) -> None:
    """Who holds the job that was lost neither takes the new one nor ends it, even if it is claimed here too."""
    await store.register("w", MAIL)
    await store.put([job()])
    [lost] = await claim(store)
    if ended == "before":
        assert await finish(store, lost)
    new = job()
    execute(f"{FORGET_CLAIMS}, id = '{new.id}', finished = NULL, keep_until = NULL")
    await _cut(store, postgres)
    assert ended == "before" or await finish(store, lost) is False
    compared = await store.reconcile("w", [] if ended == "before" else [lost])
    assert (compared.given_back, compared.lost) == (0, frozenset() if ended == "before" else frozenset({lost.key}))
    assert (await store.counts()).states["ready"] == 1
    [claimed] = await claim(store)
    assert (claimed.id, claimed.number, claimed.attempt) == (new.id, lost.number, lost.attempt)
    assert await finish(store, lost) is False
    compared = await store.reconcile("w", [lost, claimed])
    assert (compared.given_back, compared.lost) == (0, frozenset({lost.key}))
    assert await finish(store, claimed)


# connections


async def test_a_closed_idle_connection_is_replaced(store: Store, postgres: Postgres) -> None:
    await _cut(store, postgres)
    assert await store.put([job()]) == [None]


async def test_listening_continues_after_a_lost_connection(
    store: Store, postgres: Postgres, make_store: MakeStore
) -> None:
    heard = await store.wait("work", -1, 0)
    await _cut(store, postgres)
    with anyio.fail_after(20):
        # a cut may have hidden something
        again = await store.wait("work", heard, 60)
        other = make_store()
        await other.open()
        await other.put([job()])
        assert await store.wait("work", again, 60) != again
    await other.aclose()


async def test_errors_do_not_show_the_password(jobs_url: str, postgres: Postgres) -> None:
    for url, what in (
        ("postgresql://jobs:secret@127.0.0.1:1/jobs", "refused"),
        (jobs_url.replace("jobs@", "nobody:secret@"), 'role "nobody" does not exist'),
        (jobs_url.replace("/jobs?", "/none?").replace("jobs@", "jobs:secret@"), 'database "none" does not exist'),
    ):
        with pytest.raises(StoreUnavailable, match=what) as caught:
            await find_store(url).open()
        assert "secret" not in str(caught.value)
        assert not caught.value.may_be_stored
    with pytest.raises(ConfigurationError, match="postgresql://user@host/database") as refused:
        Jobs("postgresql://jobs:secret@host/jobs?none=1")
    assert "secret" not in str(refused.value)


async def test_a_role_that_may_only_read_is_not_a_standby(store: Store, execute: Execute, jobs_url: str) -> None:
    """The error says which of them it is, if the server tells."""
    read_only = find_store(f"{jobs_url}%20-cdefault_transaction_read_only%3Don")
    await read_only.open()
    with pytest.raises(StoreUnavailable, match="this role may only read: turn default_transaction_read_only") as caught:
        await read_only.put([job()])
    assert "standby" not in str(caught.value)
    assert await read_only.find(Query()) == []
    await read_only.aclose()
    error, address = psycopg.errors.ReadOnlySqlTransaction("no"), Address("postgresql://host/jobs")
    for standby, words in (("on", ["standby"]), (None, ["standby", "may only read"])):
        translated, reconnect = translate(error, address, may_be_stored=False, standby=standby)
        assert reconnect
        assert all(word in str(translated) for word in words)


async def test_text_that_postgres_rejects_is_an_error_of_the_store(store: Store) -> None:
    """Those beside it in the same commit are stored."""
    answers: list[object] = []

    async def put(data: str) -> None:
        try:
            answers.append(await store.put([job(data=data)]))
        except StoreRefused as error:
            answers.append(error.may_be_stored)

    async with anyio.create_task_group() as tasks:
        for data in ("1", "\0", "\ud800", "'; DROP TABLE fcgi_jobs; --"):
            tasks.start_soon(put, data)
    assert sorted(map(str, answers)) == ["False", "False", "[None]", "[None]"]
    assert {record.data for record in await store.find(Query())} == {"1", "'; DROP TABLE fcgi_jobs; --"}


# the schema


async def test_several_processes_open_an_empty_database_at_once(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.open)
    assert await stores[0].put([job()]) == [None]
    for store in stores:
        assert (await store.counts()).states["ready"] == 1
        await store.aclose()


async def test_tables_of_a_later_release_are_refused(store: Store, execute: Execute, make_store: MakeStore) -> None:
    execute("UPDATE fcgi_schema SET version = 99")
    with pytest.raises(SchemaMismatch, match="upgrade fcgi-async here too"):
        await make_store().open()


# what a crash does to a claim: the row is as before
FORGET_CLAIMS = "UPDATE fcgi_jobs SET state = 'ready', worker = NULL, attempt = attempt - 1"


async def _cut(store: Store, postgres: Postgres) -> None:
    """End all connections of a store."""
    assert isinstance(store, PostgresStore)
    postgres.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'jobs'")
    await eventually(lambda: not postgres.execute("SELECT 1 FROM pg_stat_activity WHERE usename = 'jobs'"))
