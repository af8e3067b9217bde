"""A worker on a real PHP-FPM."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

import anyio
import attrs
import pytest

from fcgi_async import ConfigurationError, Dispatcher, Endpoint, LocalFPM
from fcgi_async.jobs import (
    Backoff,
    DuplicateJob,
    JobHandle,
    Jobs,
    JobUnsuccessful,
    PayloadTooLarge,
    ResultNotKept,
    ResultTimeout,
    Task,
    UnknownJob,
    Worker,
)
from fcgi_async.jobs.record import Lane, Query
from fcgi_async.jobs.store import Claim
from tests.eventually import eventually
from tests.jobs.conftest import Execute, OpenJobs
from tests.jobs.polling import until
from tests.jobs.records import job

pytestmark = [pytest.mark.anyio, pytest.mark.every_loop]

SCRIPT = Path(__file__).parent / "scripts" / "job.php"
NOW = Backoff(first=0)


def task(name: str = "job", **settings: object) -> Task:
    return Task(name, SCRIPT, **{"backoff": NOW, **settings})  # type: ignore[arg-type]


KEPT = task(keep_result=60)


@asynccontextmanager
async def working(fpm: LocalFPM, jobs: Jobs, *tasks: Task, share: int = 2, **settings: object) -> AsyncIterator[Worker]:
    """A worker that runs beside the block, and is stopped at its end."""
    async with Dispatcher(Endpoint(fpm.address, max_children=share)) as php:
        worker = Worker(php, jobs, tasks, **settings)  # type: ignore[arg-type]
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            yield worker
            worker.stop()


@attrs.frozen
class Gate:
    """A file that scripts wait for."""

    path: Path

    def open(self) -> None:
        """Let them go on."""
        self.path.touch()

    def __str__(self) -> str:
        return str(self.path)


@pytest.fixture
def gate(tmp_path: Path) -> Iterator[Gate]:
    """A gate that is opened at the end of the test, if not before."""
    gate = Gate(tmp_path / "gate")
    yield gate
    gate.open()


def marks(file: Path) -> Counter[str]:
    """How often each job has begun."""
    lines = file.read_text().splitlines() if file.exists() else []
    return Counter(line.split()[0] for line in lines if line.endswith("+"))


async def test_a_job_runs_and_its_response_is_there(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    """PHP gets the data as JSON, and who it is."""
    jobs = await open_jobs()
    async with working(fpm, jobs, KEPT):
        handle = await jobs.enqueue(KEPT, {"year": 2026})
        response = await handle.result(timeout=30)
        assert response.status == 200
        assert response.json() == {
            "data": {"year": 2026},
            "id": handle.id,
            "attempt": "1",
            "task": "job",
            "query": f"fcgi_job={handle.id}",
            "method": "POST",
            "type": "application/json",
            "trace": None,
        }
        record = await jobs.get(handle.id)
        assert (record.state, record.queue, record.failed, record.status) == ("done", "default", 0, 200)


async def test_jobs_that_were_there_before_are_run(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    """All of them, once each, by two workers."""
    jobs, plain = await open_jobs(), task()
    handles = await jobs.enqueue_many((plain, {"marks": str(tmp_path / "marks")}) for _ in range(300))
    async with working(fpm, jobs, plain), working(fpm, await open_jobs(), plain, ahead=4):
        await until(lambda: _are(jobs, "done", 300))
    assert marks(tmp_path / "marks") == dict.fromkeys((handle.id for handle in handles), 1)


async def test_a_uri_gets_the_id_too(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    plain, asking = task("a", uri="/_jobs/a", keep_result=9), task("b", uri="/_jobs/b?x=1", keep_result=9)
    quiet = task("c", mark_query=False, keep_result=9)
    async with working(fpm, jobs, plain, asking, quiet):
        queries = {}
        for each in (plain, asking, quiet):
            handle = await jobs.enqueue(each)
            seen = cast("dict[str, str]", (await handle.result(30)).json())
            queries[each.name] = seen["query"].replace(handle.id, "ID")
    assert queries == {"a": "fcgi_job=ID", "b": "x=1&fcgi_job=ID", "c": ""}


async def test_a_busy_job_is_retried_until_it_is_dead(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    jobs, busy = await open_jobs(), task(attempts=3)
    async with working(fpm, jobs, busy):
        handle = await jobs.enqueue(busy, {"marks": str(tmp_path / "marks"), "status": 503, "log": "too much"})
        with pytest.raises(JobUnsuccessful, match=r"is dead: PHP answered with status 503; all 3 attempts") as caught:
            await handle.result(30)
        record = caught.value.record
        assert (record.state, record.failed, record.attempt, record.status) == ("dead", 3, 3, 503)
        assert "too much" in str(record.stderr)
        assert marks(tmp_path / "marks")[handle.id] == 3


async def test_a_job_that_may_have_run_is_in_doubt_until_a_person_decides(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path
) -> None:
    jobs, once = await open_jobs(), task(keep_result=60)
    async with working(fpm, jobs, once):
        handle = await jobs.enqueue(once, {"marks": str(tmp_path / "marks"), "status": 500})
        record = await handle.wait(30)
        assert (record.state, record.failed) == ("in_doubt", 1)
        assert await jobs.retry(handle.id) == 1
        await eventually(lambda: marks(tmp_path / "marks")[handle.id] == 2)
        await until(lambda: _is(handle, "in_doubt"))
        assert await jobs.purge(handle.id) == 0
        assert await jobs.purge(handle.id, states=["in_doubt"]) == 1
        with pytest.raises(UnknownJob):
            await handle.result(1)


async def test_a_timed_out_idempotent_job_is_retried(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    jobs, slow = await open_jobs(), task(idempotent=True, run_timeout=0.05, attempts=2)
    async with working(fpm, jobs, slow):
        record = await (await jobs.enqueue(slow, {"marks": str(tmp_path / "marks"), "milliseconds": 300})).wait(30)
        assert (record.state, record.failed) == ("dead", 2)
        assert "JobTimeout" in str(record.error)


async def test_the_script_chooses_the_delay(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs, plain = await open_jobs(), task()
    async with working(fpm, jobs, plain):
        later = await jobs.enqueue(plain, {"headers": ["FCGI-Job: retry;delay=60"]})
        dead = await jobs.enqueue(plain, {"headers": ["FCGI-Job: dead"]})
        assert (await dead.wait(30)).state == "dead"
        await until(lambda: _is(later, "delayed"))
        record = await later.record()
        assert record.failed == 1
        assert record.started is not None
        assert 50 < record.due - record.started < 100


async def test_hostile_records_are_never_executed(fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path) -> None:
    """A path as a name is nobody's task; data is only ever a body; a trace that is none is left out."""
    jobs, plain = await open_jobs(), task(keep_result=60)
    outside = tmp_path / "outside.php"
    outside.write_text(f"<?php touch('{tmp_path}/ran');")
    names = [str(outside), "../job", "job ", "JOB", "'; DROP TABLE fcgi_jobs; --"]
    store = jobs.store
    await store.put([job(name, data="{}") for name in names])
    broken = job("job", data="{not json")
    large = job("job", data=json.dumps("x" * (10 << 20)))
    value = job("job", data='{"PHP_VALUE": "auto_prepend_file=' + str(outside) + '"}', trace="x\r\nPHP_VALUE: y")
    await store.put([broken, large, value])
    async with working(fpm, jobs, plain):
        assert (await jobs.handle(broken.id).wait(30)).state == "dead"
        assert "payload_limit" in str((await jobs.handle(large.id).wait(30)).error)
        seen = cast("dict[str, object]", (await jobs.handle(value.id).result(30)).json())
        assert seen["trace"] is None
    ready = await jobs.find(states=["ready"])
    assert [(record.task, record.attempt) for record in ready] == [(name, 0) for name in names]
    assert not (tmp_path / "ran").exists()


async def test_delayed_jobs_do_not_starve_new_ones(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs, plain = await open_jobs(), task(keep_result=60)
    await jobs.store.put([job("job", delay=3600) for _ in range(10_000)])
    async with working(fpm, jobs, plain):
        assert (await (await jobs.enqueue(plain, {"body": "new"})).result(30)).text == "new"


async def test_a_delayed_job_begins_when_it_is_due(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs, plain = await open_jobs(), task()
    async with working(fpm, jobs, plain):
        handle = await jobs.enqueue(plain, delay=0.3)
        record = await handle.wait(30)
        assert record.started is not None
        assert record.started >= record.due


async def test_a_paused_queue_can_be_resumed(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    jobs, paused, other = await open_jobs(), task("mail", queue="mail"), task("report")
    await jobs.pause("mail")
    async with working(fpm, jobs, paused, other):
        waits = await jobs.enqueue(paused)
        assert (await (await jobs.enqueue(other)).wait(30)).state == "done"
        assert (await waits.record()).state == "ready"
        await jobs.resume("mail")
        assert (await waits.wait(30)).state == "done"


async def test_stopping_finishes_running_jobs_and_gives_the_others_back(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate
) -> None:
    jobs, plain = await open_jobs(), task()
    data = {"marks": str(tmp_path / "marks"), "gate": str(gate)}
    await jobs.enqueue_many((plain, data) for _ in range(10))
    async with working(fpm, jobs, plain, share=2, ahead=3) as worker:
        await eventually(lambda: len(marks(tmp_path / "marks")) == 2)
        assert 2 < worker.in_hand <= 5
        worker.stop()
        gate.open()
    counts = await jobs.counts()
    assert (counts.states["done"], counts.states["ready"], counts.workers) == (2, 8, ())
    assert {record.failed for record in await jobs.find()} == {0}


async def test_a_job_unfinished_at_the_stop_may_have_run(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate
) -> None:
    jobs, once, again = await open_jobs(), task("once"), task("again", idempotent=True)
    data = {"marks": str(tmp_path / "marks"), "gate": str(gate)}
    first, second = await jobs.enqueue(once, data), await jobs.enqueue(again, data)
    async with working(fpm, jobs, once, again, shutdown_timeout=0.01) as worker:
        await eventually(lambda: len(marks(tmp_path / "marks")) == 2)
        worker.stop()
    gate.open()
    assert (await first.record()).state == "in_doubt"
    assert (await second.record()).state == "delayed"
    assert (await jobs.counts()).workers == ()


async def test_cancelling_the_worker_settles_running_jobs(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate
) -> None:
    jobs, once = await open_jobs(), task()
    data = {"marks": str(tmp_path / "marks"), "gate": str(gate)}
    handle = await jobs.enqueue(once, data)
    async with Dispatcher(fpm.address, max_children=1) as php:
        async with anyio.create_task_group() as group:
            group.start_soon(Worker(php, jobs, [once]).run)
            await eventually(lambda: marks(tmp_path / "marks"))
            group.cancel_scope.cancel()
    gate.open()
    assert (await handle.record()).state == "in_doubt"
    assert (await jobs.counts()).workers == ()


async def test_a_worker_claims_no_more_than_it_can_run_and_ahead(
    fpm: LocalFPM, open_jobs: OpenJobs, tmp_path: Path, gate: Gate
) -> None:
    jobs, plain = await open_jobs(), task()
    data = {"marks": str(tmp_path / "marks"), "gate": str(gate)}
    await jobs.enqueue_many((plain, data) for _ in range(20))
    async with working(fpm, jobs, plain, share=2, ahead=0) as worker:
        await eventually(lambda: len(marks(tmp_path / "marks")) == 2)
        assert ((await jobs.counts()).states["running"], worker.in_hand) == (2, 2)
        gate.open()
        await until(lambda: _are(jobs, "done", 20))


async def test_an_idle_worker_takes_no_php_worker(
    fpm: LocalFPM, open_jobs: OpenJobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looks at the database, and leaves PHP to others."""
    jobs, plain = await open_jobs(), task()
    looks: list[int] = []
    claim = jobs.store.claim

    async def counted(worker: str, lanes: Sequence[Lane], count: int, *, durable: bool) -> Claim:
        looks.append(count)
        return await claim(worker, lanes, count, durable=durable)

    monkeypatch.setattr("fcgi_async.jobs.supply._LOOK", 0.01)
    monkeypatch.setattr(jobs.store, "claim", counted)
    async with Dispatcher(Endpoint(fpm.address, max_children=1)) as php:
        worker = Worker(php, jobs, [plain])
        async with anyio.create_task_group() as group:
            group.start_soon(worker.run)
            assert (await (await jobs.enqueue(plain)).wait(30)).state == "done"
            await eventually(lambda: php.statistics().busy + php.statistics().idle == 0)
            opened = php.statistics().connections_opened
            looks.clear()
            await eventually(lambda: len(looks) > 20)
            assert set(looks) == {0}
            assert php.statistics().connections_opened == opened
            worker.stop()


async def test_results(fpm: LocalFPM, open_jobs: OpenJobs) -> None:
    """What is not kept, too long, or not there in time, is said."""
    jobs, plain, short = await open_jobs(), task("plain"), task("short", keep_result=60, result_limit=3)
    waiting = await jobs.enqueue(plain)
    with pytest.raises(ResultTimeout, match="is ready after 0 s"):
        await waiting.result(0)
    with pytest.raises(UnknownJob):
        await jobs.handle("none").result(1)
    async with working(fpm, jobs, plain, short):
        with pytest.raises(ResultNotKept, match="keep_result=SECONDS"):
            await waiting.result(30)
        with pytest.raises(ResultNotKept, match="longer than result_limit=3"):
            await (await jobs.enqueue(short, {"body": "1234"})).result(30)
        assert (await (await jobs.enqueue(short, {"body": "123"})).result(30)).content == b"123"


async def test_invalid_jobs_are_refused(open_jobs: OpenJobs) -> None:
    jobs, plain = await open_jobs(payload_limit=10), task()
    await jobs.enqueue(plain, unique="7", id="mine")
    with pytest.raises(DuplicateJob) as duplicate:
        await jobs.enqueue(plain, unique="7")
    assert (duplicate.value.unique, duplicate.value.id) == ("7", "mine")
    with pytest.raises(PayloadTooLarge):
        await jobs.enqueue_many([(plain, "short"), (plain, "much longer")])
    with pytest.raises(ValueError, match="cannot be written as JSON"):
        await jobs.enqueue(plain, {"x": object()})
    with pytest.raises(ConfigurationError, match="delay must be a number of at least 0"):
        await jobs.enqueue(plain, delay=-1)
    assert [record.id for record in await jobs.find()] == ["mine"]


async def test_a_repeated_put_is_stored_once(open_jobs: OpenJobs) -> None:
    jobs, plain = await open_jobs(), task()
    for _ in range(3):
        await jobs.enqueue(plain, unique="7", id="mine")
    assert [record.id for record in await jobs.store.find(Query())] == ["mine"]


@pytest.mark.parametrize(
    ("tasks", "settings", "what"),
    [
        ([], {}, "is empty"),
        ([task(), task()], {}, "two tasks called 'job'"),
        ([task()], {"queues": {"mail": 1}}, "names mail, and no task has that queue"),
        ([task()], {"queues": {"default": 0}}, "must be a whole number of at least 1"),
        ([task()], {"ahead": -1}, "must be a whole number of at least 0"),
    ],
)
async def test_wrong_arguments_of_a_worker_are_refused(
    open_jobs: OpenJobs, tasks: list[Task], settings: dict, what: str
) -> None:
    jobs = await open_jobs()
    with pytest.raises(ConfigurationError, match=what):
        Worker(Dispatcher("unix:///none.sock", max_children=1), jobs, tasks, **settings)


async def _is(handle: JobHandle, state: str) -> bool:
    return (await handle.record()).state == state


async def _are(jobs: Jobs, state: str, count: int) -> bool:
    return (await jobs.counts()).states[state] == count  # type: ignore[index]


async def test_an_id_that_is_put_again_while_its_job_runs(
    fpm: LocalFPM, open_jobs: OpenJobs, execute: Execute, tmp_path: Path, gate: Gate
) -> None:
    """As a client does when a failover has lost the job. The end of the lost one is not that of the other."""
    jobs, once, last = await open_jobs(), task(), Gate(tmp_path / "last")
    async with working(fpm, jobs, once, shutdown_timeout=0.01) as worker:
        for running, until_open in enumerate([gate, last], 1):
            execute("DELETE FROM fcgi_jobs")
            handle = await jobs.enqueue(
                once, {"marks": str(tmp_path / "marks"), "gate": str(until_open)}, id="put-again"
            )
            await eventually(lambda running=running: marks(tmp_path / "marks").total() == running)  # type: ignore[misc]
        gate.open()
        await eventually(lambda: worker.statistics().lost == 1)
        assert worker.in_hand == 1
        worker.stop()
    last.open()
    assert (await handle.record()).state == "in_doubt"
