"""The tables, their indexes and their versions; a contract, since others may INSERT.

Times are whole milliseconds since 1970. Text in braces is the dialect's.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ("MIGRATIONS", "VERSION", "Types", "creation")

VERSION: Final = 1


@attrs.frozen(kw_only=True)
class Types:
    """What a dialect calls things.

    Attributes:
        key: the type of a number that counts up by itself and is the primary key.
        name: text of up to 200 characters that is compared byte by byte.
        text: long text.
        blob: bytes.
        long: a whole number of 64 bits.
        now: milliseconds since 1970, as a default.
        id: a new id, as a default.
        where: " WHERE {}" if indexes can be partial, "" if not.
        options: what stands after a table's columns.
    """

    key: str
    name: str
    text: str
    blob: str
    long: str
    now: str
    id: str
    where: str = " WHERE {}"
    options: str = ""


_TABLES: Final = (
    "CREATE TABLE fcgi_schema (version INTEGER NOT NULL){options}",
    """CREATE TABLE fcgi_jobs (
    number {key},
    id {name} NOT NULL DEFAULT {id},
    task {name} NOT NULL,
    data {text} NOT NULL,
    state {name} NOT NULL DEFAULT 'ready'
        CHECK (state IN ('delayed', 'ready', 'running', 'done', 'dead', 'cancelled', 'in_doubt')),
    priority INTEGER NOT NULL DEFAULT 0,
    created {long} NOT NULL DEFAULT {now},
    due {long} NOT NULL DEFAULT {now},
    unique_key {name},
    unique_until {long},
    attempt INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    worker {name},
    on_loss {name},
    attempts INTEGER,
    started {long},
    finished {long},
    keep_until {long},
    cancel INTEGER NOT NULL DEFAULT 0,
    progress {long},
    progress_of {long},
    batch {name},
    chain {text},
    trace {name},
    status INTEGER,
    error {text},
    stderr {text},
    result_headers {text},
    result {blob}
){options}""",
    # open: jobs may still be added, until open_until unless one is; pending: jobs that have not ended; next_*: jobs to
    # put then, as JSON
    """CREATE TABLE fcgi_batches (
    id {name} NOT NULL PRIMARY KEY,
    created {long} NOT NULL DEFAULT {now},
    open INTEGER NOT NULL DEFAULT 1,
    open_until {long},
    total INTEGER NOT NULL DEFAULT 0,
    pending INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0,
    next_done {text},
    next_failed {text},
    finished {long}
){options}""",
    # what the workers last said of their tasks
    """CREATE TABLE fcgi_tasks (
    name {name} NOT NULL PRIMARY KEY,
    queue {name} NOT NULL,
    seen {long} NOT NULL
){options}""",
    "CREATE TABLE fcgi_queues (name {name} NOT NULL PRIMARY KEY, paused INTEGER NOT NULL DEFAULT 0){options}",
    # arrival: the theoretical time of arrival in microseconds, by the generic cell rate algorithm
    "CREATE TABLE fcgi_rates (task {name} NOT NULL PRIMARY KEY, arrival {long} NOT NULL){options}",
    """CREATE TABLE fcgi_workers (
    id {name} NOT NULL PRIMARY KEY,
    host {name} NOT NULL,
    pid INTEGER NOT NULL,
    started {long} NOT NULL,
    seen {long} NOT NULL,
    lease {long}
){options}""",
    # tick: the last one that was put; definition: the line and time zone that it was computed with
    """CREATE TABLE fcgi_crons (
    name {name} NOT NULL PRIMARY KEY,
    definition {text} NOT NULL,
    tick {long} NOT NULL
){options}""",
)

# what it is, its columns, which rows a partial index has, and what is put before the columns where it cannot be partial
_INDEXES: Final = (
    ("UNIQUE INDEX fcgi_jobs_id", "id", "", ""),
    ("UNIQUE INDEX fcgi_jobs_unique", "task, unique_key", "unique_key IS NOT NULL", ""),
    ("INDEX fcgi_jobs_ready", "task, priority DESC, due, number", "state = 'ready'", "state, "),
    ("INDEX fcgi_jobs_delayed", "due, task", "state = 'delayed'", "state, "),
    ("INDEX fcgi_jobs_worker", "worker, task", "worker IS NOT NULL", ""),
    ("INDEX fcgi_jobs_stuck", "state, task", "state IN ('dead', 'in_doubt')", ""),
    ("INDEX fcgi_jobs_kept", "keep_until, state, task", "keep_until IS NOT NULL", ""),
    ("INDEX fcgi_jobs_batch", "batch", "batch IS NOT NULL", ""),
)

# by the version that they start from: statements that make the next one of it
MIGRATIONS: Final[dict[int, tuple[str, ...]]] = {}


def creation(types: Types) -> list[str]:
    """Return the statements that make the tables of `VERSION` in an empty database."""
    names = attrs.asdict(types)
    tables = [table.format(**names) for table in _TABLES]
    indexes = [
        f"CREATE {index} ON fcgi_jobs ({columns if types.where or not rows else lead + columns})"
        f"{types.where.format(rows) if rows else ''}"
        for index, columns, rows, lead in _INDEXES
    ]
    return [*tables, *indexes, f"INSERT INTO fcgi_schema (version) VALUES ({VERSION})"]
