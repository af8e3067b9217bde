"""Workers on a database server are alive as long as their lease lasts."""

from __future__ import annotations

import pytest

from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.store import Store
from tests.jobs.conftest import ON_SERVERS, Execute
from tests.jobs.polling import until
from tests.jobs.records import MAIL, claim, finish, job

pytestmark = [pytest.mark.anyio, ON_SERVERS]


async def test_a_worker_whose_lease_is_over_is_dead(jobs_url: str) -> None:
    """Its jobs go to others. It notices: its renewal and its settlements are refused, and its claims return no jobs."""
    frozen, other = find_store(jobs_url, lease=0.5), find_store(jobs_url, lease=0.5)
    await frozen.open()
    await other.open()
    await frozen.register("frozen", MAIL)
    await frozen.put([job(), job()])
    [claimed] = await claim(frozen, worker="frozen")

    async def recovered() -> bool:
        return await other.recover() == 1

    await until(recovered)
    assert not await frozen.renew("frozen")
    assert not await finish(frozen, claimed, "frozen")
    assert await claim(frozen, 9, worker="frozen") == ()
    compared = await frozen.reconcile("frozen", [claimed])
    assert (compared.given_back, compared.lost) == (0, frozenset({claimed.key}))
    await frozen.register("frozen", MAIL)
    assert await frozen.renew("frozen")
    assert len(await claim(frozen, 9, worker="frozen")) == 2
    await frozen.aclose()
    await other.aclose()


async def test_a_worker_that_was_away_considers_no_other_dead(jobs_url: str, execute: Execute) -> None:
    """After an outage workers come back at different times: the first one waits for as long as a lease."""
    gone, first = find_store(jobs_url, lease=60), find_store(jobs_url, lease=0.5)
    await gone.open()
    await gone.register("w", MAIL)
    execute("UPDATE fcgi_workers SET lease = lease - 3600000, seen = seen - 3600000")
    await first.open()
    assert await first.recover() == 0
    assert [worker.id for worker in (await first.counts()).workers] == ["w"]
    await first.aclose()
    await gone.aclose()


async def test_workers_that_restart_more_often_than_a_lease_recover_jobs(jobs_url: str, execute: Execute) -> None:
    """For example in a crash loop: none of them lives as long as a lease, but together they do."""
    lost = find_store(jobs_url)
    await lost.open()
    await lost.register("lost", MAIL)
    await lost.put([job()])
    assert len(await claim(lost, worker="lost")) == 1
    execute("UPDATE fcgi_workers SET seen = 1000, lease = 4000")
    looks = 0

    async def recovered() -> bool:
        nonlocal looks
        looks += 1
        restarted = find_store(jobs_url)
        await restarted.open()
        count = await restarted.recover()
        await restarted.aclose()
        return count == 1

    await until(recovered)
    assert looks >= 4
    assert (await lost.counts()).states["ready"] == 1
    await lost.aclose()


async def test_an_outage_counts_for_a_second_at_most(store: Store, execute: Execute) -> None:
    """If two workers saw the server answer, it need not have answered all the time in between."""
    await store.register("w", MAIL)
    execute("UPDATE fcgi_workers SET seen = 1000, lease = 31000")
    assert await store.recover() == 0
    execute("UPDATE fcgi_workers SET looked = looked - 20000")
    assert await store.recover() == 0
    assert execute("SELECT id, watched FROM fcgi_workers") == [("w", 1000)]


async def test_a_sign_of_life_resets_the_watched_time(store: Store, execute: Execute) -> None:
    await store.register("w", MAIL)
    execute("UPDATE fcgi_workers SET seen = 1000, lease = 31000, watched = 29000, looked = 60000")
    assert await store.renew("w")
    assert execute("SELECT id, watched, looked FROM fcgi_workers") == [("w", 0, None)]


async def test_jobs_of_a_worker_that_is_not_announced_are_recovered(store: Store, execute: Execute) -> None:
    await store.register("w", MAIL)
    await store.put([job()])
    assert len(await claim(store)) == 1
    execute("DELETE FROM fcgi_workers")
    assert await store.recover() == 1
