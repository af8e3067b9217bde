"""Register workers, and decide about the jobs of lost ones."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from typing import Literal, cast

import attrs

from fcgi_async.jobs.fate import decide_lost
from fcgi_async.jobs.record import Claimed, Key, Lane, Settlement
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.settling import KEEP, settle
from fcgi_async.jobs.sql.statements import HAS_JOBS, IN_HAND, LEAVE, MAKE_TASK, OF_WORKER, REGISTER, SET_TASK
from fcgi_async.jobs.store import Comparison

__all__ = ("Recovered", "announce", "give_back", "leave", "reconcile", "recover")


@attrs.frozen
class Recovered:
    """What happened to the jobs of a lost worker.

    Attributes:
        count: number of jobs that were decided about.
        left: whether there are more jobs, which other transactions have locked.
    """

    count: int
    left: bool


def announce(dialect: Dialect, worker: str, lanes: Sequence[Lane], lease: float | None) -> None:
    """Store a worker and its tasks; see `Store.register()`. A lease is in seconds."""
    dialect.change(
        REGISTER,
        {
            "worker": worker,
            "host": socket.gethostname()[:200],
            "pid": os.getpid(),
            "lease": None if lease is None else round(lease * 1000),
        },
    )
    for lane in lanes:
        for limits in lane.tasks:
            dialect.change(MAKE_TASK, {"task": limits.task, "queue": lane.queue})
            dialect.change(SET_TASK, {"task": limits.task, "queue": lane.queue})


def recover(dialect: Dialect, worker: str, unstarted: Collection[int]) -> Recovered:
    """Decide about the jobs of a lost worker, except those that another transaction has locked."""
    rows = cast(
        "list[tuple[int, int, object, str, int, Literal['again', 'hold', 'dead'] | None, int | None, object, object]]",
        dialect.query(OF_WORKER, {"worker": worker}),
    )
    for number, attempt, _, state, failed, on_loss, attempts, batch, chain in rows:
        fate = decide_lost(on_loss or "hold", failed, attempts or 1, unstarted=number in unstarted)
        lost = Settlement(
            number=number,
            attempt=attempt,
            state="done" if state == "done" else fate.state,
            counts=fate.counts,
            error=fate.reason,
            follows=batch is not None or chain is not None,
            keep=KEEP if state == "done" else None,
        )
        settle(dialect, worker, [lost])
    dialect.change(LEAVE, {"worker": worker})
    if rows:
        dialect.will_ring("work")
    # a script that still runs may be about to commit: its job then has no worker, and is checked again
    return Recovered(len(rows), left=bool(dialect.query(HAS_JOBS, {"worker": worker})))


def leave(dialect: Dialect, worker: str, ended: Collection[Key]) -> None:
    """Unregister a worker, and give back its jobs; see `Store.leave()`."""
    found = cast("list[tuple[int, int, str]]", [row[:3] for row in dialect.query(OF_WORKER, {"worker": worker})])
    # what was read in this transaction needs no id, which may be text that cannot be written
    given = [(number, None, attempt) for number, attempt, id in found if (number, id, attempt) not in ended]
    _make_ready(dialect, worker, given)
    dialect.change(LEAVE, {"worker": worker})


def reconcile(dialect: Dialect, worker: str, held: Collection[Claimed]) -> Comparison:
    """Make jobs ready that a worker does not know it has; see `Store.reconcile()`."""
    rows = cast("list[tuple[int, int, str]]", dialect.query(IN_HAND, {"worker": worker}))
    found = [(number, id, attempt) for number, attempt, id in rows]
    known = {claimed.key for claimed in held}
    unknown = [(number, None, attempt) for number, id, attempt in found if (number, id, attempt) not in known]
    given_back = _make_ready(dialect, worker, unknown)
    return Comparison(
        given_back=given_back, lost=frozenset(known.difference(found)), complete=given_back == len(unknown)
    )


def give_back(dialect: Dialect, worker: str, jobs: Sequence[Claimed]) -> None:
    """Make jobs ready that a worker has claimed and will not start."""
    _make_ready(dialect, worker, [job.key for job in jobs])


def _make_ready(dialect: Dialect, worker: str, claims: Sequence[Key]) -> int:
    """Return how many jobs were made ready; jobs that another transaction has locked are not."""
    if not claims:
        return 0
    dialect.will_ring("work")
    ready = [Settlement(number=number, id=id, attempt=attempt, state="ready") for number, id, attempt in claims]
    return len([settled for settled in settle(dialect, worker, ready) if settled is not None])
