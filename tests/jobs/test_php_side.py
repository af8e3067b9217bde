"""fcgi_jobs.php on a real PHP-FPM, with each database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
import pytest

import fcgi_async.jobs
from fcgi_async import Dispatcher, Job, LocalFPM, Response
from fcgi_async.jobs import Jobs, Task, Worker
from tests.conftest import StartFPM
from tests.eventually import eventually
from tests.jobs.conftest import ON_MARIADB, ON_POSTGRES, ON_SERVERS, ON_SQLITE
from tests.jobs.pdo import pdo_place
from tests.jobs.polling import until
from tests.jobs.servers import MariaDB, perform

# what is tested is PHP
pytestmark = [pytest.mark.anyio, pytest.mark.parametrize("anyio_backend", ["asyncio", "trio"])]

SCRIPT = Path(__file__).parent / "scripts" / "php_side.php"
LIBRARY = Path(fcgi_async.jobs.__file__).parent / "fcgi_jobs.php"
TASK = Task("side", SCRIPT, keep_result=60)
# clocks in Berlin show 2:30 at both
SUMMER, WINTER = 1761438600, 1761442200


@pytest.fixture
async def php_fpm(start_fpm: StartFPM) -> LocalFPM:
    """A PHP-FPM with the system's extensions: PDO's drivers are some."""
    return await start_fpm(max_children=2, system_ini=True)


@pytest.fixture
def url(jobs_url: str) -> Iterator[str]:
    """The database; SQLite's in a folder whose name is short: PHP cannot name a socket by more than 107 bytes."""
    if not jobs_url.startswith("sqlite:"):
        yield jobs_url
        return
    with TemporaryDirectory(prefix="jobs-") as folder:
        yield f"sqlite://{folder}/jobs.db"


def what(url: str, do: str, **more: object) -> dict[str, object]:
    """The data of a job that uses the library."""
    return {"library": str(LIBRARY), **pdo_place(url), "do": do, **more}


async def call(php: Dispatcher, url: str, do: str, **more: object) -> Response:
    """Have PHP use the library, outside any durable job."""
    return await php.run(Job(SCRIPT, json=what(url, do, **more)))


async def test_php_puts_a_job(php_fpm: LocalFPM, url: str) -> None:
    """It is what a client's would be, and wakes a worker."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        heard = await jobs.store.wait("work", -1, 0)
        arguments = {"task": "mail", "data": {"to": "ä", "n": 1.0}, "delay": 60, "priority": 3}
        response = await call(php, url, "enqueue", arguments=arguments)
        assert response.status == 200, response.text
        assert await jobs.store.wait("work", heard, 30) != heard
        [record] = await jobs.find()
        assert (record.id, record.task, record.state, record.priority) == (response.json(), "mail", "delayed", 3)
        assert record.data == '{"to":"\\u00e4","n":1.0}'
        assert record.due - record.created == pytest.approx(60, abs=0.01)
        # by the same clock as a client's
        await jobs.enqueue(TASK)
        [_, later] = await jobs.find()
        assert -1 < later.created - record.created < 60


async def test_php_respects_unique_keys(php_fpm: LocalFPM, url: str) -> None:
    """Those of Python's side too; the same id is stored once."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        await jobs.enqueue(TASK, unique="ä 7")
        held = await call(php, url, "enqueue", arguments={"task": "side", "unique": "ä 7"})
        assert (held.status, held.json()) == (200, None)
        for _ in range(2):
            stored = await call(php, url, "enqueue", arguments={"task": "side", "unique": "8", "id": "mine"})
            assert (stored.status, stored.json()) == (200, "mine")
        assert len(await jobs.find()) == 2


async def test_a_key_is_held_for_its_time(php_fpm: LocalFPM, url: str) -> None:
    """At least, though its job has ended."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        arguments = {"task": "side", "unique": "7", "uniqueFor": 600}
        first = str((await call(php, url, "enqueue", arguments=arguments)).json())
        assert await jobs.cancel(first) == 1
        assert (await call(php, url, "enqueue", arguments=arguments)).json() is None
        # as if the time was over
        perform(url, "UPDATE fcgi_jobs SET unique_until = 1")
        assert (await call(php, url, "enqueue", arguments=arguments)).json() not in (None, first)


@ON_MARIADB
@pytest.mark.parametrize("found_rows", [False, True])
@pytest.mark.parametrize(("again", "answer"), [({"id": "mine"}, "mine"), ({"unique": "7"}, None)])
async def test_a_job_put_during_the_transaction_is_seen(
    php_fpm: LocalFPM, url: str, tmp_path: Path, found_rows: bool, again: dict[str, str], answer: str | None
) -> None:
    """Though reads of the transaction do not see it, and whatever the driver counts."""
    gate = tmp_path / "gate"
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE orders (number INTEGER)")
        responses: list[Response] = []

        async def run() -> None:
            more = {"found_rows": found_rows, "commit": True, "snapshot": str(gate)}
            responses.append(await call(php, url, "transaction", arguments={"task": "side", **again}, **more))

        async with anyio.create_task_group() as group:
            group.start_soon(run)
            await eventually(Path(f"{gate}.waits").exists)
            await jobs.enqueue(TASK, id="mine", unique="7")
            gate.touch()
        assert (responses[0].status, responses[0].json()) == (200, answer)
        assert [record.id for record in await jobs.find()] == ["mine"]


@ON_MARIADB
async def test_an_open_transaction_blocks_no_put(php_fpm: LocalFPM, url: str, tmp_path: Path) -> None:
    """Though MariaDB's usual isolation locks the gaps around what was looked for and not found."""
    gates = tmp_path / "put", tmp_path / "late"
    async with Dispatcher(php_fpm.address, max_children=2) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE orders (number INTEGER)")
        for key in ("order-3", "order-7"):
            await jobs.enqueue(TASK, unique=key)
        responses: list[Response] = []

        async def put() -> None:
            arguments = {"task": "side", "unique": "order-4"}
            responses.append(await call(php, url, "transaction", arguments=arguments, commit=True, gate=str(gates[0])))

        async def complete() -> None:
            params = {"FCGI_JOB_ID": "none", "FCGI_JOB_ATTEMPT": "1"}
            late = Job(SCRIPT, json=what(url, "late", gate=str(gates[1])), params=params)
            responses.append(await php.run(late))

        async with anyio.create_task_group() as group:
            group.start_soon(put)
            group.start_soon(complete)
            for gate in gates:
                await eventually(Path(f"{gate}.waits").exists)
            for other in ("order-3x", "order-5", None):
                await jobs.enqueue(TASK, unique=other)
            for gate in gates:
                gate.touch()
        assert [response.status for response in responses] == [200, 200]
        assert any("no longer holds job none" in response.text for response in responses)
        assert len(await jobs.find()) == 6


@ON_MARIADB
async def test_a_transaction_that_takes_over_a_key_blocks_only_its_neighbours(
    php_fpm: LocalFPM, url: str, tmp_path: Path
) -> None:
    """InnoDB locks the places beside a key that was there, until the commit; then those that waited go on."""
    gate = tmp_path / "gate"
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE orders (number INTEGER)")
        for key in ("order-3", "order-7", "order-9"):
            await jobs.enqueue(TASK, unique=key)
        perform(url, "UPDATE fcgi_jobs SET state = 'done', unique_until = 1 WHERE unique_key = 'order-7'")
        arguments = {"task": "side", "unique": "order-7", "id": "again"}
        async with Jobs(url) as neighbours, anyio.create_task_group() as group:
            group.start_soon(lambda: call(php, url, "transaction", arguments=arguments, commit=True, gate=str(gate)))
            await eventually(Path(f"{gate}.waits").exists)
            for key in ("order-5", "order-8"):
                group.start_soon(lambda key=key: neighbours.enqueue(TASK, unique=key))  # type: ignore[misc]
            for other in ("order-1", "order-99", None):
                await jobs.enqueue(TASK, unique=other)
            assert len(await jobs.find()) == 6
            gate.touch()
        found = {record.unique for record in await jobs.find()}
        assert found == {None, *(f"order-{number}" for number in (1, 3, 5, 7, 8, 9, 99))}


@ON_MARIADB
@pytest.mark.parametrize("moment", [SUMMER, WINTER])
async def test_times_do_not_depend_on_the_sessions_time_zone(
    request: pytest.FixtureRequest, php_fpm: LocalFPM, url: str, moment: int
) -> None:
    """Not in the hour that its clocks show twice either."""
    make_time_zone(request.getfixturevalue(request.node.callspec.params["jobs_url"]))
    before = ["SET time_zone = 'Tests/Berlin'", f"SET timestamp = {moment}"]
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        response = await call(php, url, "enqueue", arguments={"task": "mail"}, before=before)
        assert response.status == 200, response.text
        [record] = await jobs.find()
        assert (record.created, record.due) == (moment, moment)


async def test_php_puts_within_its_transaction(php_fpm: LocalFPM, url: str) -> None:
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE orders (number INTEGER)")
        for commit in (False, True):
            response = await call(php, url, "transaction", arguments={"task": "mail"}, commit=commit)
            assert response.status == 200, response.text
            assert len(await jobs.find()) == commit
            assert len(perform(url, "SELECT number FROM orders")) == commit


@ON_POSTGRES
async def test_a_commit_wakes_workers(php_fpm: LocalFPM, url: str, tmp_path: Path) -> None:
    """Neither the put before it nor one that is rolled back does."""
    gate = tmp_path / "gate"
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE orders (number INTEGER)")
        heard = await jobs.store.wait("work", -1, 0)
        await call(php, url, "transaction", arguments={"task": "mail"}, commit=False)
        async with anyio.create_task_group() as group:
            arguments = {"task": "mail"}
            group.start_soon(lambda: call(php, url, "transaction", arguments=arguments, commit=True, gate=str(gate)))
            await eventually(Path(f"{gate}.waits").exists)
            assert await jobs.store.wait("work", heard, 0.05) == heard
            gate.touch()
            assert await jobs.store.wait("work", heard, 60) != heard
        assert len(await jobs.find()) == 1


@ON_SQLITE
async def test_a_transaction_rings_after_its_commit(php_fpm: LocalFPM, url: str) -> None:
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE orders (number INTEGER)")
        heard = await jobs.store.wait("work", -1, 0)
        await call(php, url, "transaction", arguments={"task": "mail"}, commit=True)
        assert await jobs.store.wait("work", heard, 0.05) == heard
        await call(php, url, "transaction", arguments={"task": "mail"}, commit=True, ring=True)
        assert await jobs.store.wait("work", heard, 60) != heard


@pytest.mark.parametrize("commit", [True, False])
async def test_a_job_reports_its_progress(php_fpm: LocalFPM, url: str, tmp_path: Path, commit: bool) -> None:
    """SQLite is found by itself; within a transaction it is told with the commit, or not at all."""
    gate = tmp_path / "gate"
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        worker = Worker(php, jobs, [TASK])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(TASK, what(url, "progress", gate=str(gate), commit=commit))

            async def is_told() -> bool:
                record = await handle.record()
                return (record.progress, record.progress_of) == (3, 10)

            await until(is_told)
            gate.touch()
            record = await handle.wait(30)
            assert (record.state, record.progress) == ("done", 9 if commit else 3)
            worker.stop()


@pytest.mark.parametrize("status", [200, 500])
async def test_a_job_completes_itself_with_its_effects(php_fpm: LocalFPM, url: str, status: int) -> None:
    """Whatever its response says afterwards."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE effects (id VARCHAR(100))")
        worker = Worker(php, jobs, [TASK])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(TASK, what(url, "complete", status=status, commit=True))

            async def is_settled() -> bool:
                record = await handle.record()
                return record.state == "done" and record.worker is None

            await until(is_settled)
            worker.stop()
        record = await handle.record()
        assert (record.failed, record.keep_until is not None) == (0, True)
        assert perform(url, "SELECT id FROM effects") == [(handle.id,)]


async def test_a_rolled_back_completion_does_not_count(php_fpm: LocalFPM, url: str) -> None:
    """The response decides then."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE effects (id VARCHAR(100))")
        worker = Worker(php, jobs, [TASK])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(TASK, what(url, "complete", status=500, commit=False))
            assert (await handle.wait(30)).state == "in_doubt"
            worker.stop()
        assert perform(url, "SELECT id FROM effects") == []


async def test_an_attempt_that_lost_its_job_has_no_effect(php_fpm: LocalFPM, url: str, tmp_path: Path) -> None:
    """An orphan completes nothing once its job was given to another attempt."""
    gate = tmp_path / "gate"
    again = Task("side", SCRIPT, idempotent=True)
    async with Dispatcher(php_fpm.address, max_children=2) as php, Jobs(url) as jobs:
        perform(url, "CREATE TABLE effects (id VARCHAR(100))")
        data = what(url, "complete", status=200, commit=True, gate=str(gate))
        handle = await jobs.enqueue(again, data)
        store = jobs.store
        # announced, and without any other sign of life
        perform(url, "INSERT INTO fcgi_workers (id, host, pid, started, seen) VALUES ('lost', 'host', 1, 0, 0)")
        claim = await store.claim("lost", Worker(php, jobs, [again])._supplies[0].lanes, 1, durable=True)
        orphan = again.job(claim.jobs[0])
        async with anyio.create_task_group() as group:
            responses: list[Response] = []

            async def run() -> None:
                responses.append(await php.run(orphan))

            group.start_soon(run)
            await eventually(Path(f"{gate}.waits").exists)
            perform(url, "DELETE FROM fcgi_workers WHERE id = 'lost'")
            assert await store.recover() == 1
            gate.touch()
        assert responses[0].status == 500
        assert "attempt 1 no longer holds job" in responses[0].text
        assert perform(url, "SELECT id FROM effects") == []
        worker = Worker(php, jobs, [again])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            assert (await handle.wait(30)).state == "done"
            worker.stop()
        assert perform(url, "SELECT id FROM effects") == [(handle.id,)]


async def test_misuse_is_reported(php_fpm: LocalFPM, url: str) -> None:
    """And nothing is written."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        assert "begin a transaction first" in (await call(php, url, "misuse")).text
        assert "does not run as a durable job" in (await call(php, url, "astray", status=500)).text
        for arguments, said in (
            ({"task": "mail", "delay": -1}, "delay must be a number of seconds, 0 or more"),
            ({"task": "mail", "uniqueFor": -1}, "uniqueFor must be"),
            ({"task": "../mail"}, "task must be 1 to 100 letters"),
            ({"task": "mail", "id": "a\n"}, "id must be 1 to 100 letters"),
            ({"task": "mail", "unique": "x" * 201}, "unique must be 1 to 200 printable"),
        ):
            wrong = await call(php, url, "enqueue", arguments=arguments)
            assert said in wrong.text
        assert await jobs.find() == []


@ON_SERVERS
async def test_the_server_must_be_named(php_fpm: LocalFPM, url: str) -> None:
    """The worker tells no script how to reach it: the application knows."""
    async with Dispatcher(php_fpm.address, max_children=1) as php, Jobs(url) as jobs:
        worker = Worker(php, jobs, [TASK])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            handle = await jobs.enqueue(TASK, what(url, "astray", status=200))
            assert "give the PDO of the database" in (await handle.result(timeout=30)).text
            worker.stop()


def make_time_zone(mariadb: MariaDB) -> None:
    """Make a time zone whose clocks are put back an hour between `SUMMER` and `WINTER`."""
    for statement in (
        "REPLACE INTO time_zone_name (Name, Time_zone_id) VALUES ('Tests/Berlin', 7001)",
        "REPLACE INTO time_zone (Time_zone_id, Use_leap_seconds) VALUES (7001, 'N')",
        "REPLACE INTO time_zone_transition_type VALUES (7001, 0, 7200, 1, 'CEST'), (7001, 1, 3600, 0, 'CET')",
        f"REPLACE INTO time_zone_transition VALUES (7001, 0, 0), (7001, {(SUMMER + WINTER) // 2}, 1)",
    ):
        mariadb.execute(statement)
