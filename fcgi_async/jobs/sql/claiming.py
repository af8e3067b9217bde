"""Taking jobs that are ready."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

from fcgi_async.jobs.record import Claimed, Lane, Limits
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.statements import (
    CLAIMED_COLUMNS,
    IN_HANDS,
    MAKE_RATE,
    NEXT_DUE,
    PAUSED,
    PROMOTE,
    READ_RATE,
    READY,
    TAKE,
    WRITE_RATE,
)
from fcgi_async.jobs.store import Claim
from fcgi_async.jobs.successors import wants_answer
from fcgi_async.jobs.turns import Turns

__all__ = ("claim",)

# what decides about the order of jobs within a queue, then its number and its task
_Candidate = tuple[int, int, int, Limits]


def claim(dialect: Dialect, worker: str, lanes: Sequence[Lane], count: int, turns: Turns) -> Claim:
    """Take jobs; see `Store.claim()`."""
    dialect.change(PROMOTE)
    paused = {row[0] for row in dialect.query(PAUSED)}
    waiting: dict[str, list[_Candidate]] = {}
    wait: float | None = None
    for lane in lanes:
        if lane.queue not in paused:
            waiting[lane.queue], pause = _candidates(dialect, lane, count + 1)
            wait = _sooner(wait, pause)
    found = sum(len(candidates) for candidates in waiting.values())
    picked = turns.pick(waiting, {lane.queue: lane.weight for lane in lanes}, count)
    if found <= len(picked):
        due = cast("int | None", dialect.query(NEXT_DUE)[0][0])
        wait = _sooner(wait, None if due is None else max(due, 0) / 1000)
    jobs, pause = _take(dialect, worker, picked) if picked else ((), None)
    return Claim(jobs=jobs, more=found > len(picked), wait=_sooner(wait, pause))


def _candidates(dialect: Dialect, lane: Lane, count: int) -> tuple[list[_Candidate], float | None]:
    """Return what a queue has ready, in order, and in how many seconds a rate allows more."""
    found: list[_Candidate] = []
    wait: float | None = None
    for limits in lane.tasks:
        allowed = count
        if limits.rate is not None or limits.running is not None:
            allowed, pause = _allowed(dialect, limits, count)
            wait = _sooner(wait, pause)
        if allowed > 0:
            rows = cast("list[tuple[int, int, int]]", dialect.query(READY, {"task": limits.task, "count": allowed}))
            found += [(-priority, due, number, limits) for number, priority, due in rows]
    if len(lane.tasks) > 1:
        found.sort(key=lambda candidate: candidate[:3])
    return found, wait


def _allowed(dialect: Dialect, limits: Limits, count: int) -> tuple[int, float | None]:
    """Return how many jobs of a task may begin, and in how many seconds a rate allows one if it allows none."""
    wait: float | None = None
    if limits.rate is not None:
        # locks the task's row where several take at once, for the count of the running too
        arrival, now = _rate(dialect, limits.task)
        interval = _interval(limits.rate)
        burst = limits.rate[0] * interval
        count = min(count, (now + burst - max(arrival, now)) // interval)
        if count <= 0:
            wait = (max(arrival, now) + interval - burst - now) / 1e6
    if limits.running is not None:
        if limits.rate is None:
            _rate(dialect, limits.task)
        running = cast("int", dialect.query(IN_HANDS, {"task": limits.task})[0][0])
        count = min(count, limits.running - running)
    return count, wait


def _rate(dialect: Dialect, task: str) -> tuple[int, int]:
    """Return a task's theoretical time of arrival and the time, in microseconds, and lock them."""
    rows = dialect.query(READ_RATE, {"task": task})
    if not rows:
        dialect.change(MAKE_RATE, {"task": task})
        rows = dialect.query(READ_RATE, {"task": task})
    arrival, now = cast("tuple[int, int]", rows[0])
    return arrival, now * 1000


def _interval(rate: tuple[int, float]) -> int:
    count, per = rate
    return max(round(per * 1e6 / count), 1)


def _take(dialect: Dialect, worker: str, picked: Sequence[_Candidate]) -> tuple[tuple[Claimed, ...], float | None]:
    """Take jobs; return them, and in how many seconds a rate that is used up now allows one more."""
    names = ", ".join(f":n{index}" for index in range(len(picked)))
    numbers = {f"n{index}": candidate[2] for index, candidate in enumerate(picked)}
    rows = dialect.query(f"SELECT {CLAIMED_COLUMNS} FROM fcgi_jobs WHERE number IN ({names})", numbers)
    by_number = {row[0]: row for row in rows}
    dialect.change_many(
        TAKE,
        [
            {"number": number, "worker": worker, "on_loss": limits.on_loss, "attempts": limits.attempts}
            for _, _, number, limits in picked
        ],
    )
    wait: float | None = None
    for limits in {candidate[3].task: candidate[3] for candidate in picked}.values():
        if limits.rate is not None:
            taken = sum(candidate[3].task == limits.task for candidate in picked)
            arrival, now = _rate(dialect, limits.task)
            interval = _interval(limits.rate)
            arrival = max(arrival, now) + taken * interval
            dialect.change(WRITE_RATE, {"task": limits.task, "arrival": arrival})
            used_up = arrival + interval - limits.rate[0] * interval - now
            wait = _sooner(wait, used_up / 1e6 if used_up > 0 else None)
    return tuple(_claimed(by_number[candidate[2]]) for candidate in picked), wait


def _claimed(row: tuple[object, ...]) -> Claimed:
    number, id, task, data, attempt, failed, created, due, trace, batch, chain = cast(
        "tuple[int, str, str, str, int, int, int, int, str | None, str | None, str | None]", row
    )
    return Claimed(
        number=number,
        id=id,
        task=task,
        data=data,
        attempt=attempt + 1,
        failed=failed,
        created=created / 1000,
        due=due / 1000,
        trace=trace,
        follows=batch is not None or chain is not None,
        answers=wants_answer(chain),
    )


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
