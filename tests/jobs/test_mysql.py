"""What only MariaDB and MySQL have."""

from __future__ import annotations

from pathlib import Path

import anyio
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs, StoreUnavailable, Task
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Query
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_MARIADB, Execute, MakeStore, OpenJobs
from tests.jobs.records import claim, job

pytestmark = [pytest.mark.anyio, ON_MARIADB]

SCRIPT = Path(__file__).parent / "scripts" / "job.php"


async def test_a_job_is_put_in_the_callers_own_transaction(open_jobs: OpenJobs, jobs_url: str) -> None:
    """Committed with the caller's data, or not at all."""
    jobs, mail = await open_jobs(), Task("mail", SCRIPT)
    with Address(jobs_url).connect() as connection:
        cursor = connection.cursor()
        for order, end in ((1, connection.rollback), (7, connection.commit)):
            connection.begin()
            cursor.execute(*jobs.statement(mail, {"order": order}, delay=5, unique="7"))
            assert await jobs.find() == []
            end()
    [record] = await jobs.find()
    assert (record.data, record.state, record.unique) == ('{"order":7}', "delayed", "7")
    assert record.due - record.created == 5


async def test_a_closed_idle_connection_is_replaced(
    store: Store, execute: Execute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that was used a moment ago is not asked first: the call says so, and stores nothing."""
    monkeypatch.setattr("fcgi_async.jobs.sql.mysql._IDLE", 0.0)
    execute(KILL_OTHERS)
    assert await store.put([job()]) == [None]
    monkeypatch.setattr("fcgi_async.jobs.sql.mysql._IDLE", 60.0)
    execute(KILL_OTHERS)
    with pytest.raises(StoreUnavailable) as caught:
        await store.put([job()])
    assert not caught.value.may_be_stored
    assert await store.put([job()]) == [None]
    assert len(await store.find(Query())) == 2


async def test_trailing_spaces_distinguish_names(store: Store) -> None:
    """As everywhere, and not as MySQL compares by default."""
    await store.register("w", [])
    await store.put([job("mail "), job("MAIL"), job("mail", unique="é"), job("mail", unique="e")])
    assert [claimed.task for claimed in await claim(store, 9)] == ["mail", "mail"]


async def test_errors_do_not_show_the_password(jobs_url: str) -> None:
    for url, what in (
        ("mysql://jobs:secret@127.0.0.1:1/jobs", "refused"),
        (jobs_url.replace("jobs@", "jobs:secret@"), "see the user and the password"),
        (jobs_url.replace("/test_", "/none_"), "grant this user what it needs"),
    ):
        with pytest.raises(StoreUnavailable, match=what) as caught:
            await find_store(url).open()
        assert "secret" not in str(caught.value)
        assert not caught.value.may_be_stored
    for url, what in (
        ("mysql://jobs:secret@host", "names no database"),
        ("mysql://jobs:secret@host:port/jobs", "cannot be read"),
        ("mysql://jobs:secret@host/jobs?none=1", "has none; it may have"),
    ):
        with pytest.raises(ConfigurationError, match=what) as refused:
            Jobs(url)
        assert "secret" not in str(refused.value)


async def test_several_processes_open_an_empty_database_at_once(make_store: MakeStore) -> None:
    stores = [make_store() for _ in range(5)]
    async with anyio.create_task_group() as tasks:
        for store in stores:
            tasks.start_soon(store.open)
    assert await stores[0].put([job()]) == [None]
    for store in stores:
        assert (await store.counts()).states["ready"] == 1
        await store.aclose()


# connections of the same user to the same database, by a block that MariaDB runs outside of a procedure
KILL_OTHERS = """BEGIN NOT ATOMIC
    FOR other IN (SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()) DO
        KILL other.id;
    END FOR;
END"""
