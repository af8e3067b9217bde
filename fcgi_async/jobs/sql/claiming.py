"""Claim jobs that are ready."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from typing import cast

from fcgi_async.jobs.record import Claimed, Lane, Limits
from fcgi_async.jobs.sql.burying import bury, read_claimed
from fcgi_async.jobs.sql.dialect import Dialect, Row, among
from fcgi_async.jobs.sql.statements import (
    ANNOUNCED,
    CLAIMED_COLUMNS,
    IN_HANDS,
    LOCK_READY,
    LOOK_READY,
    MAKE_RATE,
    NEXT_DUE,
    PAUSED,
    PROMOTE,
    READ_RATE,
    READY,
    SEEN,
    TAKE,
    WRITE_RATE,
)
from fcgi_async.jobs.store import Claim
from fcgi_async.jobs.turns import Turns

__all__ = ("claim",)

# the order of jobs within a queue, then the job's number and task
_Candidate = tuple[int, int, int, Limits]
# number, priority, due
_Ready = tuple[int, int, int]


def claim(
    dialect: Dialect,
    worker: str,
    lanes: Sequence[Lane],
    count: int,
    turns: Turns,
    *,
    lease: float | None = None,
) -> Claim:
    """Claim jobs; see `Store.claim()`. If workers have a lease, in seconds, one that is not announced gets nothing."""
    unlimited = [limits.task for lane in lanes for limits in lane.tasks if not _is_limited(limits)]
    asked: list[tuple[str, dict[str, object]]] = [(PROMOTE, {}), (PAUSED, {}), (NEXT_DUE, {})]
    spread = dialect.spread if dialect.optimistic else 0
    look = LOOK_READY if dialect.optimistic else READY
    asked += [(look, {"task": task, "count": count + 1 + spread}) for task in unlimited]
    if lease is not None:
        asked.insert(0, (ANNOUNCED, {"worker": worker}))
    answers = dialect.ask(asked)
    if lease is not None and not answers.pop(0):
        return Claim(jobs=())
    _, paused_rows, due_rows, *ready_rows = answers
    paused = {row[0] for row in paused_rows}
    served = [lane for lane in lanes if lane.queue not in paused]
    ready = {
        task: _pass_over(_readable(dialect, rows), count + 1, spread)
        for task, rows in zip(unlimited, ready_rows, strict=True)
    }
    picked, found, wait = _pick(dialect, served, ready, count, turns)
    if dialect.optimistic and picked:
        which, numbers = among(candidate[2] for candidate in picked)
        free = {row[0] for row in dialect.query(f"{LOCK_READY} AND {which}{{skip_locked}}", numbers)}
        picked = [candidate for candidate in picked if candidate[2] in free]
        if not picked:
            # others have these; treat the rest as if there were one node
            rest = [dialect.query(READY, {"task": task, "count": count + 1}) for task in unlimited]
            ready = {task: _readable(dialect, rows) for task, rows in zip(unlimited, rest, strict=True)}
            picked, found, wait = _pick(dialect, served, ready, count, turns)
    if found <= len(picked):
        due, now = due_rows[0]
        if isinstance(due, int) and isinstance(now, int):
            wait = _sooner(wait, max(due - now, 0) / 1000)
    jobs, pause = _take(dialect, worker, picked, lease) if picked else ((), None)
    return Claim(jobs=jobs, more=found > len(picked), wait=_sooner(wait, pause))


def _pick(
    dialect: Dialect, lanes: Sequence[Lane], ready: Mapping[str, list[_Ready]], count: int, turns: Turns
) -> tuple[list[_Candidate], int, float | None]:
    """Return which jobs to take, among how many, and in how many seconds a rate allows more."""
    waiting: dict[str, list[_Candidate]] = {}
    wait: float | None = None
    for lane in lanes:
        waiting[lane.queue], pause = _candidates(dialect, lane, ready, count + 1)
        wait = _sooner(wait, pause)
    found = sum(len(candidates) for candidates in waiting.values())
    return turns.pick(waiting, {lane.queue: lane.weight for lane in lanes}, count), found, wait


def _pass_over(rows: list[_Ready], count: int, spread: int) -> list[_Ready]:
    """Return `count` of the jobs, which come in order: some from the first on, or from one of equal priority."""
    equal = sum(priority == rows[0][1] for _, priority, _ in rows)
    first = random.randint(0, max(min(equal - count, spread), 0))
    return rows[first : first + count]


def _candidates(
    dialect: Dialect, lane: Lane, ready: Mapping[str, list[_Ready]], count: int
) -> tuple[list[_Candidate], float | None]:
    """Return the ready jobs of a queue, in order, and the seconds until a rate allows more."""
    found: list[_Candidate] = []
    wait: float | None = None
    for limits in lane.tasks:
        rows = ready.get(limits.task, [])
        if _is_limited(limits):
            allowed, pause = _allowed(dialect, limits, count)
            wait = _sooner(wait, pause)
            if allowed > 0:
                rows = _readable(dialect, dialect.query(READY, {"task": limits.task, "count": allowed}))
        found += [(-priority, due, number, limits) for number, priority, due in rows]
    if len(lane.tasks) > 1:
        found.sort(key=lambda candidate: candidate[:3])
    return found, wait


def _readable(dialect: Dialect, rows: Sequence[Row]) -> list[_Ready]:
    """Return the jobs that can be ordered; make the others dead."""
    found: list[_Ready] = []
    for row in rows:
        number, priority, due = row
        if isinstance(number, int) and isinstance(priority, int) and isinstance(due, int):
            found.append((number, priority, due))
        else:
            bury(dialect, cast("int", number), None, f"priority and due must be whole numbers, not {row[1:]!r}")
    return found


def _is_limited(limits: Limits) -> bool:
    return limits.rate is not None or limits.running is not None


def _allowed(dialect: Dialect, limits: Limits, count: int) -> tuple[int, float | None]:
    """Return how many jobs of a task may start, and the seconds until its rate allows one if it allows none."""
    wait: float | None = None
    if limits.rate is not None:
        # locks the task's row if several workers claim at once; this also protects the count of running jobs
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
    """Return a task's theoretical arrival time and the current time, in microseconds, and lock the row."""
    rows = dialect.query(READ_RATE, {"task": task})
    if not rows:
        dialect.change(MAKE_RATE, {"task": task})
        rows = dialect.query(READ_RATE, {"task": task})
    arrival, now = cast("tuple[int, int]", rows[0])
    return arrival, now * 1000


def _interval(rate: tuple[int, float]) -> int:
    count, per = rate
    return max(round(per * 1e6 / count), 1)


def _take(
    dialect: Dialect, worker: str, picked: Sequence[_Candidate], lease: float | None
) -> tuple[tuple[Claimed, ...], float | None]:
    """Claim jobs; return them, and the seconds until a used-up rate allows another one."""
    by_task: dict[str, list[_Candidate]] = {}
    for candidate in picked:
        by_task.setdefault(candidate[3].task, []).append(candidate)
    asked = [_of(f"SELECT {CLAIMED_COLUMNS} FROM fcgi_jobs", picked)]
    for of_task in by_task.values():
        limits = of_task[0][3]
        asked.append(_of(TAKE, of_task, worker=worker, on_loss=limits.on_loss, attempts=limits.attempts))
    if lease is not None and dialect.optimistic:
        # a worker on another node that considers this one dead changes the row too, so one of the two is rolled back
        asked.append((SEEN, {"worker": worker, "lease": round(lease * 1000)}))
    rows, *_ = dialect.ask(asked)
    wait: float | None = None
    by_number = {row[0]: row for row in rows}
    for of_task in by_task.values():
        limits = of_task[0][3]
        if limits.rate is None and limits.running is not None and dialect.optimistic:
            # likewise a worker that claims jobs of this task
            dialect.change(WRITE_RATE, {"task": limits.task, "arrival": _rate(dialect, limits.task)[0] + 1})
        if limits.rate is not None:
            arrival, now = _rate(dialect, limits.task)
            interval = _interval(limits.rate)
            arrival = max(arrival, now) + len(of_task) * interval
            dialect.change(WRITE_RATE, {"task": limits.task, "arrival": arrival})
            used_up = arrival + interval - limits.rate[0] * interval - now
            # 0 if time has passed since then, and the rate allows more than was asked for
            wait = _sooner(wait, max(used_up, 0) / 1e6)
    found = (read_claimed(dialect, by_number[candidate[2]]) for candidate in picked)
    return tuple(claimed for claimed in found if claimed is not None), wait


def _of(statement: str, candidates: Sequence[_Candidate], **more: object) -> tuple[str, dict[str, object]]:
    """Return a statement for several jobs, and its parameters."""
    which, numbers = among(candidate[2] for candidate in candidates)
    return f"{statement} WHERE {which}", numbers | more


def _sooner(one: float | None, other: float | None) -> float | None:
    if one is None or other is None:
        return one if other is None else other
    return min(one, other)
