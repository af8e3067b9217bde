"""Values that a database cannot hold are refused by themselves, with an error that says so; no worker ends for them."""

from __future__ import annotations

from typing import Any

import anyio
import psycopg
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs, PayloadTooLarge, StoreRefused, Task
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Query, Settlement, StoredResponse
from fcgi_async.jobs.sql.mysql import messages
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_MARIADB, OpenJobs
from tests.jobs.records import MAIL, claim, job

pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio"])]

MAIL_TASK = Task("mail", "/mail.php")


async def put(store: Store, **settings: Any) -> bool:
    """Put a job; return whether the database took it."""
    try:
        assert await store.put([job(**settings)]) == [None]
    except StoreRefused as error:
        assert not error.may_be_stored
        return False
    return True


async def test_a_refused_job_fails_alone(store: Store) -> None:
    """Those beside it in the same commit are stored."""
    taken: dict[object, bool] = {}

    async def note(value: int) -> None:
        taken[value] = await put(store, priority=value)

    async with anyio.create_task_group() as group:
        for value in (1, 2**70, 2):
            group.start_soon(note, value)
    assert taken == {1: True, 2**70: False, 2: True}
    assert len(await store.find(Query())) == 2


async def test_a_delay_has_a_bound(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    wrong: list[dict[str, Any]] = [{"delay": 1e300}, {"unique_for": 1e300, "unique": "7"}]
    for settings in wrong:
        with pytest.raises(ConfigurationError, match="must be at most 3155760000, not"):
            await jobs.enqueue(MAIL_TASK, **settings)
    assert await jobs.find() == []


@pytest.mark.parametrize(
    ("encoded_url", "taken", "error"),
    [
        ("LATIN1", "é", "é \\u2192 \\u65e5"),
        ("EUC_JP", "é→日", "\\xe9 \\u2192 \\u65e5"),
        ("SQL_ASCII", "é→日", "é → 日"),
        ("UTF8", "é→日", "é → 日"),
    ],
    indirect=["encoded_url"],
)
async def test_encodings_of_postgres(encoded_url: str, taken: str, error: str) -> None:
    """What they lack is refused where a caller gives it, and escaped where PHP has written it."""
    store = find_store(encoded_url)
    await store.open()
    await store.register("w", MAIL)
    assert [key for key in ("é", "→", "日") if await put(store, unique=key)] == list(taken)
    claimed = await claim(store, 9)
    assert len(claimed) == len(taken)
    failed = Settlement(number=claimed[0].number, attempt=1, state="in_doubt", error="é → 日", stderr="é → 日")
    assert await store.settle("w", [failed]) == [True]
    [record] = await store.find(Query(states=("in_doubt",)))
    assert (record.unique, record.error, record.stderr) == (taken[0], error, error)
    assert await store.note(record.id, "→ é")
    await store.aclose()


@pytest.mark.parametrize("encoded_url", ["SQL_ASCII"], indirect=True)
async def test_a_job_with_undecodable_bytes_is_dead(encoded_url: str) -> None:
    """PostgreSQL without an encoding takes any from an INSERT of others."""
    store = find_store(encoded_url)
    await store.open()
    await store.register("w", MAIL)
    with psycopg.connect(encoded_url, client_encoding="SQL_ASCII") as connection:
        connection.execute(b"INSERT INTO fcgi_jobs (task, data) VALUES ('mail', '\xff')")
    assert await put(store)
    assert len(await claim(store, 9)) == 1
    [dead] = await store.find(Query(states=("dead",)))
    assert (dead.data, "data must be UTF-8" in str(dead.error)) == ("\\xff", True)
    await store.aclose()


# the longest message of MariaDB and MySQL is 16 MiB unless they are told otherwise


@ON_MARIADB
async def test_many_jobs_take_several_messages(open_jobs: OpenJobs) -> None:
    """They are one transaction all the same."""
    jobs = await open_jobs(payload_limit=1 << 21)
    assert len(await jobs.enqueue_many((MAIL_TASK, "x" * (1 << 20)) for _ in range(20))) == 20
    assert (await jobs.counts()).states["ready"] == 20


@ON_MARIADB
async def test_a_job_that_is_longer_than_a_message(jobs_url: str) -> None:
    """Nothing is stored, and the error says what helps."""
    async with Jobs(jobs_url, payload_limit=1 << 25) as jobs:
        with pytest.raises(
            PayloadTooLarge, match=r"max_allowed_packet takes 167\d+: raise that, or store the data els"
        ):
            await jobs.enqueue_many([(MAIL_TASK, "1"), (MAIL_TASK, "x" * (1 << 24))])
        assert await jobs.find() == []


@ON_MARIADB
async def test_a_response_that_is_longer_than_a_message_is_not_stored(store: Store) -> None:
    """The job is done, and says why."""
    await store.register("w", MAIL)
    await store.put([job()])
    [claimed] = await claim(store)
    response = StoredResponse(status=200, headers={}, content=bytes(9 << 20))
    done = Settlement(number=claimed.number, id=claimed.id, attempt=1, state="done", keep=60.0, response=response)
    assert await store.settle("w", [done]) == [True]
    [record] = await store.find(Query(content=True))
    assert (record.state, record.status, record.response) == ("done", 200, None)
    assert "the response of 9437184 bytes was not stored" in str(record.error)


@pytest.mark.usefixtures("anyio_backend")
def test_statements_are_gathered_into_messages() -> None:
    """As many as fit, in their order, and each at least by itself."""
    texts = [b"a" * 4, b"b" * 4, b"c" * 20, b"d", b"e", b"f"]
    assert list(messages(texts, 12, 2)) == [[b"aaaa", b"bbbb"], [b"c" * 20], [b"d", b"e"], [b"f"]]
    assert list(messages([], 12, 2)) == []
