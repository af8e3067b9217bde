"""Queues on several databases: each job in its queue's, one worker for all, and one that is away keeps nobody."""

from __future__ import annotations

import secrets
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import pytest

from fcgi_async import ConfigurationError, Dispatcher, Endpoint, LocalFPM
from fcgi_async.jobs import Backoff, Cron, Databases, Jobs, StoreUnavailable, Task, Worker
from fcgi_async.jobs.record import Counts, WorkerRecord, add_counts
from fcgi_async.jobs.supply import Supply, pick
from tests.jobs.conftest import LEASE
from tests.jobs.polling import until
from tests.jobs.servers import MariaDB, Postgres, perform

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

SCRIPT = str(Path(__file__).parent / "scripts" / "job.php")
MAIL = Task("mail", SCRIPT, queue="mail", keep_result=60, idempotent=True, backoff=Backoff(first=0))
REPORT = Task("report", SCRIPT, keep_result=60)
TASKS = [MAIL, REPORT]


@pytest.fixture(params=["sqlite sqlite", "sqlite postgres", "postgres mariadb"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, str]]:
    """Two empty databases, of kinds that are often seen together."""
    made, undo = [], []
    for number, kind in enumerate(request.param.split()):
        if kind == "sqlite":
            made.append(f"sqlite://{tmp_path / f'{number}.db'}")
            continue
        server: Postgres | MariaDB = request.getfixturevalue(kind)
        name = f"test_{secrets.token_hex(8)}"
        made.append(server.empty(name))
        undo.append((server, name))
    yield made[0], made[1]
    for server, name in undo:
        server.drop(name)


@pytest.fixture
def two_files(tmp_path: Path) -> Databases:
    """The queue `mail` in one file, all others in another."""
    return Databases({"mail": tmp_path / "mail.db"}, others=tmp_path / "others.db")


@asynccontextmanager
async def working(
    fpm: LocalFPM, databases: Databases, *, share: int = 2, tasks: list[Task] = TASKS, **settings: object
) -> AsyncIterator[Worker]:
    """A worker that runs beside the block, and is stopped at its end."""
    async with Dispatcher(Endpoint(fpm.address, max_children=share)) as php:
        worker = Worker(php, databases, tasks, **settings)  # type: ignore[arg-type]
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield worker
            worker.stop()


async def test_each_job_is_kept_in_its_queues_database(fpm: LocalFPM, urls: tuple[str, str]) -> None:
    """And one worker runs them all, with one name everywhere."""
    async with Databases({"mail": urls[0]}, others=urls[1], lease=LEASE) as databases:
        handles = [await databases.enqueue(task, {"body": task.name}) for task in [*TASKS] * 20]
        async with working(fpm, databases) as worker:
            assert [(await handle.result(30)).text for handle in handles] == ["mail", "report"] * 20
            counted = [await jobs.counts() for jobs in databases.all]
            assert [[one.id for one in counts.workers] for counts in counted] == [[worker.id]] * 2
        assert [set(counts.tasks) for counts in counted] == [{"mail"}, {"report"}]
        assert [(await jobs.counts()).workers for jobs in databases.all] == [(), ()]
        await until(lambda: _settled(worker))
        assert worker.statistics().ended == {"done": 40}


async def _settled(worker: Worker) -> bool:
    return worker.statistics().in_hand == 0


async def test_a_database_that_is_killed_stops_its_own_queue(fpm: LocalFPM, mariadb: MariaDB) -> None:
    """The other's jobs go on meanwhile, and its own as soon as it is back."""
    name = f"test_{secrets.token_hex(8)}"
    with Postgres() as server:
        queues = {"mail": server.empty("mail")}
        async with Databases(queues, others=mariadb.empty(name), lease=LEASE) as databases, working(fpm, databases):
            await (await databases.enqueue(MAIL)).result(30)
            server.kill()
            with pytest.raises(StoreUnavailable):
                await databases.enqueue(MAIL)
            for _ in range(10):
                await (await databases.enqueue(REPORT)).result(30)
            server.start()
            await until(lambda: _can_put(databases))
            await (await databases.enqueue(MAIL)).result(30)
    mariadb.drop(name)


async def test_a_database_may_be_unreachable_at_the_start(fpm: LocalFPM, tmp_path: Path) -> None:
    """It is connected to, its tables are made, and the worker announced, once it is there."""
    with Postgres() as server:
        url = server.empty("mail")
        server.kill()
        async with Databases({"mail": url}, others=tmp_path / "jobs.db") as databases, working(fpm, databases):
            await (await databases.enqueue(REPORT)).result(30)
            server.start()
            await until(lambda: _can_put(databases))
            await (await databases.enqueue(MAIL)).result(30)


async def _can_put(databases: Databases) -> bool:
    try:
        await databases.enqueue(MAIL)
    except StoreUnavailable:
        return False
    return True


async def test_a_worker_needs_at_least_one_reachable_database(tmp_path: Path) -> None:
    """An address that is wrong shows at once; and they can be entered later."""
    folder = tmp_path / "later"
    databases = Databases({"mail": folder / "mail.db"}, others=folder / "others.db")
    with pytest.raises(StoreUnavailable):
        async with databases:
            pass
    folder.mkdir()
    async with databases:
        await databases.enqueue(MAIL)


async def test_an_unresponsive_database_occupies_no_php_worker(
    fpm: LocalFPM, two_files: Databases, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The only PHP worker is in hand for its job when it falls silent."""
    asked = anyio.Event()

    async def never(*arguments: object, **settings: object) -> None:
        asked.set()
        await anyio.sleep_forever()

    async with two_files as databases:
        await databases.of(MAIL).enqueue_many((MAIL, None) for _ in range(5))
        monkeypatch.setattr(databases.of(MAIL).store, "claim", never)
        async with working(fpm, databases, share=1):
            await asked.wait()
            for _ in range(5):
                await (await databases.enqueue(REPORT)).result(30)


async def test_queues_of_several_databases_take_turns_by_weight(
    fpm: LocalFPM, two_files: Databases, tmp_path: Path
) -> None:
    """A backlog in one does not keep the other waiting."""
    marks = tmp_path / "marks"
    async with two_files as databases:
        for task in TASKS:
            await databases.of(task).enqueue_many((task, {"marks": str(marks), "body": "x"}) for _ in range(60))
        names = {record.id: record.task for jobs in databases.all for record in await jobs.find()}
        async with working(fpm, databases, share=1, ahead=0, queues={"mail": 3, "default": 1}) as worker:

            async def are_done() -> bool:
                return worker.statistics().ended.get("done", 0) == 120

            await until(are_done)
    begun = [line.split()[0] for line in marks.read_text().splitlines() if line.endswith("+")]
    first = Counter(names[id] for id in begun[:40])
    assert 25 <= first["mail"] <= 35
    assert first["report"] >= 5


def test_turns_are_smooth() -> None:
    """With weights 3 and 1 every fourth turn is the second's; one that is closed saves nothing up for long."""
    first, second = _Open(3), _Open(1)
    both = cast("list[Supply]", [first, second])
    assert [pick(both) for _ in range(8)].count(cast("Supply", second)) == 2
    second.is_open = False
    assert [pick(both) for _ in range(8)] == both[:1] * 8
    second.is_open = True
    assert [pick(both) for _ in range(8)].count(cast("Supply", second)) == 2
    first.is_open = second.is_open = False
    assert pick(both) is None


class _Open:
    """What `pick()` looks at."""

    def __init__(self, weight: int) -> None:
        self.weight, self.credit, self.is_open = weight, 0, True


async def test_schedules_are_stored_with_their_tasks(fpm: LocalFPM, two_files: Databases) -> None:
    """Each in its own database, also one whose task is another worker's."""
    crons = [Cron("mails", "* * * * * *", MAIL), Cron("reports", "* * * * * *", REPORT)]
    async with two_files as databases, working(fpm, databases, tasks=[REPORT], schedules=crons):
        await until(lambda: _has(databases.of(MAIL), "ready"))
        await until(lambda: _has(databases.of(REPORT), "done"))
        assert {record.task for record in await databases.of(MAIL).find()} == {"mail"}


async def _has(jobs: Jobs, state: str) -> bool:
    return bool([record for record in await jobs.find() if record.state == state])


async def test_batches_and_chains_across_databases_are_refused(two_files: Databases) -> None:
    """Nothing of it is stored: a transaction has one database."""
    async with two_files as databases:
        mails = databases.of("mail")
        with pytest.raises(ConfigurationError, match="a batch or a chain lies in one database"):
            await mails.chain((MAIL, None), REPORT)
        with pytest.raises(ConfigurationError, match="queue 'default' of task 'report'"):
            mails.batch(then=REPORT)
        with pytest.raises(ConfigurationError, match="another database"):
            await mails.enqueue_many([(MAIL, None), (REPORT, None)])
        with pytest.raises(ConfigurationError, match="another database"):
            mails.statement(REPORT)
        async with databases.of(REPORT).batch() as batch:
            with pytest.raises(ConfigurationError, match="another database"):
                await batch.add(MAIL)
        assert [await jobs.find() for jobs in databases.all] == [[], []]


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Databases({}), "is empty"),
        (lambda: Databases("sqlite:///jobs.db"), "must be a mapping"),  # type: ignore[arg-type]
        (lambda: Databases({"no name": "sqlite:///jobs.db"}), "the queue of Databases must be"),
        (lambda: Databases({"mail": "redis://host"}), "is not a store of jobs"),
        (lambda: Databases({"mail": "sqlite:///jobs.db"}).of(REPORT), "no database is named for queue 'default'"),
    ],
)
def test_mistakes_are_reported(make: Callable[[], object], said: str) -> None:
    """Each with what is wrong."""
    with pytest.raises(ConfigurationError, match=said):
        make()


async def test_a_worker_needs_a_database_for_each_queue(fpm: LocalFPM, tmp_path: Path) -> None:
    """A task that nobody could put a job of is a mistake."""
    async with Dispatcher(fpm.address, max_children=1) as php:
        with pytest.raises(ConfigurationError, match="no database is named for queue 'default'"):
            Worker(php, Databases({"mail": tmp_path / "jobs.db"}), TASKS)


async def test_databases_can_be_entered_once(two_files: Databases) -> None:
    """As `Jobs` is; and again after they were left."""
    async with two_files:
        with pytest.raises(ConfigurationError, match="entered already"):
            async with two_files:
                pass
    async with two_files as databases:
        await databases.enqueue(REPORT)


def test_queues_may_share_a_database(tmp_path: Path) -> None:
    """One URL is one connection."""
    databases = Databases({"mail": tmp_path / "a.db", "sms": tmp_path / "a.db"}, others=tmp_path / "b.db")
    assert databases.of("mail") is databases.of("sms")
    assert len(databases.all) == 2


def test_counts_of_several_databases_are_added() -> None:
    """What has not been counted yet is left out; a worker of several is one."""
    worker = WorkerRecord(id="w", host="h", pid=1, started=0.0, seen=time.time())
    first = Counts(states={"ready": 2}, tasks={"a": {"ready": 2}}, paused=("p",), oldest=3.0, workers=(worker,))
    second = Counts(states={"ready": 1, "dead": 1}, tasks={"b": {"ready": 1}}, paused=(), oldest=9.0, workers=(worker,))
    assert add_counts([None, None]) is None
    assert add_counts([None, first]) is first
    both = add_counts([first, second])
    assert both is not None
    assert (both.states["ready"], both.states["dead"], both.oldest, both.workers) == (3, 1, 9.0, (worker,))
    assert (set(both.tasks), both.paused) == ({"a", "b"}, ("p",))


async def test_only_a_databases_own_tasks_are_claimed_from_it(fpm: LocalFPM, two_files: Databases) -> None:
    """A record that PHP has put into the wrong one waits there, where people see it."""
    async with two_files as databases, working(fpm, databases):
        url = f"sqlite://{databases.of(MAIL).store.php_params()['FCGI_JOB_DSN'].removeprefix('sqlite:')}"
        perform(url, "INSERT INTO fcgi_jobs (task, data) VALUES ('report', 'null'), ('mail', 'null')")
        await until(lambda: _has(databases.of(MAIL), "done"))
        assert [record.task for record in await databases.of(MAIL).find(states=["ready"])] == ["report"]
