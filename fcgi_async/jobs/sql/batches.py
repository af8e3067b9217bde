"""Batches and chains: count the jobs that belong together, and put those that follow.

All code that changes a job's state reports it here, in the same transaction, so that a batch's numbers always fit its
jobs.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Final, cast

import attrs

from fcgi_async.jobs.errors import BatchClosed
from fcgi_async.jobs.record import BatchRecord, NewBatch, NewJob, State
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.putting import parameters_of, put
from fcgi_async.jobs.sql.statements import INSERT
from fcgi_async.jobs.successors import load_successors

__all__ = ("Ended", "abandon_old", "add", "close", "find", "follow", "make", "reopen")

# states of a job that a batch counts as failed; a person may still retry it
FAILED: Final[frozenset[State]] = frozenset({"dead", "cancelled", "in_doubt"})
_ENDED: Final = FAILED | {"done"}
# most batches that a sweep closes or deletes
_SOME: Final = 100

_MAKE: Final = """INSERT INTO fcgi_batches (id, created, open, open_until, next_done, next_failed)
    VALUES (:batch, {now}, 1, {now} + :open_for, :next_done, :next_failed){or_nothing}"""
_OPEN: Final = "SELECT id FROM fcgi_batches WHERE id = :batch AND open = 1{locked}"
_ADD: Final = """UPDATE fcgi_batches SET total = total + :added, pending = pending + :added,
    open_until = {now} + :open_for WHERE id = :batch AND open = 1"""
_COUNT: Final = "UPDATE fcgi_batches SET pending = pending + :pending, failed = failed + :failed WHERE id = :batch"
_CLOSE: Final = "UPDATE fcgi_batches SET failed = failed + :failed, open = 0 WHERE id = :batch AND open = 1"
_READ: Final = (
    "SELECT open, pending, failed, total, next_done, next_failed, finished FROM fcgi_batches WHERE id = :batch"
)
_PUT_FAILED: Final = "UPDATE fcgi_batches SET next_failed = NULL WHERE id = :batch"
_FINISH: Final = "UPDATE fcgi_batches SET next_done = NULL, finished = {now} WHERE id = :batch"
_UNFINISH: Final = "UPDATE fcgi_batches SET finished = NULL WHERE id = :batch"
_ABANDONED: Final = f"""SELECT id FROM fcgi_batches WHERE open = 1 AND open_until <= {{now}}
    ORDER BY open_until LIMIT {_SOME}{{skip_locked}}"""
_OLD: Final = f"""SELECT id FROM fcgi_batches AS b WHERE finished <= {{now}} - :keep
    AND NOT EXISTS (SELECT 1 FROM fcgi_jobs AS j WHERE j.batch = b.id) ORDER BY finished LIMIT {_SOME}{{skip_locked}}"""
_DELETE: Final = "DELETE FROM fcgi_batches WHERE id = :batch"


@attrs.frozen
class Ended:
    """A change of a job's state that matters to its batch or its chain.

    Attributes:
        before: its previous state; "running" if an attempt has ended.
        state: its new state.
        answer: its JSON answer, for the next job of its chain.
    """

    id: str
    batch: str | None
    chain: str | None
    before: State
    state: State
    answer: str | None = None


def make(dialect: Dialect, batch: NewBatch, open_for: float) -> None:
    """Store an open batch, unless it exists."""
    dialect.change(
        _MAKE,
        {
            "batch": batch.id,
            "open_for": round(open_for * 1000),
            "next_done": batch.next_done,
            "next_failed": batch.next_failed,
        },
    )
    _require_open(dialect, batch.id)


def reopen(dialect: Dialect, batch: str, open_for: float) -> None:
    """Continue adding to an open batch.

    Raises:
        BatchClosed: it is closed, or does not exist.
    """
    _require_open(dialect, batch)
    dialect.change(_ADD, {"batch": batch, "added": 0, "open_for": _ms(open_for)})


def add(dialect: Dialect, batch: str, jobs: Sequence[NewJob], open_for: float) -> None:
    """Put jobs of one batch; jobs that exist already are not changed.

    Raises:
        BatchClosed: it is closed, or does not exist; nothing is put.
    """
    # the batch's row first, so that adding and settling lock in the same order
    _require_open(dialect, batch)
    added = dialect.change_many(INSERT, [parameters_of(job) for job in jobs])
    dialect.change(_ADD, {"batch": batch, "added": added, "open_for": _ms(open_for)})
    dialect.will_ring("work")


def close(dialect: Dialect, batch: str, *, abandoned: bool) -> None:
    """Close a batch; an abandoned batch fails.

    Raises:
        BatchClosed: it was closed as abandoned before, or does not exist.
    """
    _require_open(dialect, batch)
    dialect.change(_CLOSE, {"batch": batch, "failed": int(abandoned)})
    _look(dialect, batch, {"batch": batch, "job": None, "state": "abandoned"})


def find(dialect: Dialect, batch: str) -> BatchRecord | None:
    """Return the record of a batch; None if it does not exist."""
    rows = dialect.query(_READ, {"batch": batch})
    if not rows:
        return None
    is_open, pending, failed, total = cast("tuple[int, int, int, int]", rows[0][:4])
    finished = cast("int | None", rows[0][6])
    return BatchRecord(
        id=batch,
        open=bool(is_open),
        total=total,
        pending=pending,
        failed=failed,
        finished=None if finished is None else finished / 1000,
    )


def follow(dialect: Dialect, changes: Iterable[Ended]) -> None:
    """Count changes in their batches, and put the jobs that follow."""
    batches: dict[str, list[Ended]] = {}
    for change in changes:
        if change.state == "done" and change.chain is not None:
            _put_next(dialect, change)
        if change.batch is not None:
            batches.setdefault(change.batch, []).append(change)
    # in one order, so that concurrent transactions do not deadlock
    for batch, of_batch in sorted(batches.items()):
        _count(dialect, batch, of_batch)


def abandon_old(dialect: Dialect, keep: float) -> int:
    """Close batches whose adding process is lost, delete ended ones without jobs; return the number of closed ones."""
    abandoned = [str(row[0]) for row in dialect.query(_ABANDONED)]
    for batch in abandoned:
        dialect.change(_CLOSE, {"batch": batch, "failed": 1})
        _look(dialect, batch, {"batch": batch, "job": None, "state": "abandoned"})
    dialect.change_many(_DELETE, [{"batch": row[0]} for row in dialect.query(_OLD, {"keep": _ms(keep)})])
    return len(abandoned)


def _put_next(dialect: Dialect, change: Ended) -> None:
    following = load_successors(change.chain)
    if following:
        put(dialect, [following[0].new_job(change.answer or "null", following[1:])])


def _count(dialect: Dialect, batch: str, changes: Sequence[Ended]) -> None:
    pending = sum((change.state not in _ENDED) - (change.before not in _ENDED) for change in changes)
    failed = sum((change.state in FAILED) - (change.before in FAILED) for change in changes)
    if not pending and not failed:
        return
    dialect.change(_COUNT, {"batch": batch, "pending": pending, "failed": failed})
    first = next((change for change in changes if change.state in FAILED), None)
    _look(dialect, batch, {"batch": batch, "job": first and first.id, "state": first and first.state})


def _look(dialect: Dialect, batch: str, failure: dict[str, object]) -> None:
    """Put the jobs that follow a batch, if it is time; its row is locked, because this transaction has changed it."""
    rows = dialect.query(_READ, {"batch": batch})
    if not rows:
        return
    is_open, pending, failed, total, next_done, next_failed, finished = cast(
        "tuple[int, int, int, int, str | None, str | None, int | None]", rows[0]
    )
    parameters = {"batch": batch}
    if failed > 0 and next_failed is not None:
        _put_successors(dialect, next_failed, failure)
        dialect.change(_PUT_FAILED, parameters)
    if is_open or pending > 0:
        if finished is not None:
            dialect.change(_UNFINISH, parameters)
        return
    if failed == 0:
        if next_done is not None:
            _put_successors(dialect, next_done, {"batch": batch, "jobs": total})
        dialect.change(_FINISH, parameters)
    elif finished is None:
        dialect.change(_FINISH.replace("next_done = NULL, ", ""), parameters)
    dialect.will_ring("ends")


def _put_successors(dialect: Dialect, text: str, otherwise: dict[str, object]) -> None:
    data = json.dumps(otherwise, separators=(",", ":"))
    put(dialect, [successor.new_job(data) for successor in load_successors(text)])


def _require_open(dialect: Dialect, batch: str) -> None:
    """Lock a batch's row.

    Raises:
        BatchClosed: it is closed, or does not exist.
    """
    if dialect.query(_OPEN, {"batch": batch}):
        return
    raise BatchClosed(
        f"batch {batch!r} is closed or does not exist: it was left, or nothing was added to it for its "
        "`abandon_after`; begin another one"
    )


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
