"""Looking at jobs, and what a person does to them."""

from __future__ import annotations

import json
from typing import Final, cast

from fcgi_async.jobs.record import (
    FINISHED,
    STATES,
    Counts,
    Query,
    Record,
    State,
    StoredResponse,
    WorkerRecord,
)
from fcgi_async.jobs.sql.batches import Ended, abandon_old, follow
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.settling import KEEP
from fcgi_async.jobs.sql.statements import (
    AGES,
    CANCEL,
    CANCEL_RUNNING,
    COUNTS,
    FAULTS,
    FIND_COLUMNS,
    MAKE_QUEUE,
    NOTE,
    OLDEST,
    PAUSED,
    PURGE,
    RETRY,
    SET_QUEUE,
    SWEEP,
    TASKS,
    WORKERS,
)
from fcgi_async.jobs.store import Action

__all__ = ("change", "check", "counts", "find", "note", "pause", "sweep")

# to which states an action applies
_APPLIES: Final[dict[Action, frozenset[State]]] = {
    "retry": frozenset({"dead", "cancelled", "in_doubt"}),
    "cancel": frozenset({"delayed", "ready", "in_doubt", "running"}),
    "purge": FINISHED | {"in_doubt"},
}


def find(dialect: Dialect, query: Query) -> list[Record]:
    """Return the jobs that are meant; see `Store.find()`."""
    columns = FIND_COLUMNS + (", j.result_headers, j.result" if query.content else "")
    where, parameters = _conditions(query, query.states)
    statement = f"""SELECT {columns} FROM fcgi_jobs AS j LEFT JOIN fcgi_tasks AS t ON t.name = j.task
        WHERE {where} ORDER BY j.number LIMIT :count"""
    return [_record(row) for row in dialect.query(statement, parameters)]


def counts(dialect: Dialect) -> Counts:
    """Return how many jobs there are; see `Store.counts()`."""
    states: dict[State, int] = dict.fromkeys(STATES, 0)
    tasks: dict[str, dict[State, int]] = {}
    for statement in COUNTS:
        for row in dialect.query(statement):
            state, task, count = cast("tuple[State, str, int]", row)
            states[state] += count
            of_task = tasks.setdefault(task, {})
            of_task[state] = of_task.get(state, 0) + count
    oldest = cast("int | None", dialect.query(OLDEST)[0][0])
    ages = cast("list[tuple[str, int]]", dialect.query(AGES))
    workers = cast("list[tuple[str, str, int, int, int]]", dialect.query(WORKERS))
    return Counts(
        states=states,
        tasks=tasks,
        paused=tuple(sorted(str(row[0]) for row in dialect.query(PAUSED))),
        oldest=None if oldest is None else max(oldest, 0) / 1000,
        workers=tuple(
            WorkerRecord(id=id, host=host, pid=pid, started=started / 1000, seen=seen / 1000)
            for id, host, pid, started, seen in workers
        ),
        queues={str(task): str(queue) for task, queue in dialect.query(TASKS)},
        ages={task: max(age, 0) / 1000 for task, age in ages},
    )


def change(dialect: Dialect, action: Action, query: Query) -> int:
    """Retry, cancel or purge jobs; see `Store.change()`."""
    fits = tuple(state for state in query.states or STATES if state in _APPLIES[action])
    if not fits:
        return 0
    where, parameters = _conditions(query, fits)
    statement = f"""SELECT j.number, j.state, j.id, j.batch, j.chain FROM fcgi_jobs AS j
        WHERE {where} ORDER BY j.number LIMIT :count"""
    changed, ended = 0, []
    rows = cast("list[tuple[int, State, str, str | None, str | None]]", dialect.query(statement, parameters))
    for number, state, id, batch, chain in rows:
        running = action == "cancel" and state == "running"
        how = {"retry": RETRY, "cancel": CANCEL_RUNNING if running else CANCEL, "purge": PURGE}[action]
        done = dialect.change(how, {"number": number, "keep": round(KEEP * 1000)})
        changed += done
        if done and batch is not None and action != "purge" and not running:
            ended.append(Ended(id, batch, chain, before=state, state="ready" if action == "retry" else "cancelled"))
    follow(dialect, ended)
    if changed:
        dialect.will_ring("work" if action == "retry" else "ends")
    return changed


def note(dialect: Dialect, id: str, error: str) -> bool:
    """Write what is known of a job in doubt; see `Store.note()`."""
    return dialect.change(NOTE, {"id": id, "error": error}) == 1


def pause(dialect: Dialect, queue: str, paused: bool) -> None:
    """Pause a queue or let it go on; see `Store.pause()`."""
    parameters = {"queue": queue, "paused": int(paused)}
    dialect.change(MAKE_QUEUE, parameters)
    dialect.change(SET_QUEUE, parameters)
    if not paused:
        dialect.will_ring("work")


def sweep(dialect: Dialect) -> int:
    """Delete what need not be kept any more; see `Store.sweep()`."""
    abandon_old(dialect, KEEP)
    return dialect.change(SWEEP)


def check(dialect: Dialect) -> list[str]:
    """Return what is wrong; see `Store.check()`."""
    faults = dialect.check()
    for statement, fault in FAULTS:
        found = cast("int", dialect.query(statement)[0][0])
        if found:
            faults.append(f"{found} jobs {fault}")
    return faults


def _conditions(query: Query, states: tuple[State, ...]) -> tuple[str, dict[str, object]]:
    conditions = ["j.number > :after"]
    parameters: dict[str, object] = {"after": query.after, "count": query.limit}
    for column, values in (("id", query.ids), ("state", states)):
        if values:
            names = [f"{column}_{index}" for index in range(len(values))]
            parameters.update(zip(names, values, strict=True))
            conditions.append(f"j.{column} IN ({', '.join(f':{name}' for name in names)})")
    for column, value in (("task", query.task), ("batch", query.batch)):
        if value is not None:
            parameters[column] = value
            conditions.append(f"j.{column} = :{column}")
    if query.queue is not None:
        parameters["queue"] = query.queue
        conditions.append("j.task IN (SELECT name FROM fcgi_tasks WHERE queue = :queue)")
    if query.older is not None:
        parameters["older"] = round(query.older * 1000)
        conditions.append("COALESCE(j.finished, j.started, j.created) <= {now} - :older")
    return " AND ".join(conditions), parameters


_FoundRow = tuple[
    int,
    str,
    str,
    str | None,
    str,
    State,
    int,
    int,
    int,
    int,
    int,
    str | None,
    int | None,
    int | None,
    str | None,
    str | None,
    str | None,
    str | None,
    int | None,
    int | None,
    int,
    int | None,
    str | None,
    str | None,
    int | None,
]


def _record(row: tuple[object, ...]) -> Record:
    found = cast("_FoundRow", row[:25])
    number, id, task, queue, data, state, priority, created, due, attempt, failed, worker, started, finished = found[
        :14
    ]
    unique, batch, chain, trace, progress, progress_of, cancel, status, error, stderr, keep_until = found[14:]
    response: StoredResponse | None = None
    headers, content = cast("tuple[str | None, bytes | None]", row[25:] or (None, None))
    if headers is not None and status is not None:
        response = StoredResponse(status=status, headers=json.loads(headers), content=bytes(content or b""))
    return Record(
        number=number,
        id=id,
        task=task,
        queue=queue,
        data=data,
        state=state,
        priority=priority,
        created=created / 1000,
        due=due / 1000,
        attempt=attempt,
        failed=failed,
        worker=worker,
        started=_seconds(started),
        finished=_seconds(finished),
        unique=unique,
        batch=batch,
        chain=chain,
        trace=trace,
        progress=progress,
        progress_of=progress_of,
        cancel=bool(cancel),
        status=status,
        error=error,
        stderr=stderr,
        keep_until=_seconds(keep_until),
        response=response,
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000
