"""Who works, and deciding about the jobs of those who are gone."""

from __future__ import annotations

import os
import socket
from collections.abc import Collection, Sequence
from typing import Literal, cast

from fcgi_async.jobs.fate import decide_lost
from fcgi_async.jobs.record import Claimed, Lane, Settlement
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.settling import KEEP, settle
from fcgi_async.jobs.sql.statements import LEAVE, MAKE_TASK, OF_WORKER, REGISTER, SET_TASK

__all__ = ("announce", "give_back", "leave", "reconcile", "recover")


def announce(dialect: Dialect, worker: str, lanes: Sequence[Lane], lease: float | None) -> None:
    """Write down a worker and its tasks; see `Store.register()`. A lease is in seconds."""
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


def recover(dialect: Dialect, worker: str, unstarted: Collection[int]) -> int:
    """Decide about the jobs of a worker that is gone; return how many."""
    rows = cast(
        "list[tuple[int, int, str, int, Literal['again', 'hold', 'dead'] | None, int | None, object, object]]",
        dialect.query(OF_WORKER, {"worker": worker}),
    )
    for number, attempt, state, failed, on_loss, attempts, batch, chain in rows:
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
    return len(rows)


def leave(dialect: Dialect, worker: str) -> None:
    """Take a worker's announcement back, and give back what it has; see `Store.leave()`."""
    reconcile(dialect, worker, ())
    dialect.change(LEAVE, {"worker": worker})


def reconcile(dialect: Dialect, worker: str, held: Collection[int]) -> int:
    """Make ready what a worker does not know that it has; see `Store.reconcile()`."""
    rows = cast("list[tuple[int, int, str]]", [row[:3] for row in dialect.query(OF_WORKER, {"worker": worker})])
    unknown = [(number, attempt) for number, attempt, _ in rows if number not in held]
    _make_ready(dialect, worker, unknown)
    return len(unknown)


def give_back(dialect: Dialect, worker: str, jobs: Sequence[Claimed]) -> None:
    """Make ready what a worker has claimed and will not begin."""
    _make_ready(dialect, worker, [(job.number, job.attempt) for job in jobs])


def _make_ready(dialect: Dialect, worker: str, claims: Sequence[tuple[int, int]]) -> None:
    if claims:
        settle(
            dialect, worker, [Settlement(number=number, attempt=attempt, state="ready") for number, attempt in claims]
        )
        dialect.will_ring("work")
