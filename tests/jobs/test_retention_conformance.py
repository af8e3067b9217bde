"""Retention, queues and progress, on every store."""

from __future__ import annotations

import attrs
import pytest

from fcgi_async import ConfigurationError
from fcgi_async.jobs.record import Query, Settlement, StoredResponse
from fcgi_async.jobs.sql.store import SQLStore
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_EACH, OpenJobs
from tests.jobs.polling import until
from tests.jobs.records import job
from tests.jobs.test_store_conformance import MAIL, lane, one, settle
from tests.jobs.test_worker import task

pytestmark = [pytest.mark.anyio, ON_EACH]


async def test_old_jobs_are_purged(open_jobs: OpenJobs) -> None:
    """Those that ended long ago, and those in doubt if they are named; not what waits."""
    jobs = await open_jobs()
    ended, doubtful, waiting = [await jobs.enqueue(task("mail")) for _ in range(3)]
    await jobs.store.register("w", MAIL)
    claimed = (await jobs.store.claim("w", MAIL, 2, durable=False)).jobs
    for each, state in zip(claimed, ("dead", "in_doubt"), strict=True):
        await jobs.store.settle("w", [Settlement(number=each.number, id=each.id, attempt=1, state=state)])  # type: ignore[arg-type]
    assert await jobs.purge(states=["dead", "in_doubt"], older=3600) == 0

    async def are_purged() -> bool:
        await jobs.purge(older=0.01)
        return [record.id for record in await jobs.find()] == [doubtful.id, waiting.id]

    await until(are_purged)
    assert await jobs.purge(ended.id, doubtful.id, waiting.id, states=["in_doubt"], older=0) == 1
    assert [record.id for record in await jobs.find()] == [waiting.id]
    with pytest.raises(ConfigurationError, match="older must be a number"):
        await jobs.purge(older=-1)


async def test_thousands_of_jobs_are_purged_in_several_steps(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    await jobs.enqueue_many((task("mail"), None) for _ in range(1_201))
    assert await jobs.store.change("cancel", Query(limit=1_200)) == 1_200
    steps: list[int] = []
    change = jobs.store.change

    async def counted(action: object, query: Query) -> int:
        steps.append(await change(action, query))  # type: ignore[arg-type]
        return steps[-1]

    jobs.store.change = counted  # type: ignore[method-assign]
    assert await jobs.purge() == 1_200
    assert steps == [500, 500, 200]
    assert len(await jobs.find()) == 1


async def test_jobs_of_a_queue_are_found(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    await jobs.store.put([job("mail"), job("report"), job("unknown")])
    await jobs.store.register("w", [lane("mail", queue="post"), lane("report")])
    assert [record.task for record in await jobs.find(queue="post")] == ["mail"]
    assert [record.task for record in await jobs.find(queue="default")] == ["report"]
    assert await jobs.find(queue="none") == []


async def test_a_list_does_not_read_long_values(open_jobs: OpenJobs) -> None:
    """But the end of what PHP logged."""
    jobs = await open_jobs()
    handle = await jobs.enqueue(task("mail"), {"long": "x" * 5_000})
    claimed = await one(jobs.store)
    await settle(jobs.store, claimed, "dead", stderr="ä" * 2_000 + "end", error="why")
    [brief] = await jobs.find(data=False)
    assert (brief.id, brief.data, brief.chain, brief.error) == (handle.id, "", None, "why")
    assert brief.stderr == "ä" * 997 + "end"
    [whole] = await jobs.find()
    assert (len(whole.data), len(whole.stderr or "")) == (5_011, 2_003)


async def test_a_job_is_read_in_part(open_jobs: OpenJobs) -> None:
    """As much as asked of what may be long, and how long that is in whole; what is short is whole."""
    jobs = await open_jobs()
    handle = await jobs.enqueue(task("mail"), "x" * 5_000)
    claimed = await one(jobs.store)
    response = StoredResponse(status=200, headers={"x-name": "v"}, content=b"\0" * 3_000)
    await settle(jobs.store, claimed, stderr="ä" * 200, error="why", response=response, keep=60.0)
    part = await handle.record(most=100)
    assert (part.data, part.stderr, part.error, part.chain) == ('"' + "x" * 99, "ä" * 100, "why", None)
    assert part.response == attrs.evolve(response, content=b"\0" * 100)
    assert part.lengths == {"data": 5_002, "stderr": 200, "response": 3_000}
    whole = await handle.record()
    assert (len(whole.data), whole.response, whole.lengths) == (5_002, response, {})
    assert (await handle.record(most=5_002)).lengths == {}
    with pytest.raises(ConfigurationError, match="most must be a whole number of at least 1"):
        await handle.record(most=0)


async def test_jobs_are_entered_once_at_a_time(open_jobs: OpenJobs) -> None:
    """Entering them again meanwhile is refused, and leaves them as they are."""
    jobs = await open_jobs()
    with pytest.raises(ConfigurationError, match="entered already: use it, or make another"):
        async with jobs:
            pass
    assert await jobs.find() == []


async def test_progress_belongs_to_the_running_attempt(open_jobs: OpenJobs) -> None:
    jobs = await open_jobs()
    handle, store = await jobs.enqueue(task("mail")), jobs.store
    assert await handle.progress() is None
    first = await one(store)
    assert isinstance(store, SQLStore)
    # what the script does
    await store._committer.call(lambda session: session.change("UPDATE fcgi_jobs SET progress = 3, progress_of = 10"))
    assert await handle.progress() == (3, 10)
    await settle(store, first, "ready")
    await one(store)
    assert await handle.progress() is None


async def test_nothing_is_kept_for_longer_than_asked(store: Store) -> None:
    """Done ones go in steps of a thousand."""
    await store.register("w", MAIL)
    await store.put([job() for _ in range(1_500)])
    claimed = (await store.claim("w", MAIL, 1_500, durable=False)).jobs
    await store.settle(
        "w",
        [Settlement(number=each.number, id=each.id, attempt=each.attempt, state="done", keep=0.0) for each in claimed],
    )
    swept: list[int] = []

    async def are_swept() -> bool:
        swept.append(await store.sweep())
        return sum(swept) == 1_500

    await until(are_swept)
    assert max(swept) == 1_000
