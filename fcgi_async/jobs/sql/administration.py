"""Find and count jobs, and the actions of a person on them."""

from __future__ import annotations

import json
import re
from typing import Final, cast

import attrs

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
from fcgi_async.jobs.sql.dialect import Dialect, Row, decode
from fcgi_async.jobs.sql.settling import KEEP
from fcgi_async.jobs.sql.statements import (
    AGES,
    CANCEL,
    CANCEL_RUNNING,
    COUNTS,
    FAULTS,
    FIND_BRIEFLY,
    FIND_COLUMNS,
    IN_DOUBT,
    LONG,
    MAKE_QUEUE,
    NOTE,
    OLDEST,
    PAUSED,
    PURGE,
    RELEASE_KEYS,
    RETRY,
    SET_QUEUE,
    SWEEP,
    TASKS,
    WORKERS,
)
from fcgi_async.jobs.store import Action

__all__ = ("change", "check", "counts", "find", "note", "pause", "sweep")

# the states to which an action applies
_APPLIES: Final[dict[Action, frozenset[State]]] = {
    "retry": frozenset({"dead", "cancelled", "in_doubt"}),
    "cancel": frozenset({"delayed", "ready", "in_doubt", "running"}),
    "purge": FINISHED | {"in_doubt"},
}


def find(dialect: Dialect, query: Query) -> list[Record]:
    """Return the selected jobs; see `Store.find()`."""
    columns = (FIND_COLUMNS if query.data else FIND_BRIEFLY) + (", j.result_headers, j.result" if query.content else "")
    where, parameters = _conditions(query, query.states)
    if query.most is not None:
        parameters["most"] = query.most
        for column in LONG.values():
            columns = re.sub(rf"{column}\b", f"substr({column}, 1, :most)", columns)
        columns += "".join(f", {{length}}({column})" for column in LONG.values())
    statement = f"""SELECT {columns} FROM fcgi_jobs AS j LEFT JOIN fcgi_tasks AS t ON t.name = j.task
        WHERE {where} ORDER BY j.number LIMIT :count"""
    rows = dialect.query(statement, parameters)
    if query.most is None:
        return [_record(row) for row in rows]
    return [attrs.evolve(_record(row[: -len(LONG)]), lengths=_too_long(row[-len(LONG) :], query.most)) for row in rows]


def counts(dialect: Dialect) -> Counts:
    """Return the numbers of jobs; see `Store.counts()`."""
    states: dict[State, int] = dict.fromkeys(STATES, 0)
    tasks: dict[str, dict[State, int]] = {}
    for statement in COUNTS:
        for row in dialect.query(statement):
            state, task, count = cast("tuple[State, str, int]", row)
            states[state] += count
            of_task = tasks.setdefault(task, {})
            of_task[state] = of_task.get(state, 0) + count
    oldest, now = dialect.query(OLDEST)[0]
    ages = dialect.query(AGES)
    workers = cast("list[tuple[str, str, int, int, int]]", dialect.query(WORKERS))
    return Counts(
        states=states,
        tasks=tasks,
        paused=tuple(sorted(str(row[0]) for row in dialect.query(PAUSED))),
        oldest=None if oldest is None else _age(now, oldest),
        workers=tuple(
            WorkerRecord(id=id, host=host, pid=pid, started=started / 1000, seen=seen / 1000)
            for id, host, pid, started, seen in workers
        ),
        queues={str(task): str(queue) for task, queue in dialect.query(TASKS)},
        ages={str(task): _age(now, due) for task, due in ages},
    )


def change(dialect: Dialect, action: Action, query: Query) -> int:
    """Retry, cancel or purge jobs; see `Store.change()`."""
    fits = tuple(state for state in query.states or STATES if state in _APPLIES[action])
    if not fits:
        return 0
    where, parameters = _conditions(query, fits)
    statement = f"""SELECT j.number, j.state, j.id, j.batch, j.chain FROM fcgi_jobs AS j
        WHERE {where} ORDER BY j.number LIMIT :count"""
    if action == "purge" and not query.ids:
        statement += "{skip_locked}"
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
    """Write an explanation to a job in doubt; see `Store.note()`."""
    rows = dialect.query(IN_DOUBT, {"id": id})
    return bool(rows) and dialect.change(NOTE, {"number": rows[0][0], "error": dialect.storable(error)}) == 1


def pause(dialect: Dialect, queue: str, paused: bool) -> None:
    """Pause or resume a queue; see `Store.pause()`."""
    parameters = {"queue": queue, "paused": int(paused)}
    dialect.change(MAKE_QUEUE, parameters)
    dialect.change(SET_QUEUE, parameters)
    if not paused:
        dialect.will_ring("work")


def sweep(dialect: Dialect) -> int:
    """Delete jobs that need not be kept any longer; see `Store.sweep()`."""
    abandon_old(dialect, KEEP)
    dialect.change(RELEASE_KEYS)
    return dialect.change(SWEEP)


def check(dialect: Dialect) -> list[str]:
    """Return the faults; see `Store.check()`."""
    faults = dialect.check()
    for statement, fault in FAULTS:
        found = cast("int", dialect.query(statement)[0][0])
        if found:
            faults.append(f"{found} jobs {fault}")
    return faults


def _too_long(lengths: Row, most: int) -> dict[str, int]:
    """Return the lengths of the values that were read in part."""
    return {
        name: length for name, length in zip(LONG, lengths, strict=True) if isinstance(length, int) and length > most
    }


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


def _record(row: Row) -> Record:
    number, id, task, queue, data, state, priority, created, due, attempt, failed, worker, started, finished = row[:14]
    unique, batch, chain, trace, progress, progress_of, cancel, status, error, stderr, keep_until = row[14:25]
    headers, content = row[25:] or (None, None)
    return Record(
        number=_whole(number) or 0,
        id=_text(id) or "",
        task=_text(task) or "",
        queue=_text(queue),
        data=_text(data) or "",
        state=cast("State", state),
        priority=_whole(priority) or 0,
        created=_seconds(created) or 0.0,
        due=_seconds(due) or 0.0,
        attempt=_whole(attempt) or 0,
        failed=_whole(failed) or 0,
        worker=_text(worker),
        started=_seconds(started),
        finished=_seconds(finished),
        unique=_text(unique),
        batch=_text(batch),
        chain=_text(chain),
        trace=_text(trace),
        progress=_whole(progress),
        progress_of=_whole(progress_of),
        cancel=bool(cancel),
        status=_whole(status),
        error=_text(error),
        stderr=_text(stderr),
        keep_until=_seconds(keep_until),
        response=_response(_whole(status), _text(headers), content),
    )


def _response(status: int | None, headers: str | None, content: object) -> StoredResponse | None:
    if headers is None or status is None:
        return None
    try:
        found = json.loads(headers)
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or not isinstance(content, bytes | memoryview | None):
        return None
    named = {name: str(value) for name, value in cast("dict[str, object]", found).items()}
    return StoredResponse(status=status, headers=named, content=bytes(content or b""))


# a client with INSERT may have stored anything that the database does not check


def _text(value: object) -> str | None:
    if isinstance(value, bytes):
        return decode(value)
    return value if value is None or isinstance(value, str) else str(value)


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _seconds(value: object) -> float | None:
    milliseconds = _whole(value)
    return None if milliseconds is None else milliseconds / 1000


def _age(now: object, due: object) -> float:
    return max((_whole(now) or 0) - (_whole(due) or 0), 0) / 1000
