"""What is SQLite's own: its file, its disk, and the folder beside it."""

from __future__ import annotations

import json
import os
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

import anyio
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs import Jobs, SchemaMismatch, StoreCorrupt, StoreUnavailable, Task
from fcgi_async.jobs.record import Lane, Limits, Query, Settlement
from fcgi_async.jobs.sql import schema
from fcgi_async.jobs.sql.filesystem import filesystem_magic
from fcgi_async.jobs.sql.migrations import MIGRATIONS, Migrating
from fcgi_async.jobs.sql.sqlite_store import SQLiteStore
from tests.jobs.polling import until
from tests.jobs.records import job

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parent.parent.parent
MAIL = [Lane(queue="default", weight=1, tasks=(Limits(task="mail", on_loss="again", attempts=5),))]
TASK = Task("mail", "/mail.php")


@asynccontextmanager
async def opened(path: Path, **settings: object) -> AsyncIterator[SQLiteStore]:
    """An open store."""
    store = SQLiteStore(path, **settings)  # type: ignore[arg-type]
    await store.open()
    try:
        yield store
    finally:
        await store.aclose()


def run_python(source: str, *arguments: str | Path) -> subprocess.Popen[bytes]:
    """Start Python with a source."""
    return subprocess.Popen(
        [sys.executable, "-c", source, *map(str, arguments)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )


# the disk


def test_a_full_disk_is_reported_and_nothing_is_lost(tmp_path: Path) -> None:
    """What was put is there, what was refused is not, and it goes on once there is room."""
    space = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-rm"]
    probe = subprocess.run([*space, "mount", "-t", "tmpfs", "tmpfs", tmp_path], check=False, capture_output=True)
    # a container may forbid mounting: then SQLite itself bounds the file
    command = [*space, sys.executable] if probe.returncode == 0 else [sys.executable]
    how = "mount" if probe.returncode == 0 else "quota"
    done = subprocess.run(
        [*command, "-m", "tests.jobs.full_disk", tmp_path, how],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        timeout=100,
    )
    seen = json.loads(done.stdout)
    assert seen["errors"] == ["StoreFull", "StoreFull"]
    assert seen["kept"] is True
    assert (seen["full"], seen["after"]) == ("StoreFull", "settled")
    assert seen["total"] == seen["stored"] + 1 > 10


async def test_a_network_disk_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fcgi_async.jobs.sql.filesystem.filesystem_magic", lambda folder: 0x6969)
    with pytest.raises(StoreUnavailable, match=r"is on NFS, .*put the file on a local disk"):
        await SQLiteStore(tmp_path / "jobs.db").open()
    assert not (tmp_path / "jobs.db").exists()


def test_the_kind_of_a_disk_is_known() -> None:
    """proc's is 0x9fa0, whatever the machine."""
    assert filesystem_magic(Path("/proc")) == 0x9FA0
    assert filesystem_magic(Path("/none/such")) is None


# the file


async def test_a_file_that_is_not_a_database_is_reported(tmp_path: Path) -> None:
    (tmp_path / "jobs.db").write_bytes(b"not a database, and long enough to be looked at" * 100)
    with pytest.raises(StoreCorrupt, match="restore it from a backup"):
        await SQLiteStore(tmp_path / "jobs.db").open()


async def test_a_damaged_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path) as store:
        await store.put([job(data=f'"{"x" * 500}"') for _ in range(1000)])
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(path.read_bytes())
    # after the pages of the schema
    for start in range(64 * 4096, len(content), 4096):
        content[start : start + 64] = b"\xff" * 64
    path.write_bytes(content)
    async with opened(path) as store:
        with pytest.raises(StoreCorrupt):
            await store.find(Query(limit=1000))


@contextmanager
def nobody(tmp_path: Path) -> Iterator[None]:
    """Go on as a user who may enter the folder and write to nothing: root may write to everything."""
    if os.geteuid() != 0:
        yield
        return
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


async def test_a_read_only_file_is_reported(tmp_path: Path) -> None:
    path = tmp_path / "jobs.db"
    async with opened(path):
        pass
    path.chmod(0o444)
    with nobody(tmp_path):
        with pytest.raises(
            StoreUnavailable, match=r"jobs\.db: .*(cannot be written to by this|must be allowed to write)"
        ):
            await SQLiteStore(path).open()


async def test_a_missing_folder_is_reported(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="its folder must be there"):
        await SQLiteStore(tmp_path / "none" / "jobs.db").open()


async def test_a_file_removed_in_use_is_reported(tmp_path: Path) -> None:
    """Nothing is written into a file that nobody will find; the next call makes a new one."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.put([job()])
        for ending in ("", "-wal", "-shm"):
            os.unlink(tmp_path / f"jobs.db{ending}")
        with pytest.raises(StoreUnavailable, match="was removed or replaced"):
            await store.put([job()])
        assert await store.put([job()]) == [None]
        assert (await store.counts()).states["ready"] == 1


@pytest.mark.parametrize(
    ("url", "what"),
    [("sqlite://", "names no file"), ("sqlite:///", "names no file"), ("redis://x", "is not a store"), (3, "a Path")],
)
async def test_a_path_that_is_not_a_file_is_refused(url: str, what: str) -> None:
    with pytest.raises(ConfigurationError, match=what):
        Jobs(url)


async def test_a_file_in_place_of_the_folder_is_reported(tmp_path: Path) -> None:
    (tmp_path / "jobs.db-live").touch()
    with pytest.raises(StoreUnavailable, match=r"jobs\.db-live"):
        await SQLiteStore(tmp_path / "jobs.db").open()


# versions


def test_processes_can_open_an_empty_file_at_the_same_time(tmp_path: Path) -> None:
    source = (
        "import anyio, sys, time; from pathlib import Path; from fcgi_async.jobs import *\n"
        "async def main():\n"
        "    while time.time() < float(sys.argv[2]): pass\n"
        "    async with Jobs(Path(sys.argv[1])) as jobs: await jobs.enqueue(Task('mail', '/mail.php'))\n"
        "anyio.run(main)\n"
    )
    begin = time.time() + 2
    processes = [run_python(source, tmp_path / "jobs.db", str(begin)) for _ in range(4)]
    assert [process.wait(60) for process in processes] == [0] * 4
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        assert connection.execute("SELECT count(*) FROM fcgi_jobs").fetchone() == (4,)
        assert connection.execute("SELECT version FROM fcgi_schema").fetchall() == [(schema.VERSION,)]
    for process in processes:
        process.communicate()


async def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db"):
        pass
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
        connection.execute("UPDATE fcgi_schema SET version = 99")
    with pytest.raises(SchemaMismatch, match=rf"are of version 99, and this release knows {schema.VERSION}: .*upgrade"):
        await SQLiteStore(tmp_path / "jobs.db").open()


async def test_an_older_schema_is_migrated_in_one_transaction(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails leaves it as it was; the jobs stay."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.put([job()])
    monkeypatch.setattr("fcgi_async.jobs.sql.dialect.VERSION", schema.VERSION + 1)
    statements = ["ALTER TABLE fcgi_jobs ADD COLUMN colour TEXT", "WRONG"]

    def migrate(dialect: Migrating) -> None:
        for statement in statements:
            dialect.change(statement)

    monkeypatch.setitem(MIGRATIONS, schema.VERSION, migrate)
    with pytest.raises(StoreUnavailable, match="syntax error"):
        await SQLiteStore(tmp_path / "jobs.db").open()
    statements.pop()
    async with opened(tmp_path / "jobs.db") as store:
        assert len(await store.find(Query())) == 1
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection:
        assert connection.execute("SELECT version, colour FROM fcgi_schema, fcgi_jobs").fetchall() == [
            (schema.VERSION + 1, None)
        ]


async def test_tables_of_another_program_are_refused(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
        connection.execute("CREATE TABLE fcgi_jobs (x)")
    with pytest.raises(SchemaMismatch, match="is not ours"):
        await SQLiteStore(tmp_path / "jobs.db").open()


# inserted by others


async def test_a_plain_insert_is_a_job(tmp_path: Path) -> None:
    """The table is a contract: task and data are enough."""
    async with opened(tmp_path / "jobs.db") as store:
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
            connection.execute("""INSERT INTO fcgi_jobs (task, data) VALUES ('mail', '{"a": 1}')""")
        [record] = await store.find(Query())
        assert (record.state, record.data, len(record.id)) == ("ready", '{"a": 1}', 32)
        assert abs(record.due - time.time()) < 60
        claim = await store.claim("w", MAIL, 1, durable=False)
        assert [claimed.id for claimed in claim.jobs] == [record.id]


async def test_a_statement_puts_with_the_callers_transaction(tmp_path: Path) -> None:
    """Committed with what else it holds, or not at all."""
    async with Jobs(tmp_path / "jobs.db") as jobs:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            for end in ("ROLLBACK", "COMMIT"):
                connection.execute("BEGIN")
                connection.execute(
                    *jobs.statement(TASK, {"order": 7}, delay=60, priority=3, unique="7", unique_for=600)
                )
                connection.execute(end)
                assert len(await jobs.find()) == (end == "COMMIT")
            with pytest.raises(sqlite3.IntegrityError):
                connection.execute(*jobs.statement(TASK, unique="7"))
            connection.execute(*jobs.statement(TASK, id="mine"))
        later, now = await jobs.find()
        assert (later.data, later.state, later.priority, later.unique) == ('{"order":7}', "delayed", 3, "7")
        assert 59 < later.due - later.created < 61
        assert (now.id, now.state, now.data) == ("mine", "ready", "null")


# the clock


async def test_ready_jobs_run_after_the_clock_is_set_back(tmp_path: Path) -> None:
    """What was put before is ready all the same; what is delayed is due later by as much."""
    now = [1_800_000_000.0]
    async with opened(tmp_path / "jobs.db", clock=lambda: now[0]) as store:
        await store.put([job(), job(delay=10), job()])
        now[0] -= 86400
        [first, second] = (await store.claim("w", MAIL, 10, durable=False)).jobs
        settlements = [Settlement(number=each.number, id=each.id, attempt=1, state="ready") for each in (first, second)]
        assert await store.settle("w", settlements) == [True, True]
        assert len((await store.claim("w", MAIL, 10, durable=False)).jobs) == 2
        now[0] += 2 * 86400
        assert len((await store.claim("w", MAIL, 10, durable=False)).jobs) == 1


# bells and workers


async def test_a_full_or_dead_bell_blocks_no_call(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as store, opened(tmp_path / "jobs.db") as other:
        dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        dead.bind(str(tmp_path / "jobs.db-live" / "work-dead.bell"))
        dead.close()
        (tmp_path / "jobs.db-live" / "work-file.bell").touch()
        heard = await store.wait("work", -1, 0)
        with anyio.fail_after(60):
            for _ in range(500):
                await other.put([job()])
            assert await store.wait("work", heard, 60) != heard
        assert not (tmp_path / "jobs.db-live" / "work-dead.bell").exists()


async def test_without_a_folder_for_bells_it_only_takes_longer(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as store:
        (tmp_path / "jobs.db-live").rmdir()
        heard = await store.wait("work", -1, 0)
        await store.put([job()])
        assert await store.wait("work", heard, 0.01) != heard


async def test_a_path_of_any_length_has_bells(tmp_path: Path) -> None:
    """Longer than the address of a unix socket may be."""
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    async with opened(folder / "jobs.db") as store:
        heard = await store.wait("work", -1, 0)
        await store.put([job()])
        with anyio.fail_after(20):
            assert await store.wait("work", heard, 60) != heard


async def test_a_worker_whose_file_is_gone_is_lost(tmp_path: Path) -> None:
    """As after a crash of the machine that took the folder along: its jobs may have run."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.put([job()])
        [claimed] = (await store.claim("ghost", MAIL, 1, durable=False)).jobs
        assert await store.recover() == 1
        [record] = await store.find(Query())
        assert (record.id, record.state, record.failed) == (claimed.id, "ready", 1)


async def test_a_job_that_its_script_completed_is_done(tmp_path: Path) -> None:
    """Whatever its worker says later, and if nobody says anything."""
    async with opened(tmp_path / "jobs.db") as store:
        await store.put([job(), job()])
        first, second = (await store.claim("w", MAIL, 2, durable=False)).jobs
        with closing(sqlite3.connect(tmp_path / "jobs.db")) as connection, connection:
            connection.execute("UPDATE fcgi_jobs SET state = 'done', finished = 1")
        failed = Settlement(number=first.number, attempt=1, state="delayed", counts=True, error="lost")
        assert await store.settle("w", [failed]) == [True]
        assert await store.recover() == 1
        records = await store.find(Query(ids=(first.id, second.id)))
        assert [(record.state, record.failed, record.worker) for record in records] == [("done", 0, None)] * 2
        assert all(record.keep_until for record in records)


async def test_calls_wait_while_another_process_locks_the_file(tmp_path: Path) -> None:
    async with opened(tmp_path / "jobs.db") as store:
        with closing(sqlite3.connect(tmp_path / "jobs.db", isolation_level=None)) as connection:
            connection.execute("BEGIN IMMEDIATE")
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.put, [job()])
                await anyio.wait_all_tasks_blocked()
                connection.execute("COMMIT")

        async def is_there() -> bool:
            return (await store.counts()).states["ready"] == 1

        await until(is_there)
