"""What every store does, whatever its database."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import anyio
import attrs
import pytest

from fcgi_async.jobs.record import (
    Claimed,
    Lane,
    Limits,
    Query,
    Record,
    Settlement,
    State,
    StoredResponse,
)
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_EACH, MakeStore
from tests.jobs.polling import until
from tests.jobs.records import job

pytestmark = [pytest.mark.anyio, ON_EACH]

WORKER = "worker-1"


def lane(*tasks: str, queue: str = "default", weight: int = 1, **limits: object) -> Lane:
    on_loss: Literal["again", "hold", "dead"] = "again"
    return Lane(
        queue=queue,
        weight=weight,
        tasks=tuple(
            Limits(**{"task": task, "on_loss": on_loss, "attempts": 5, **limits})  # type: ignore[arg-type]
            for task in tasks
        ),
    )


MAIL = [lane("mail")]


async def claim(store: Store, count: int = 10, lanes: Sequence[Lane] = MAIL, worker: str = WORKER) -> list[Claimed]:
    await announce(store, worker)
    return list((await store.claim(worker, lanes, count, durable=False)).jobs)


async def announce(store: Store, worker: str = WORKER) -> None:
    """Register a worker that is not yet."""
    if worker not in {record.id for record in (await store.counts()).workers}:
        await store.register(worker, MAIL)


async def one(store: Store) -> Claimed:
    [claimed] = await claim(store)
    return claimed


async def settle(
    store: Store, claimed: Claimed, state: State = "done", worker: str = WORKER, **what: object
) -> bool | None:
    settlement = Settlement(number=claimed.number, id=claimed.id, attempt=claimed.attempt, state=state, **what)  # type: ignore[arg-type]
    return (await store.settle(worker, [settlement]))[0]


async def the(store: Store, id: str, *, content: bool = False) -> Record:
    [record] = await store.find(Query(ids=(id,), content=content))
    return record


# putting


async def test_a_put_job_is_stored(store: Store) -> None:
    new = job(data='{"to": "a"}', priority=3, trace="t", batch="b", chain="[]")
    assert await store.put([new]) == [None]
    record = await the(store, new.id)
    assert (record.task, record.data, record.state, record.priority) == ("mail", '{"to": "a"}', "ready", 3)
    assert (record.trace, record.batch, record.chain, record.attempt, record.worker) == ("t", "b", "[]", 0, None)
    assert record.due == record.created


async def test_putting_the_same_job_again_stores_it_once(store: Store) -> None:
    new = job()
    assert await store.put([new]) == await store.put([new]) == [None]
    assert (await store.counts()).states["ready"] == 1


async def test_many_jobs_are_put_at_once(store: Store) -> None:
    """In their order, each as it was given, and what is there already is left as it is."""
    new = [
        job(data=str(index), priority=index % 3, trace=f"t{index}", delay=3600.0 * (index % 2)) for index in range(150)
    ]
    await store.put([attrs.evolve(new[70], data='"first"')])
    assert await store.put([*new, new[3]]) == [None] * 151
    records = await store.find(Query(limit=200))
    assert records[0].data == '"first"'
    stored = [(record.id, record.data, record.priority, record.trace, record.state) for record in records[1:]]
    assert stored == [
        (job.id, job.data, job.priority, job.trace, "delayed" if job.delay else "ready")
        for job in new
        if job is not new[70]
    ]
    assert {record.due - record.created for record in records} == {0.0, 3600.0}


async def test_another_connection_sees_what_was_put(store: Store, make_store: MakeStore) -> None:
    new = job()
    await store.put([new])
    other = make_store()
    await other.open()
    assert [record.id for record in await other.find(Query())] == [new.id]
    await other.aclose()


async def test_one_job_holds_a_unique_key(store: Store) -> None:
    first, second, elsewhere = job(unique="7"), job(unique="7"), job("report", unique="7")
    assert await store.put([first]) == [None]
    assert await store.put([second, elsewhere]) == [first.id, None]
    assert await store.put([first]) == [None]
    assert (await store.counts()).states["ready"] == 2


async def test_a_done_job_releases_its_key(store: Store) -> None:
    await store.put([job(unique="7")])
    await settle(store, await one(store))
    assert await store.put([job(unique="7")]) == [None]


async def test_a_job_in_doubt_keeps_its_key(store: Store) -> None:
    first = job(unique="7")
    await store.put([first])
    await settle(store, await one(store), state="in_doubt")
    assert await store.put([job(unique="7")]) == [first.id]


async def test_a_key_is_held_for_its_time(store: Store) -> None:
    """For as long as was asked, though the job is done, and no longer."""
    first, second = job(unique="long", unique_for=60), job(unique="short", unique_for=0.05)
    await store.put([first, second])
    for claimed in await claim(store):
        await settle(store, claimed)
    assert await store.put([job(unique="long")]) == [first.id]

    async def let_go() -> bool:
        return await store.put([job(unique="short")]) == [None]

    await until(let_go)


# claiming


async def test_jobs_come_by_priority_then_time_then_number(store: Store) -> None:
    jobs = [job(), job(priority=1), job(), job(priority=-1)]
    await store.put(jobs)
    assert [claimed.id for claimed in await claim(store)] == [jobs[1].id, jobs[0].id, jobs[2].id, jobs[3].id]


async def test_a_claimed_job_is_running_and_not_claimed_again(store: Store) -> None:
    new = job(data="[1]", batch="b")
    await store.put([new])
    [claimed] = await claim(store)
    assert (claimed.id, claimed.data, claimed.attempt, claimed.failed, claimed.follows) == (new.id, "[1]", 1, 0, True)
    assert await claim(store) == []
    record = await the(store, new.id)
    assert (record.state, record.worker, record.attempt) == ("running", WORKER, 1)
    assert record.started is not None


async def test_no_more_are_claimed_than_asked_for(store: Store) -> None:
    await store.put([job() for _ in range(5)])
    assert [len(await claim(store, 2)), len(await claim(store, 9))] == [2, 3]


async def test_tasks_that_a_worker_does_not_know_stay(store: Store) -> None:
    await store.put([job("other"), job("../../etc/passwd"), job()])
    assert [claimed.task for claimed in await claim(store)] == ["mail"]
    assert (await store.counts()).states["ready"] == 2


async def test_queues_take_turns_by_weight(store: Store) -> None:
    await store.put([job("a") for _ in range(40)] + [job("b") for _ in range(40)])
    lanes = [lane("a", queue="a", weight=3), lane("b", queue="b", weight=1)]
    tasks = [claimed.task for _ in range(20) for claimed in await claim(store, 1, lanes)]
    assert (tasks.count("a"), tasks.count("b")) == (15, 5)


async def test_a_delayed_job_is_claimed_once_it_is_due(store: Store) -> None:
    new = job(delay=0.1)
    await announce(store)
    await store.put([new, job(delay=60)])
    early = await store.claim(WORKER, MAIL, 10, durable=False)
    if not early.jobs:
        assert early.wait is not None
        assert early.wait <= 0.1
    found = list(early.jobs)

    async def is_found() -> bool:
        found.extend(await claim(store))
        return bool(found)

    await until(is_found)
    assert [claimed.id for claimed in found] == [new.id]
    later = await store.claim(WORKER, MAIL, 10, durable=False)
    assert later.jobs == ()
    assert later.wait is not None
    assert 30 < later.wait <= 60


async def test_a_paused_queue_gives_nothing(store: Store) -> None:
    await store.put([job(), job("report")])
    lanes = [lane("mail", queue="mail"), lane("report", queue="report")]
    await store.pause("mail", paused=True)
    await store.pause("mail", paused=True)
    assert [claimed.task for claimed in await claim(store, lanes=lanes)] == ["report"]
    assert (await store.counts()).paused == ("mail",)
    await store.pause("mail", paused=False)
    assert [claimed.task for claimed in await claim(store, lanes=lanes)] == ["mail"]


async def test_a_rate_limits_the_starts(store: Store) -> None:
    await store.put([job() for _ in range(5)])
    lanes = [lane("mail", rate=(2, 3600.0))]
    assert len(await claim(store, lanes=lanes)) == 2
    refused = await store.claim(WORKER, lanes, 9, durable=False)
    assert refused.jobs == ()
    assert refused.wait is not None
    assert 900 < refused.wait <= 1800


async def test_running_jobs_are_limited(store: Store) -> None:
    await store.put([job() for _ in range(5)])
    lanes = [lane("mail", running=2)]
    first = await claim(store, lanes=lanes)
    assert (len(first), len(await claim(store, lanes=lanes))) == (2, 0)
    await settle(store, first[0])
    assert len(await claim(store, lanes=lanes)) == 1


# settling


async def test_a_done_job_has_its_response(store: Store) -> None:
    new = job()
    await store.put([new])
    response = StoredResponse(status=201, headers={"x": "y"}, content=b"\0\xff")
    assert await settle(store, await one(store), keep=60.0, response=response, stderr="log")
    record = await the(store, new.id, content=True)
    assert (record.state, record.worker, record.status, record.stderr) == ("done", None, 201, "log")
    assert record.response == response
    assert record.keep_until is not None
    assert record.finished is not None
    assert (await the(store, new.id)).response is None


async def test_a_delayed_job_has_its_reason(store: Store) -> None:
    new = job()
    await store.put([new])
    assert await settle(store, await one(store), state="delayed", delay=60.0, counts=True, error="busy", status=503)
    record = await the(store, new.id)
    assert (record.state, record.failed, record.error, record.status) == ("delayed", 1, "busy", 503)
    assert 59 < record.due - record.created < 80
    assert await claim(store) == []


async def test_a_job_that_is_ready_again_keeps_its_place(store: Store) -> None:
    jobs = [job(), job()]
    await store.put(jobs)
    [first] = await claim(store, 1)
    assert await settle(store, first, state="ready")
    again, second = await claim(store)
    assert [again.id, second.id] == [jobs[0].id, jobs[1].id]
    assert (again.attempt, again.failed) == (2, 0)


async def test_a_settlement_is_fenced(store: Store) -> None:
    """By the worker and by the attempt: what is another's is left as it is."""
    await store.put([job()])
    [old] = await claim(store)
    assert not await settle(store, old, worker="worker-2")
    assert await settle(store, old, state="ready")
    [new] = await claim(store)
    assert not await settle(store, old)
    assert (await the(store, new.id)).state == "running"
    assert await settle(store, new)
    assert not await settle(store, new, state="ready")
    assert (await the(store, new.id)).state == "done"


# workers that are gone


async def test_a_living_worker_keeps_its_jobs(store: Store, make_store: MakeStore) -> None:
    await store.register(WORKER, MAIL)
    await store.put([job()])
    await claim(store)
    other = make_store()
    await other.open()
    assert await other.recover() == 0
    assert [worker.id for worker in (await other.counts()).workers] == [WORKER]
    await other.aclose()


async def test_a_leaving_worker_gives_its_jobs_back(store: Store) -> None:
    new = job()
    await store.register(WORKER, MAIL)
    await store.put([new])
    await claim(store)
    await store.leave(WORKER)
    record = await the(store, new.id)
    assert (record.state, record.failed, record.queue) == ("ready", 0, "default")
    assert (await store.counts()).workers == ()


async def test_jobs_unknown_to_their_worker_are_ready_again(store: Store) -> None:
    await store.register(WORKER, MAIL)
    await store.put([job(), job()])
    held, lost = await claim(store)
    compared = await store.reconcile(WORKER, [held])
    assert (compared.given_back, compared.lost) == (1, frozenset())
    assert ((await the(store, held.id)).state, (await the(store, lost.id)).state) == ("running", "ready")


# looking, and what a person does


async def test_finding_by_state_task_and_number(store: Store) -> None:
    jobs = [job(), job("report"), job(delay=60)]
    await store.put(jobs)
    assert [record.id for record in await store.find(Query())] == [new.id for new in jobs]
    assert [record.id for record in await store.find(Query(states=("delayed", "dead")))] == [jobs[2].id]
    assert [record.id for record in await store.find(Query(task="report"))] == [jobs[1].id]
    first = (await store.find(Query(limit=1)))[0]
    assert [record.id for record in await store.find(Query(after=first.number, limit=1))] == [jobs[1].id]
    assert await store.find(Query(ids=("none",))) == []


async def test_counting(store: Store) -> None:
    await store.put([job() for _ in range(6)] + [job("report", delay=60)])
    ends: tuple[State, ...] = ("done", "dead", "in_doubt")
    for state, claimed in zip(ends, await claim(store, 3), strict=True):
        await settle(store, claimed, state=state, keep=60.0 if state == "done" else None)
    await claim(store, 1)
    [waiting] = await store.find(Query(states=("ready",), limit=1))
    assert await store.change("cancel", Query(ids=(waiting.id,))) == 1
    counts = await store.counts()
    assert counts.states == dict.fromkeys(counts.states, 1)
    assert counts.tasks["report"] == {"delayed": 1}
    assert counts.oldest is not None


async def test_retrying_and_purging_stuck_jobs(store: Store) -> None:
    jobs = [job(), job(), job(), job()]
    await store.put(jobs)
    ends: tuple[State, ...] = ("done", "dead", "in_doubt")
    for state, claimed in zip(ends, await claim(store, 3), strict=True):
        await settle(store, claimed, state=state, counts=True)
    assert await store.change("retry", Query(ids=tuple(new.id for new in jobs))) == 2
    again = await claim(store)
    assert {claimed.id: (claimed.failed, claimed.attempt) for claimed in again} == {
        jobs[1].id: (0, 2),
        jobs[2].id: (0, 2),
        jobs[3].id: (0, 1),
    }
    assert await store.change("purge", Query()) == 1
    assert {record.state for record in await store.find(Query())} == {"running"}


async def test_cancelling(store: Store) -> None:
    """What waits never runs; what runs is not tried again, and is done if it is done."""
    jobs = [job(), job(), job()]
    await store.put(jobs)
    failing, fine = await claim(store, 2)
    assert await store.change("cancel", Query()) == 3
    assert await claim(store) == []
    assert await settle(store, failing, state="delayed", delay=1.0, counts=True, error="busy")
    assert await settle(store, fine)
    assert [record.state for record in await store.find(Query())] == ["cancelled", "done", "cancelled"]


async def test_expired_jobs_are_swept(store: Store) -> None:
    await store.put([job(), job(), job()])
    gone, kept, forever = await claim(store)
    await settle(store, gone, keep=0.0)
    await settle(store, kept, keep=60.0)
    await settle(store, forever, state="dead")

    async def is_swept() -> bool:
        return await store.sweep() == 1

    await until(is_swept)
    assert [record.id for record in await store.find(Query())] == [kept.id, forever.id]


# bells


async def test_putting_a_job_wakes_workers(store: Store, make_store: MakeStore) -> None:
    """In another process too; and so does retrying."""
    heard = await store.wait("work", -1, 0)
    assert await store.wait("work", heard, 0.01) == heard
    other = make_store()
    await other.open()
    await other.put([job()])
    with anyio.fail_after(20):
        again = await store.wait("work", heard, 60)
    assert again != heard
    await settle(store, await one(store), state="dead")
    heard = await store.wait("work", again, 0.01)
    assert await other.change("retry", Query()) == 1
    with anyio.fail_after(20):
        assert await store.wait("work", heard, 60) != heard
    await other.aclose()


async def test_an_end_wakes_all_that_wait_for_ends(store: Store) -> None:
    heard = await store.wait("ends", -1, 0)
    await store.put([job()])
    [claimed] = await claim(store)
    woken: list[int] = []

    async def wait() -> None:
        woken.append(await store.wait("ends", heard, 60))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
            tasks.start_soon(wait)
            await anyio.wait_all_tasks_blocked()
            await settle(store, claimed)
    assert len(woken) == 2
    assert heard not in woken


# calls


async def test_simultaneous_calls_are_all_answered(store: Store) -> None:
    """Many of them share one commit."""

    async def put(answers: list[list[str | None]]) -> None:
        answers.append(await store.put([job()]))

    answers: list[list[str | None]] = []
    async with anyio.create_task_group() as tasks:
        for _ in range(300):
            tasks.start_soon(put, answers)
    assert answers == [[None]] * 300
    assert (await store.counts()).states["ready"] == 300


async def test_a_claim_of_a_cancelled_caller_is_given_back(store: Store) -> None:
    await store.put([job() for _ in range(3)])
    for _ in range(20):
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(claim, store)
                await anyio.lowlevel.checkpoint()
                scope.cancel()

    async def are_ready() -> bool:
        return (await store.counts()).states["ready"] == 3

    await until(are_ready)


async def test_simultaneous_claims_get_different_jobs(store: Store, make_store: MakeStore) -> None:
    await store.put([job() for _ in range(200)])
    other = make_store()
    await other.open()
    taken: list[str] = []

    async def take(source: Store, worker: str) -> None:
        while found := await claim(source, 3, worker=worker):
            taken.extend(claimed.id for claimed in found)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(take, store, "worker-1")
        tasks.start_soon(take, other, "worker-2")
    assert len(taken) == len(set(taken)) == 200
    await other.aclose()
