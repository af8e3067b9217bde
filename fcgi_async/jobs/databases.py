"""Databases: several databases of durable jobs, each with its own queues."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

import anyio

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.checks import check_name
from fcgi_async.jobs.client import Jobs
from fcgi_async.jobs.errors import StoreError, StoreUnavailable
from fcgi_async.jobs.handle import JobHandle
from fcgi_async.jobs.locate import LEASE
from fcgi_async.jobs.task import Task

__all__ = ("Databases",)

logger = logging.getLogger("fcgi_async.jobs")


class Databases:
    """Several databases of durable jobs; the queue of a task decides in which one its jobs are stored.

        databases = Databases({"mail": "postgresql://jobs@mail-db/jobs"}, others="mysql://jobs@db/shop")
        async with Dispatcher(endpoint) as php, databases:
            await databases.enqueue(mail, {"to": "a@example.org"})
            await Worker(php, databases, tasks=[mail, report]).run()

    `of()` returns each one as a `Jobs`. A batch or a chain is stored in one database, and refuses tasks whose queue is
    in another one. An unreachable database stops only its own queues: entering this does not wait for it, and its
    calls raise `StoreUnavailable` until it is back.

    Attributes:
        all: each database once, in the order in which they were named.

    Args:
        queues: the URL or Path of the database of each queue, as `Jobs` takes it; queues may share one.
        others: the database of all other queues; None if there are none.
        payload_limit: as `Jobs` takes it.
        lease: as `Jobs` takes it.

    Raises:
        ConfigurationError: there is no database, its kind is unknown, or a queue's name is not valid.
        ImportError: a database's driver is not installed; the message tells how to install it.
    """

    def __init__(
        self,
        queues: Mapping[str, str | Path],
        others: str | Path | None = None,
        *,
        payload_limit: int = 1 << 20,
        lease: float = LEASE,
    ) -> None:
        if not isinstance(queues, Mapping):
            raise ConfigurationError(
                f'Databases(queues) must be a mapping such as {{"mail": "postgresql://..."}}, not {queues!r}'
            )
        if not queues and others is None:
            raise ConfigurationError("Databases(queues) is empty, and there are no others; name a database")
        made: dict[str | Path, Jobs] = {}
        for url in (*queues.values(), *(() if others is None else (others,))):
            made.setdefault(url, Jobs(url, payload_limit=payload_limit, lease=lease))
        self._queues = {check_name("the queue of Databases", queue): made[url] for queue, url in queues.items()}
        self._others = None if others is None else made[others]
        self.all = tuple(made.values())
        for jobs in self.all:
            jobs.holds = lambda queue, jobs=jobs: self._find(queue) is jobs  # type: ignore[misc]
        self._stack = AsyncExitStack()
        self._entered = False

    def of(self, task: Task | str) -> Jobs:
        """Return the database of a task, or of a queue by its name.

        Raises:
            ConfigurationError: that queue has no database.
        """
        queue = task.queue if isinstance(task, Task) else task
        found = self._find(queue)
        if found is None:
            raise ConfigurationError(
                f"no database is named for queue {queue!r}, and none for others; "
                f"there are {', '.join(map(repr, self._queues))}"
            )
        return found

    async def enqueue(
        self,
        task: Task,
        data: object = None,
        *,
        delay: float = 0.0,
        priority: int | None = None,
        unique: str | None = None,
        unique_for: float = 0.0,
        id: str | None = None,
    ) -> JobHandle:
        """Put a job into the database of its task's queue, as `Jobs.enqueue()` does, and raise what that raises."""
        return await self.of(task).enqueue(
            task, data, delay=delay, priority=priority, unique=unique, unique_for=unique_for, id=id
        )

    async def __aenter__(self) -> Self:
        """Connect to each database, and create or migrate its tables; unreachable ones are connected to later.

        Raises:
            StoreUnavailable: no database can be reached.
            StoreCorrupt: as for `Jobs`, for one of the databases.
            SchemaMismatch: as for `Jobs`, for one of the databases.
            ConfigurationError: it was entered already.
        """
        if self._entered:
            raise ConfigurationError("these Databases are entered already: use them as they are, or make others")
        self._entered = True
        failures: list[StoreError] = []
        try:
            async with AsyncExitStack() as stack:
                async with anyio.create_task_group() as group:
                    for jobs in self.all:
                        group.start_soon(_enter, jobs, stack, failures)
                for error in failures:
                    if len(failures) == len(self.all) or not isinstance(error, StoreUnavailable):
                        raise error
                    logger.warning("a database of jobs is away, and is connected to later: %s", error)
                self._stack = stack.pop_all()
        except BaseException:
            self._entered = False
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the calls in progress, then disconnect from all databases."""
        try:
            await self._stack.aclose()
        finally:
            self._entered = False

    def _find(self, queue: str) -> Jobs | None:
        return self._queues.get(queue, self._others)


async def _enter(jobs: Jobs, stack: AsyncExitStack, failures: list[StoreError]) -> None:
    try:
        away = await jobs.enter(waits=True)
    except StoreError as error:
        failures.append(error)
        return
    stack.push_async_exit(jobs)
    if away is not None:
        failures.append(away)
