"""Durable jobs: databases, tasks, schedules and workers."""

from __future__ import annotations

import sqlite3
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any, Final

from fcgi_async import ConfigurationError, Dispatcher, InvalidJob
from fcgi_async.jobs import (
    Backoff,
    Cron,
    DuplicateJob,
    Jobs,
    PayloadTooLarge,
    SchemaMismatch,
    StoreCorrupt,
    StoreUnavailable,
    Task,
    UnknownJob,
    Worker,
)
from tests.mistakes.mistake import ADDRESS, ECHO, TASK, Here, Mistake, enter

WRITE: Final = "write sqlite:///var/lib/app/jobs.db"
# not a task
BY_NAME: Any = "mail"
JSON: Final = "give dicts, lists"


def database(name: str, url: Any, what: str, where: str, cure: str) -> Mistake:
    """A database that cannot be one."""
    return Mistake(name, lambda _: Jobs(url), ConfigurationError, what, where, cure)


def with_jobs(
    name: str, use: Callable[[Any], Awaitable[object]], error: type[BaseException], what: str, where: str, cure: str
) -> Mistake:
    """A wrong use of an open database."""

    async def cause(here: Here) -> None:
        async with here.jobs() as jobs:
            await use(jobs)

    return Mistake(name, cause, error, what, where, cure)


def made(name: str, make: Callable[[], object], what: str, where: str, cure: str) -> Mistake:
    """A task, schedule or worker that cannot be made."""
    return Mistake(name, lambda _: make(), ConfigurationError, what, where, cure)


async def later_schema(here: Here) -> None:
    await enter(here.jobs())
    connection = sqlite3.connect(here.folder / "jobs.db")
    connection.execute("update fcgi_schema set version = 999")
    connection.commit()
    connection.close()
    await enter(here.jobs())


async def same_key_twice(jobs: Jobs) -> None:
    await jobs.enqueue(TASK, unique="order-7")
    await jobs.enqueue(TASK, unique="order-7")


async def swapped(here: Here) -> None:
    php: Any = here.jobs()
    jobs: Any = Dispatcher(ADDRESS, max_children=1)
    Worker(php, jobs, [TASK])


def worker(name: str, what: str, where: str, cure: str, tasks: Any, **settings: Any) -> Mistake:
    """A worker that cannot be made."""

    async def cause(here: Here) -> None:
        async with here.php() as php, here.jobs() as jobs:
            Worker(php, jobs, tasks, **settings)

    return Mistake(name, cause, ConfigurationError, what, where, cure)


DATABASES: Final = (
    database("unknown database", "redis://localhost/0", "not a store of jobs", "redis:", WRITE),
    database("no URL", "jobs", "not a store of jobs", "this", WRITE),
    database("URL as a number", 5, "not int", "Jobs(url)", "sqlite:///var/lib/app/jobs.db"),
    database("SQLite without a file", "sqlite://", "names no file", "'sqlite://'", WRITE),
    database("SQLite in memory", "sqlite:///:memory:", "names no file", ":memory:", WRITE),
    database("MySQL without a database", "mysql://user@host", "names no database", "URL", "mysql://user@host/database"),
    database("unknown option", "mysql://user@host/jobs?charset=utf8", "has charset", "URL", "it may have ssl_ca"),
    database("PostgreSQL's URL", "postgresql://[", "cannot read", "URL", "write postgresql://user@host/database"),
    Mistake(
        "folder that is not there",
        lambda _: enter(Jobs("sqlite:///nowhere/jobs.db")),
        StoreUnavailable,
        "unable to open",
        "/nowhere/jobs.db",
        "folder must be there",
    ),
    Mistake(
        "file that is not a database",
        lambda here: enter(Jobs(here.write("jobs.db", "hello " * 1000))),
        StoreCorrupt,
        "not a database",
        "jobs.db",
        "restore it from a backup",
    ),
    Mistake("tables of a later release", later_schema, SchemaMismatch, "later release", "999", "upgrade fcgi-async"),
    Mistake(
        "database that is not open",
        lambda here: here.jobs().enqueue(TASK),
        StoreUnavailable,
        "is closed",
        "database",
        "async with Jobs(...)",
    ),
)

PUTS: Final = (
    with_jobs(
        "task by its name", lambda jobs: jobs.enqueue("mail"), ConfigurationError, "a Task", "'mail'", "write Task("
    ),
    with_jobs("data that is not JSON", lambda jobs: jobs.enqueue(TASK, {1}), InvalidJob, "JSON", "task 'mail'", JSON),
    with_jobs(
        "data that is too long",
        lambda jobs: jobs.enqueue(TASK, "x" * 2_000_000),
        PayloadTooLarge,
        "2000002 bytes",
        "payload_limit=",
        "store it elsewhere",
    ),
    with_jobs(
        "delay as a timedelta",
        lambda jobs: jobs.enqueue(TASK, delay=timedelta(hours=1)),
        ConfigurationError,
        "timedelta",
        "delay",
        "must be a number",
    ),
    with_jobs(
        "id with a blank",
        lambda jobs: jobs.enqueue(TASK, id="a b"),
        ConfigurationError,
        "not 'a b'",
        "id",
        "letters, digits",
    ),
    with_jobs(
        "empty key",
        lambda jobs: jobs.enqueue(TASK, unique=""),
        ConfigurationError,
        "not ''",
        "unique",
        "1 to 200 printable",
    ),
    with_jobs("key that is held", same_key_twice, DuplicateJob, "is held by job", "unique='order-7'", "another key"),
    with_jobs(
        "tasks instead of pairs",
        lambda jobs: jobs.enqueue_many([TASK]),
        ConfigurationError,
        "pairs",
        "jobs",
        "give (task, None)",
    ),
    with_jobs("unknown id", lambda jobs: jobs.get("a-1"), UnknownJob, "no job", "'a-1'", "deleted after a time"),
)


TASKS: Final = (
    made("name with a blank", lambda: Task("send mail", ECHO), "not 'send mail'", "Task(name)", "letters, digits"),
    made("no attempt", lambda: Task("mail", ECHO, attempts=0), "not 0", "Task(attempts)", "at least 1"),
    made("unknown on_doubt", lambda: Task("mail", ECHO, on_doubt="ask"), "on_doubt='ask'", "Task(", '"hold", "retry"'),  # type: ignore[arg-type]
    made("negative backoff", lambda: Backoff(-1), "not -1", "Backoff(first)", "at least 0"),
    made("cron line of three", lambda: Cron("n", "0 3 *", TASK), "Wrong number of fields", "'0 3 *'", "as 15 3 * * *"),
    made("30 February", lambda: Cron("n", "0 0 30 2 *", TASK), "Bad day-of-month", "'0 0 30 2 *'", "as 15 3 * * *"),
    made(
        "unknown time zone",
        lambda: Cron("n", "* * * * *", TASK, timezone="Berlin"),
        "not known",
        "'Berlin'",
        "write it as Europe/Berlin",
    ),
    made(
        "task of a cron by name",
        lambda: Cron("n", "* * * * *", BY_NAME),
        "not 'mail'",
        "Cron(task)",
        "Task(name, script)",
    ),
    Mistake("worker's arguments swapped", swapped, ConfigurationError, "not Dispatcher", "Worker(jobs)", "after the"),
    worker("no tasks", "is empty", "Worker(tasks)", "at least one Task", []),
    worker("one task", "not one", "Worker(tasks)", "a sequence of Tasks", TASK),
    worker("tasks by name", "not 'mail'", "Worker(tasks)", "Task(name, script)", ["mail"]),
    worker("two tasks of one name", "two tasks", "'mail'", "rename one", [TASK, Task("mail", "/b.php")]),
    worker("queue without tasks", "no task has", "slow", "Worker(queues)", [TASK], queues={"slow": 1}),
)
