"""What every store does with batches and chains, whatever its database."""

from __future__ import annotations

import json
from collections.abc import Sequence

import anyio
import pytest

from fcgi_async.jobs import BatchClosed
from fcgi_async.jobs.record import BatchRecord, Claimed, Lane, Limits, NewBatch, NewJob, Query, Settlement, State
from fcgi_async.jobs.store import Store
from fcgi_async.jobs.successors import Successor, dump_successors
from tests.jobs.conftest import ON_EACH, MakeStore
from tests.jobs.polling import until
from tests.jobs.records import job

pytestmark = [pytest.mark.anyio, ON_EACH]

WORKER = "worker-1"
LANES = [Lane(queue="default", weight=1, tasks=(Limits(task="mail", on_loss="again", attempts=5),))]
BATCH = NewBatch(
    id="b",
    next_done=dump_successors([Successor(id="then", task="report", data=None)]),
    next_failed=dump_successors([Successor(id="alarm", task="alarm", data=None)]),
)


@pytest.fixture
async def store(store: Store) -> Store:
    """An open store on which our worker is known."""
    await store.register(WORKER, LANES)
    return store


async def begin(store: Store, count: int = 0, batch: NewBatch = BATCH) -> list[NewJob]:
    await store.make_batch(batch, 60)
    jobs = [job(batch=batch.id) for _ in range(count)]
    if jobs:
        await store.add(batch.id, jobs, 60)
    return jobs


async def claim(store: Store, count: int = 100) -> list[Claimed]:
    return list((await store.claim(WORKER, LANES, count, durable=False)).jobs)


async def settle(store: Store, claimed: Sequence[Claimed], state: State = "done", **what: object) -> list[bool | None]:
    return await store.settle(
        WORKER,
        [
            Settlement(number=each.number, id=each.id, attempt=each.attempt, state=state, follows=each.follows, **what)  # type: ignore[arg-type]
            for each in claimed
        ],
    )


async def followed(store: Store) -> dict[str, object]:
    """What was put after batches, by task: its data."""
    found = await store.find(Query(ids=("then", "alarm")))
    return {record.task: json.loads(record.data) for record in found}


async def numbers(store: Store, batch: str = "b") -> tuple[bool, int, int, int]:
    record = await store.find_batch(batch)
    assert record is not None
    return record.open, record.total, record.pending, record.failed


async def test_then_is_put_once_all_are_done(store: Store) -> None:
    await begin(store, 3)
    await store.close_batch("b", abandoned=False)
    first, *rest = await claim(store)
    await settle(store, [first])
    assert (await followed(store), await numbers(store)) == ({}, (False, 3, 2, 0))
    assert await settle(store, rest) == [True, True]
    assert await followed(store) == {"report": {"batch": "b", "jobs": 3}}
    assert await numbers(store) == (False, 3, 0, 0)
    assert isinstance(record := await store.find_batch("b"), BatchRecord)
    assert record.finished is not None


async def test_then_waits_for_the_batch_to_be_closed(store: Store) -> None:
    """All that was added so far may be done before the next is added."""
    await begin(store, 1)
    await settle(store, await claim(store))
    assert await followed(store) == {}
    await store.add("b", [job(batch="b")], 60)
    await settle(store, await claim(store))
    assert (await followed(store), await numbers(store)) == ({}, (True, 2, 0, 0))
    await store.close_batch("b", abandoned=False)
    assert list(await followed(store)) == ["report"]


async def test_an_empty_batch_is_done_when_it_is_closed(store: Store) -> None:
    await begin(store)
    await store.close_batch("b", abandoned=False)
    assert await followed(store) == {"report": {"batch": "b", "jobs": 0}}


@pytest.mark.parametrize("state", ["dead", "cancelled", "in_doubt"])
async def test_on_failure_is_put_once_and_then_is_not(store: Store, state: State) -> None:
    await begin(store, 3)
    one, two, three = await claim(store)
    await settle(store, [one], state)
    assert await followed(store) == {"alarm": {"batch": "b", "job": one.id, "state": state}}
    # not put again, though it has left the database
    for action in ("cancel", "purge"):
        assert await store.change(action, Query(ids=("alarm",))) == 1
    await settle(store, [two], state)
    await settle(store, [three])
    await store.close_batch("b", abandoned=False)
    assert await followed(store) == {}
    assert await numbers(store) == (False, 3, 0, 2)


async def test_a_retried_job_has_not_ended(store: Store) -> None:
    await begin(store, 2)
    await store.close_batch("b", abandoned=False)
    one, two = await claim(store)
    await settle(store, [one], "ready")
    await settle(store, [two], "delayed", delay=60.0)
    assert (await followed(store), await numbers(store)) == ({}, (False, 2, 2, 0))


async def test_then_is_put_after_a_person_has_retried_the_failed_jobs(store: Store) -> None:
    await begin(store, 2)
    await store.close_batch("b", abandoned=False)
    one, two = await claim(store)
    await settle(store, [one], "dead")
    await settle(store, [two])
    assert await store.change("retry", Query(ids=(one.id,))) == 1
    assert await numbers(store) == (False, 2, 1, 0)
    record = await store.find_batch("b")
    assert record is not None
    assert record.finished is None
    await settle(store, await claim(store))
    assert set(await followed(store)) == {"alarm", "report"}


async def test_cancelling_a_waiting_job_fails_the_batch(store: Store) -> None:
    await begin(store, 2)
    assert await store.change("cancel", Query(batch="b")) == 2
    assert await numbers(store) == (True, 2, 0, 2)
    assert list(await followed(store)) == ["alarm"]


async def test_adding_a_job_again_counts_it_once(store: Store) -> None:
    [one] = await begin(store, 1)
    await store.add("b", [one, job(batch="b")], 60)
    assert await numbers(store) == (True, 2, 2, 0)


async def test_a_batch_is_created_once_and_continued(store: Store, make_store: MakeStore) -> None:
    """By another process too."""
    await begin(store, 1)
    other = make_store()
    await other.open()
    await begin(other, 1)
    await other.aclose()
    assert await numbers(store) == (True, 2, 2, 0)


async def test_nothing_is_added_to_a_closed_or_unknown_batch(store: Store) -> None:
    await begin(store)
    await store.close_batch("b", abandoned=False)
    for batch in ("b", "none"):
        with pytest.raises(BatchClosed, match="closed or does not exist"):
            await store.add(batch, [job(batch=batch)], 60)
        with pytest.raises(BatchClosed):
            await store.close_batch(batch, abandoned=False)
    with pytest.raises(BatchClosed):
        await store.make_batch(BATCH, 60)
    assert [record.id for record in await store.find(Query())] == ["then"]
    assert await store.find_batch("none") is None


async def test_an_abandoned_batch_fails(store: Store) -> None:
    """What was added runs, and nothing follows but the alarm."""
    await begin(store, 1)
    await store.close_batch("b", abandoned=True)
    assert await followed(store) == {"alarm": {"batch": "b", "job": None, "state": "abandoned"}}
    await settle(store, await claim(store))
    assert (list(await followed(store)), await numbers(store)) == (["alarm"], (False, 1, 0, 1))


async def test_a_batch_of_a_lost_process_is_abandoned(store: Store) -> None:
    """Once nothing was added for its time; another one goes on."""
    await begin(store, 1, NewBatch(id="other"))
    await store.make_batch(BATCH, 0.05)

    async def is_abandoned() -> bool:
        await store.sweep()
        return (await numbers(store))[0] is False

    await until(is_abandoned)
    assert list(await followed(store)) == ["alarm"]
    assert (await numbers(store, "other"))[0] is True
    with pytest.raises(BatchClosed):
        await store.add("b", [job(batch="b")], 60)


async def test_jobs_that_end_together_put_one_successor(store: Store, make_store: MakeStore) -> None:
    """From two connections, in any order."""
    await begin(store, 40)
    await store.close_batch("b", abandoned=False)
    claimed = await claim(store)
    other = make_store()
    await other.open()

    async def end(source: Store, jobs: Sequence[Claimed]) -> None:
        for each in jobs:
            assert await settle(source, [each]) == [True]

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(end, store, claimed[:20])
        tasks.start_soon(end, other, claimed[20:])
    assert (await followed(store), await numbers(store)) == (
        {"report": {"batch": "b", "jobs": 40}},
        (False, 40, 0, 0),
    )
    await other.aclose()


async def test_a_late_settlement_is_not_counted(store: Store) -> None:
    await begin(store, 1)
    claimed = await claim(store)
    await settle(store, claimed)
    assert await settle(store, claimed) == [False]
    assert await numbers(store) == (True, 1, 0, 0)


# chains


async def test_the_next_of_a_chain_is_put_with_the_end_of_the_one_before(store: Store) -> None:
    chain = [Successor(id="two", task="mail", data="[2]", priority=3), Successor(id="three", task="mail", data=None)]
    await store.put([job(id="one", chain=dump_successors(chain))])
    [one] = await claim(store)
    assert (one.follows, one.answers) == (True, False)
    await settle(store, [one])
    [two] = await claim(store)
    assert (two.id, two.data, two.follows, two.answers) == ("two", "[2]", True, True)
    await settle(store, [two], answer='{"a":1}')
    [three] = await claim(store)
    assert (three.id, three.data, three.follows) == ("three", '{"a":1}', False)
    await settle(store, [three])
    assert await claim(store) == []


@pytest.mark.parametrize("state", ["ready", "delayed", "dead", "in_doubt", "cancelled"])
async def test_a_chain_stops_at_a_job_that_is_not_done(store: Store, state: State) -> None:
    await store.put([job(id="one", chain=dump_successors([Successor(id="two", task="mail", data="2")]))])
    await settle(store, await claim(store), state)
    assert [record.id for record in await store.find(Query())] == ["one"]


@pytest.mark.parametrize("chain", ["", "{", "[1]", '[{"id": 1}]', '[{"id":"x","task":"mail","data":{}}]', "7", "null"])
async def test_an_unreadable_chain_is_ignored(store: Store, chain: str) -> None:
    """The job itself is done."""
    await store.put([job(id="one", chain=chain)])
    assert await settle(store, await claim(store)) == [True]
    assert [(record.id, record.state) for record in await store.find(Query())] == [("one", "done")]
