"""Jobs as the bare records that anyone may INSERT, and what a worker does with them."""

from __future__ import annotations

from collections.abc import Sequence

from fcgi_async.jobs.record import Claimed, Lane, Limits, NewJob, Settlement, new_id
from fcgi_async.jobs.store import Store

MAIL = [Lane(queue="default", weight=1, tasks=(Limits(task="mail", on_loss="again", attempts=5),))]


def job(task: str = "mail", **settings: object) -> NewJob:
    return NewJob(**{"id": new_id(), "task": task, "data": "{}", **settings})  # type: ignore[arg-type]


async def claim(store: Store, count: int = 1, worker: str = "w") -> Sequence[Claimed]:
    return (await store.claim(worker, MAIL, count, durable=False)).jobs


async def finish(store: Store, claimed: Claimed, worker: str = "w") -> bool | None:
    done = Settlement(
        number=claimed.number, id=claimed.id, attempt=claimed.attempt, state="done", keep=60.0, durable=False
    )
    return (await store.settle(worker, [done]))[0]
