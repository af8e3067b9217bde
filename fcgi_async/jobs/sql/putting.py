"""Store new jobs."""

from __future__ import annotations

from collections.abc import Sequence

from fcgi_async.jobs.record import NewJob
from fcgi_async.jobs.sql.dialect import Dialect
from fcgi_async.jobs.sql.statements import HAS_ID, HOLDER, INSERT, INSERT_COLUMNS, RELEASE_UNIQUE

__all__ = ("parameters_of", "put", "statement")


def put(dialect: Dialect, jobs: Sequence[NewJob]) -> list[str | None]:
    """Store jobs; see `Store.put()`."""
    dialect.will_ring("work")
    plain = [job for job in jobs if job.unique is None]
    dialect.change_many(INSERT, [parameters_of(job) for job in plain])
    if len(plain) == len(jobs):
        return [None] * len(jobs)
    return [None if job.unique is None else _put_unique(dialect, job) for job in jobs]


def parameters_of(job: NewJob) -> dict[str, object]:
    """Return the parameters of `INSERT`."""
    return {
        "id": job.id,
        "task": job.task,
        "data": job.data,
        "state": "delayed" if job.delay > 0 else "ready",
        "delay": round(job.delay * 1000),
        "priority": job.priority,
        "unique_key": job.unique,
        "unique_for": None if job.unique is None else round(job.unique_for * 1000),
        "batch": job.batch,
        "chain": job.chain,
        "trace": job.trace,
    }


def statement(dialect: Dialect, job: NewJob, placeholder: str) -> tuple[str, tuple[object, ...]]:
    """Return an INSERT for the caller's connection, with times from the database's clock."""
    given = parameters_of(job)
    now = dialect.types.now
    values, parameters = [], []
    for column in INSERT_COLUMNS:
        if column in ("created", "due", "unique_until"):
            values.append(now)
            after = {"created": 0, "due": given["delay"], "unique_until": given["unique_for"]}[column]
            if after is None:
                values[-1] = "NULL"
            elif after:
                values[-1] = f"{now} + {placeholder}"
                parameters.append(after)
        else:
            values.append(placeholder)
            parameters.append(given[column])
    text = f"INSERT INTO fcgi_jobs ({', '.join(INSERT_COLUMNS)}) VALUES ({', '.join(values)})"
    return text, tuple(parameters)


def _put_unique(dialect: Dialect, job: NewJob) -> str | None:
    parameters = parameters_of(job)
    dialect.change(RELEASE_UNIQUE, parameters)
    if dialect.change(INSERT, parameters) == 1 or dialect.query(HAS_ID, parameters):
        return None
    holders = dialect.query(HOLDER, parameters)
    return str(holders[0][0]) if holders else ""
