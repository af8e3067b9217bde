"""Rows that others have written in ways that no client would: each is dead with the reason, and stops nobody."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from urllib.parse import quote

import pytest

from fcgi_async import LocalFPM
from fcgi_async.jobs import Task
from fcgi_async.jobs.record import Query, Settlement
from fcgi_async.jobs.shown import shown
from fcgi_async.jobs.store import Store
from fcgi_async.jobs.successors import load_successors
from tests.jobs.conftest import ON_SQLITE, Execute, OpenJobs
from tests.jobs.polling import until
from tests.jobs.records import MAIL, claim, finish, job
from tests.jobs.test_worker import SCRIPT, task, working

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

MOST = 2**31 - 1
LEAST = -(2**63)


@pytest.fixture
async def announced(store: Store) -> Store:
    """A store with a worker."""
    await store.register("w", MAIL)
    return store


async def test_an_attempt_that_cannot_be_counted_up(announced: Store, execute: Execute) -> None:
    """The job is dead; others are claimed, and one that has failed as often as can be counted can be settled."""
    store = announced
    execute(f"INSERT INTO fcgi_jobs (task, data, attempt) VALUES ('mail', '1', {MOST})")
    execute(f"INSERT INTO fcgi_jobs (task, data, failed) VALUES ('mail', '2', {MOST})")
    await store.put([job(data="3")])
    failed, fine = await claim(store, 9)
    assert (failed.data, fine.data) == ("2", "3")
    settlement = Settlement(number=failed.number, attempt=failed.attempt, state="dead", counts=True)
    assert await store.settle("w", [settlement]) == [True]
    assert await finish(store, fine)
    dead, _, _ = await store.find(Query())
    assert (dead.state, dead.failed) == ("dead", 0)
    assert f"attempt must be less than {MOST}" in str(dead.error)
    assert await store.change("purge", Query(states=("dead",))) == 2


async def test_times_of_any_number(announced: Store, execute: Execute) -> None:
    """They are claimed and counted like others."""
    store = announced
    for state, due in (("ready", LEAST), ("ready", 2**63 - 1), ("delayed", LEAST), ("delayed", 2**63 - 1)):
        execute(f"INSERT INTO fcgi_jobs (task, data, state, due) VALUES ('mail', '1', '{state}', {due})")
    assert (await store.counts()).oldest is not None
    assert len(await claim(store, 9)) == 3
    assert (await store.counts()).states["delayed"] == 1


@pytest.mark.parametrize(
    "values",
    [
        "('mail', CAST('{}' AS BLOB), 0)",
        "('mail', '{}', 'high')",
        "('mail', '{}', 0.5)",
        "(CAST('mail' AS BLOB), '{}', 0)",
    ],
)
@ON_SQLITE
async def test_sqlite_refuses_values_of_another_type(store: Store, execute: Execute, values: str) -> None:
    with pytest.raises(sqlite3.IntegrityError, match=r"fcgi_jobs_(data|priority|task)_is_"):
        execute(f"INSERT INTO fcgi_jobs (task, data, priority) VALUES {values}")
    # numbers in text are numbers
    execute("INSERT INTO fcgi_jobs (task, data, priority) VALUES ('mail', 7, '3')")
    [record] = await store.find(Query())
    assert (record.data, record.priority) == ("7", 3)


@ON_SQLITE
@pytest.mark.parametrize(
    ("column", "value", "fault"),
    [
        ("data", "CAST(x'22ff22' AS TEXT)", "data must be UTF-8"),
        ("id", "CAST(x'ff' AS TEXT)", "id must be UTF-8"),
        ("trace", "CAST(x'ff' AS TEXT)", "trace must be UTF-8"),
        ("data", "x'7b7d'", "data must be text, not bytes"),
        ("attempt", "'many'", "attempt must be a whole number"),
        ("priority", "'high'", "priority and due must be whole numbers, not ('high',"),
        ("created", "1.5", "created must be a whole number"),
    ],
)
async def test_an_unreadable_job_is_dead(announced: Store, jobs_url: str, column: str, value: str, fault: str) -> None:
    """Where SQLite took it nevertheless; it can be found, counted and deleted."""
    store, columns = announced, {"task": "'mail'", "data": "'{}'", column: value}
    with closing(sqlite3.connect(jobs_url.removeprefix("sqlite://"))) as connection, connection:
        connection.execute("PRAGMA ignore_check_constraints = ON")
        connection.execute(f"INSERT INTO fcgi_jobs ({', '.join(columns)}) VALUES ({', '.join(columns.values())})")
    other = job()
    await store.put([other])
    assert [record.state for record in await store.find(Query())] == ["ready", "ready"]
    assert [claimed.id for claimed in await claim(store, 9)] == [other.id]
    [record] = await store.find(Query(states=("dead",), content=True))
    assert fault in str(record.error)
    assert (await store.counts()).states["dead"] == 1
    assert await store.change("purge", Query(ids=(record.id,))) == 1


async def test_a_batch_counts_an_unreadable_job(open_jobs: OpenJobs, execute: Execute) -> None:
    jobs, mail = await open_jobs(), Task("mail", SCRIPT)
    async with jobs.batch() as batch:
        await batch.add(mail)
    execute(f"UPDATE fcgi_jobs SET attempt = {MOST}")
    await jobs.store.register("w", MAIL)
    assert await claim(jobs.store) == ()
    record = await batch.record()
    assert (record.pending, record.failed, record.finished is not None) == (0, 1, True)


@pytest.mark.parametrize("id", ["x&route=admin", "x%26route=admin", "ä", "a b", "x\nforged: line"])
async def test_an_id_cannot_inject_parameters(
    fpm: LocalFPM, open_jobs: OpenJobs, execute: Execute, id: str, caplog: pytest.LogCaptureFixture
) -> None:
    """It stands in the query string, encoded; and in the log, where it stays on its line."""
    jobs, kept = await open_jobs(), task(keep_result=60, attempts=1)
    uri = task("front", uri="/_jobs", keep_result=60)
    execute(f"INSERT INTO fcgi_jobs (id, task, data) VALUES ('{id}', 'job', '{{}}')")
    execute(f"INSERT INTO fcgi_jobs (id, task, data) VALUES ('{id}2', 'front', '{{}}')")
    execute(f"""INSERT INTO fcgi_jobs (id, task, data) VALUES ('{id}3', 'job', '{{"status": 404}}')""")
    async with working(fpm, jobs, kept, uri):
        seen = [(await jobs.handle(f"{id}{end}").result(timeout=30)).json() for end in ("", "2")]
        assert (await jobs.handle(f"{id}3").wait(30)).state == "dead"
    assert [(each["id"], each["query"]) for each in seen] == [  # type: ignore[index]
        (id, f"fcgi_job={quote(id, safe=':')}"),
        (f"{id}2", f"fcgi_job={quote(id, safe=':')}2"),
    ]
    assert all("\n" not in message for message in caplog.messages)
    assert f"job {shown(id)}3 of task job is dead" in caplog.text


async def test_a_stored_successor_is_checked(announced: Store, execute: Execute) -> None:
    """A chain that no client has written keeps no job from ending."""
    store = announced
    for chain in ('[{"id": "a\\nb", "task": "mail"}]', '[{"id": "a", "task": "mail", "data": "\\u0000"}]', "x"):
        execute("DELETE FROM fcgi_jobs")
        text = chain.replace("\\", "\\\\") if "mysql" in type(store).__module__ else chain
        execute(f"INSERT INTO fcgi_jobs (task, data, chain) VALUES ('mail', '1', '{text}')")
        [claimed] = await claim(store)
        settlement = Settlement(number=claimed.number, id=claimed.id, attempt=1, state="done", keep=60.0, follows=True)
        assert await store.settle("w", [settlement]) == [True]
        assert [record.data for record in await store.find(Query())] == ["1"]
    long = f'[{{"id": "{"a" * 101}", "task": "mail"}}]'
    assert load_successors(long) == load_successors('[{"id": "a", "task": "mail", "priority": 2147483648}]') == ()


async def test_a_response_that_was_not_stored_by_a_worker(store: Store, execute: Execute) -> None:
    """Its headers are no JSON: it is shown without."""
    columns = "(task, data, state, status, result_headers, keep_until)"
    for headers in ("x", "[]"):
        execute(f"INSERT INTO fcgi_jobs {columns} VALUES ('mail', '1', 'done', 200, '{headers}', 9000000000000)")
    assert [record.response for record in await store.find(Query(content=True))] == [None, None]


async def test_expired_keys_are_free(open_jobs: OpenJobs, execute: Execute) -> None:
    """For an INSERT of the application's own, too; while they are held the job that has ended stays."""
    jobs, mail = await open_jobs(), Task("mail", SCRIPT)
    await jobs.store.register("w", MAIL)
    handle = await jobs.enqueue(mail, unique="7", unique_for=3600)
    [claimed] = await claim(jobs.store)
    done = Settlement(number=claimed.number, id=claimed.id, attempt=1, state="done", keep=0.0)
    assert await jobs.store.settle("w", [done]) == [True]
    await jobs.store.sweep()
    record = await handle.record()
    assert record.unique == "7"
    assert (record.keep_until or 0) - record.created == pytest.approx(3600, abs=5)
    execute("UPDATE fcgi_jobs SET unique_until = 1")

    async def is_free() -> bool:
        await jobs.store.sweep()
        return (await handle.record()).unique is None

    await until(is_free)
    named = "(task, data, unique_key, unique_until)"
    execute(f"INSERT INTO fcgi_jobs {named} VALUES ('mail', '1', '7', 1)")


@pytest.mark.usefixtures("anyio_backend")
def test_text_for_a_log() -> None:
    """It has no line of its own, and no end of its own choice."""
    assert shown("a\nb\x1b[0m\u2028") == "a\\nb\\x1b[0m\\u2028"
    assert shown("x" * 300) == "x" * 200 + "…"


@pytest.mark.usefixtures("anyio_backend")
def test_the_dispatcher_shows_only_printable_names() -> None:
    assert Task("job", SCRIPT)._job("a\nb", 1, "1", None, None).tag == "a\\nb"
