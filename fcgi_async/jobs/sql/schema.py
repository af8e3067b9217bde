"""The tables, their indexes and their versions. They are a contract, because other programs may INSERT.

Times are whole milliseconds since 1970. The dialect fills in text in braces.
"""

from __future__ import annotations

from typing import Final

import attrs

__all__ = ("VERSION", "Types", "creation", "indexes", "type_checks")

VERSION: Final = 3


@attrs.frozen(kw_only=True)
class Types:
    """The SQL of a dialect for the tables.

    Attributes:
        key: the type of the primary key, an automatic counter.
        name: the type of text of up to 200 characters, compared byte by byte.
        text: long text.
        blob: bytes.
        long: a whole number of 64 bits.
        now: the default for milliseconds since 1970.
        id: the default for a new id.
        where: " WHERE {}" if indexes can be partial, "" if not.
        options: the text after a table's columns.
        version_key: what makes the version a key, if every table has to have one.
        checks: whether columns accept values of any type unless they are checked.
        more: statements that create what only this database has.
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
    version_key: str = ""
    checks: bool = False
    more: tuple[str, ...] = ()


_TABLES: Final = (
    "CREATE TABLE fcgi_schema (version INTEGER NOT NULL{version_key}){options}",
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
    result {blob}{types_of_jobs}
){options}""",
    # open: jobs may still be added; open_until: when it is abandoned if none is added; pending: jobs that have not
    # ended; next_*: jobs to put then, as JSON
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
    # what the workers last reported about their tasks
    """CREATE TABLE fcgi_tasks (
    name {name} NOT NULL PRIMARY KEY,
    queue {name} NOT NULL,
    seen {long} NOT NULL
){options}""",
    "CREATE TABLE fcgi_queues (name {name} NOT NULL PRIMARY KEY, paused INTEGER NOT NULL DEFAULT 0){options}",
    # arrival: the theoretical time of arrival in microseconds, by the generic cell rate algorithm
    "CREATE TABLE fcgi_rates (task {name} NOT NULL PRIMARY KEY, arrival {long} NOT NULL){options}",
    # watched: for how long the server has answered after the lease was over; looked: when that was last counted
    """CREATE TABLE fcgi_workers (
    id {name} NOT NULL PRIMARY KEY,
    host {name} NOT NULL,
    pid INTEGER NOT NULL,
    started {long} NOT NULL,
    seen {long} NOT NULL,
    lease {long},
    watched {long} NOT NULL DEFAULT 0,
    looked {long}
){options}""",
    # tick: the last time that was put; definition: the line and time zone that it was computed with
    """CREATE TABLE fcgi_crons (
    name {name} NOT NULL PRIMARY KEY,
    definition {text} NOT NULL,
    tick {long} NOT NULL
){options}""",
)

# kind and name, table, columns, the rows of a partial index, and the columns that come first if it cannot be partial
_INDEXES: Final = (
    ("UNIQUE INDEX fcgi_jobs_id", "fcgi_jobs", "id", "", ""),
    ("UNIQUE INDEX fcgi_jobs_unique", "fcgi_jobs", "task, unique_key", "unique_key IS NOT NULL", ""),
    ("INDEX fcgi_jobs_ready", "fcgi_jobs", "task, priority DESC, due, number", "state = 'ready'", "state, "),
    ("INDEX fcgi_jobs_delayed", "fcgi_jobs", "due, task", "state = 'delayed'", "state, "),
    ("INDEX fcgi_jobs_worker", "fcgi_jobs", "worker, task", "worker IS NOT NULL", ""),
    ("INDEX fcgi_jobs_stuck", "fcgi_jobs", "state, task", "state IN ('dead', 'in_doubt')", ""),
    ("INDEX fcgi_jobs_kept", "fcgi_jobs", "keep_until, state, task", "keep_until IS NOT NULL", ""),
    ("INDEX fcgi_jobs_batch", "fcgi_jobs", "batch", "batch IS NOT NULL", ""),
    (
        "INDEX fcgi_jobs_held",
        "fcgi_jobs",
        "unique_until",
        "unique_key IS NOT NULL AND state IN ('done', 'dead', 'cancelled')",
        "state, ",
    ),
    ("INDEX fcgi_batches_open", "fcgi_batches", "open_until", "open = 1", "open, "),
    ("INDEX fcgi_batches_finished", "fcgi_batches", "finished", "finished IS NOT NULL", ""),
)

_NUMBERS: Final = (
    "priority",
    "created",
    "due",
    "unique_until",
    "attempt",
    "failed",
    "attempts",
    "started",
    "finished",
    "keep_until",
    "cancel",
    "progress",
    "progress_of",
    "status",
)
_TEXTS: Final = (
    "id",
    "task",
    "data",
    "unique_key",
    "worker",
    "on_loss",
    "batch",
    "chain",
    "trace",
    "error",
    "stderr",
    "result_headers",
)


def creation(types: Types) -> list[str]:
    """Return the statements that create the tables of `VERSION` in an empty database."""
    names = attrs.asdict(types, filter=attrs.filters.exclude("more"))
    names["types_of_jobs"] = type_checks() if types.checks else ""
    tables = [table.format(**names) for table in _TABLES]
    return [*tables, *indexes(types).values(), *types.more, f"INSERT INTO fcgi_schema (version) VALUES ({VERSION})"]


def indexes(types: Types) -> dict[str, str]:
    """Return the statements that create the indexes, by name."""
    found = {}
    for index, table, columns, rows, lead in _INDEXES:
        indexed = columns if types.where or not rows else lead + columns
        where = types.where.format(rows) if rows else ""
        found[index.rpartition(" ")[2]] = f"CREATE {index} ON {table} ({indexed}){where}"
    return found


def type_checks() -> str:
    """Return the constraints that keep values of other types out of the columns of `fcgi_jobs`."""
    kinds = [*((name, "integer") for name in _NUMBERS), *((name, "text") for name in _TEXTS), ("result", "blob")]
    # NULL first: most columns are, and typeof() is called for none of these
    return "".join(
        f",\n    CONSTRAINT fcgi_jobs_{name}_is_{kind} CHECK ({name} IS NULL OR typeof({name}) = '{kind}')"
        for name, kind in kinds
    )
