"""Jobs: put durable jobs, and read them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.applications import Applications
from fcgi_async.jobs.batches import Batch, Step, make_successors, new_batch
from fcgi_async.jobs.chains import Chain
from fcgi_async.jobs.checks import check_key, check_name, check_number, check_pair, check_whole, to_json
from fcgi_async.jobs.errors import DuplicateJob, PayloadTooLarge, StoreUnavailable
from fcgi_async.jobs.handle import JobHandle, Waiting
from fcgi_async.jobs.locate import LEASE, find_store
from fcgi_async.jobs.record import Counts, NewJob, Query, Record, State, new_id, new_ids
from fcgi_async.jobs.store import Store
from fcgi_async.jobs.task import Task, priority_of

__all__ = ("Jobs",)

# seconds: a hundred years
_LONGEST = 100 * 365.25 * 86400


class Jobs(Applications):
    """Durable jobs in a database.

        async with Jobs("sqlite:///var/lib/app/jobs.db") as jobs:
            handle = await jobs.enqueue(report, {"year": 2026})
            print((await handle.result(timeout=60)).json())

    Enter and leave it in one event loop; any number of tasks may use it. It owns a thread with a connection.

    Args:
        url: "sqlite:///var/lib/app/jobs.db", or a Path of such a file, which is created if it does not exist; or
            "postgresql://user@host/database", with the settings of libpq, or "mysql://user@host/database", for workers
            on several machines.
        payload_limit: most bytes of JSON in the data of a job.
        lease: seconds without a sign after which a worker counts as lost and its jobs go to others, 0.5 or more; not
            used with SQLite, where the kernel tells.

    Raises:
        ConfigurationError: the kind of database is unknown, or a number is out of its range.
        ImportError: the database's driver is not installed; the message tells how to install it.
    """

    def __init__(self, url: str | Path, *, payload_limit: int = 1 << 20, lease: float = LEASE) -> None:
        check_whole("Jobs(payload_limit)", payload_limit, least=1)
        self._store = find_store(url, lease=lease)
        self.payload_limit = payload_limit
        self._waiting = Waiting()
        self._entered = False
        self._trace: Callable[[], str | None] | None = None
        # whether it keeps a queue: `Databases` keep some elsewhere
        self.holds: Callable[[str], bool] = lambda queue: True

    @property
    def store(self) -> Store:
        """The database, for extensions."""
        return self._store

    def trace_by(self, trace: Callable[[], str | None]) -> None:
        """Set a function that returns the W3C traceparent for a job that is put now, or None.

        Telemetry's `instrument_jobs()` uses this.
        """
        self._trace = trace

    async def __aenter__(self) -> Self:
        """Connect, and create or migrate the tables.

        Raises:
            StoreUnavailable: the database cannot be reached, or is on a network file system.
            StoreCorrupt: the file is not a database.
            SchemaMismatch: a later release has migrated the tables.
            ConfigurationError: it was entered already.
        """
        await self.enter()
        return self

    async def enter(self, *, waits: bool = False) -> StoreUnavailable | None:
        """Do what `async with` does; if it `waits`, return why a database is away instead of raising it."""
        if self._entered:
            raise ConfigurationError("this Jobs was entered already: use it, or make another one")
        self._entered = True
        try:
            return await self._store.open(waits=waits)
        except BaseException:
            self._entered = False
            raise

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the calls in progress, then disconnect."""
        try:
            await self._store.aclose()
        finally:
            self._entered = False

    # putting

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
        """Put a job and return its handle. The job is on disk when this returns.

        Args:
            task: the task that runs it.
            data: the data for PHP, as JSON.
            delay: seconds until it may run.
            priority: higher runs first; None for the task's priority.
            unique: a key that only one job of the task can hold at a time: until it is done, dead or cancelled, and for
                at least `unique_for` seconds.
            unique_for: seconds.
            id: a name for the job, 1 to 100 letters, digits and `_ . : -`; None makes one. A call that is repeated with
                the same id stores only one job.

        Raises:
            InvalidJob: the data cannot be written as JSON.
            PayloadTooLarge: the data is longer than `payload_limit`.
            ConfigurationError: an argument is out of its range.
            DuplicateJob: another job holds the unique key.
            StoreUnavailable: the database cannot be written to; `may_be_stored` tells whether the job may be stored.
            StoreFull: the disk or the database is full.
            StoreRefused: the database's encoding lacks a character of the unique key.

        After a cancellation, the job may or may not be stored; repeat the call with the same `id` to be sure.
        """
        new = self._new(task, data, delay, priority, unique, unique_for, id)
        [holder] = await self._store.put([new])
        if holder is not None:
            raise DuplicateJob(
                f"unique={unique!r} of task {task.name!r} is held by job {holder or '?'}; use that job, or another key",
                unique=str(unique),
                id=holder,
            )
        return self._handle(new)

    async def enqueue_many(self, jobs: Iterable[tuple[Task, object]]) -> list[JobHandle]:
        """Put jobs in one transaction, all or none, and return their handles in the same order.

        Args:
            jobs: pairs of a task and its data.

        Raises:
            InvalidJob: as for `enqueue()`; nothing is stored.
            PayloadTooLarge: as for `enqueue()`.
            StoreUnavailable: as for `enqueue()`.
            StoreFull: as for `enqueue()`.
        """
        pairs = list(map(check_pair, jobs))
        trace = None if self._trace is None else self._trace()
        new = [
            NewJob(id=id, priority=priority_of(task), task=task.name, data=self._encode(task, data), trace=trace)
            for id, (task, data) in zip(new_ids(len(pairs)), pairs, strict=True)
        ]
        if new:
            await self._store.put(new)
        return [self._handle(job) for job in new]

    def batch(
        self,
        *,
        then: Step | None = None,
        on_failure: Step | None = None,
        id: str | None = None,
        abandon_after: float = 3600.0,
    ) -> Batch:
        """Return a batch to enter: added jobs may run at once, and another job is put when all of them are done.

            async with jobs.batch(then=report, on_failure=alarm) as batch:
                for page in pages:
                    await batch.add(render, {"page": page})

        Args:
            then: put once, when the batch is closed and all of its jobs are done: a task, which gets
                `{"batch": ID, "jobs": HOW_MANY}`, or a pair of a task and its own data.
            on_failure: put once, when the first job of the batch is dead, cancelled or in doubt, or the batch is
                abandoned: a task, which gets `{"batch": ID, "job": ID, "state": STATE}`, or a pair.
            id: a name for the batch, as for `enqueue()`; entering an open batch continues adding to it.
            abandon_after: seconds, more than 0; if nothing is added for so long, the adding process counts as lost: the
                batch fails, and `then` is not put.

        Raises:
            InvalidJob: the data of `then` or `on_failure` cannot be written as JSON.
            PayloadTooLarge: the data is longer than `payload_limit`.
            ConfigurationError: an argument is out of its range.
        """
        check_number("batch(abandon_after)", abandon_after, least=0.001)
        name = new_id() if id is None else check_name("id", id)
        new = new_batch(name, then, on_failure, self._make)
        return Batch(self._store, self._make, self.handle, name, new, abandon_after)

    async def chain(self, first: tuple[Task, object], *following: Step) -> Chain:
        """Put a chain of jobs: the first now, each further one in the transaction in which the one before is done.

            await jobs.chain((fetch, {"url": url}), resize, (publish, {"to": "web"}))

        Args:
            first: a task and its data.
            following: pairs of a task and its data; or tasks, which get the JSON that the job before returned.

        Raises:
            InvalidJob: as for `enqueue()`; nothing is stored.
            PayloadTooLarge: as for `enqueue()`.
            ConfigurationError: as for `enqueue()`.
            StoreUnavailable: as for `enqueue()`.
            StoreFull: as for `enqueue()`.
        """
        successors = make_successors((first, *following), self._make)
        await self._store.put([successors[0].new_job("null", successors[1:])])
        return Chain(tuple(self.handle(successor.id) for successor in successors))

    def statement(
        self,
        task: Task,
        data: object = None,
        *,
        delay: float = 0.0,
        priority: int | None = None,
        unique: str | None = None,
        unique_for: float = 0.0,
        id: str | None = None,
    ) -> tuple[str, tuple[object, ...]]:
        """Return an INSERT and its parameters, to put a job in the caller's own transaction.

            connection.execute(*jobs.statement(mail, {"order": 7}))

        Workers find the job within a second; `ring()` after the commit wakes them at once. If the unique key is held,
        the INSERT fails; a key whose time has passed is free within a second, if a worker runs. The arguments are those
        of `enqueue()`. This works even if `Jobs` is not entered.

        Raises:
            InvalidJob: as for `enqueue()`.
            PayloadTooLarge: as for `enqueue()`.
            ConfigurationError: as for `enqueue()`.
        """
        return self._store.statement(self._new(task, data, delay, priority, unique, unique_for, id))

    def ring(self) -> None:
        """Wake workers after jobs were put with `statement()`; does nothing if no worker listens."""
        self._store.ring()

    # reading

    def handle(self, id: str) -> JobHandle:
        """Return the handle of a job that was put before, by any program."""
        return JobHandle(self._store, self._waiting, id)

    async def find(
        self,
        *,
        states: Iterable[State] = (),
        task: str | None = None,
        queue: str | None = None,
        after: int = 0,
        limit: int = 100,
        data: bool = True,
    ) -> list[Record]:
        """Return jobs in the order in which they were put.

        Args:
            states: only jobs in one of these states; () for any.
            task: only jobs of this task.
            queue: only jobs of this queue, as reported by the workers of their tasks.
            after: only jobs whose `number` is higher.
            limit: most jobs to return, 1 or more.
            data: whether long values are read; if not, `Record.data` is "", `chain` is None, and `stderr` has only its
                end.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        check_whole("limit", limit, least=1)
        query = Query(states=tuple(states), task=task, queue=queue, after=after, limit=limit, data=data)
        return await self._store.find(query)

    async def get(self, id: str) -> Record:
        """Return the record of a job, with its stored response.

        Raises:
            UnknownJob: the job does not exist, or no longer.
            StoreUnavailable: the database cannot be read.
        """
        return await self.handle(id).record()

    async def counts(self) -> Counts:
        """Return the number of jobs in each state, the age of the oldest ready one, and the workers.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        return await self._store.counts()

    # actions of a person

    async def retry(self, *ids: str) -> int:
        """Make dead, cancelled and in-doubt jobs ready again, with all their attempts; return how many."""
        return await self._store.change("retry", self._named(ids))

    async def cancel(self, *ids: str) -> int:
        """Cancel jobs; return how many were cancelled or will be.

        Waiting jobs never run. A running job is not stopped, but not retried.
        """
        return await self._store.change("cancel", self._named(ids))

    async def purge(
        self,
        *ids: str,
        states: Iterable[State] = ("done", "dead", "cancelled"),
        older: float | None = None,
    ) -> int:
        """Delete jobs that have ended, or are in doubt if `states` has that; return how many.

        Args:
            ids: the jobs; all jobs if none is given.
            states: only jobs in one of these states.
            older: seconds, 0 or more; only jobs that ended, or last began, at least this long ago; None for any.
        """
        check_number("older", older, least=0, optional=True)
        named, purged = tuple(states), 0
        while True:
            # in several transactions, so that others do not wait long
            found = await self._store.change("purge", Query(ids=ids, states=named, older=older, limit=500))
            purged += found
            if found < 500:
                return purged

    async def pause(self, queue: str) -> None:
        """Stop workers from taking jobs of a queue, until `resume()`; running jobs continue."""
        await self._store.pause(check_name("queue", queue), paused=True)

    async def resume(self, queue: str) -> None:
        """Let workers take jobs of a queue again."""
        await self._store.pause(check_name("queue", queue), paused=False)

    def _named(self, ids: tuple[str, ...]) -> Query:
        if not ids:
            raise ConfigurationError("give the ids of the jobs")
        return Query(ids=ids, limit=len(ids))

    def _handle(self, job: NewJob) -> JobHandle:
        return JobHandle(self._store, self._waiting, job.id)

    def _make(self, task: Task, data: object, *, id: str | None = None, batch: str | None = None) -> NewJob:
        return attrs.evolve(self._new(task, data, 0.0, None, None, 0.0, id), batch=batch)

    def _new(
        self,
        task: Task,
        data: object,
        delay: float,
        priority: int | None,
        unique: str | None,
        unique_for: float,
        id: str | None,
    ) -> NewJob:
        wanted = priority_of(task, priority)
        check_number("delay", delay, least=0, most=_LONGEST)
        check_number("unique_for", unique_for, least=0, most=_LONGEST)
        if unique is not None:
            check_key(unique)
        return NewJob(
            id=new_id() if id is None else check_name("id", id),
            task=task.name,
            data=self._encode(task, data),
            delay=delay,
            priority=wanted,
            unique=unique,
            unique_for=unique_for,
            trace=None if self._trace is None else self._trace(),
        )

    def _encode(self, task: Task, data: object) -> str:
        if not self.holds(task.queue):
            kept = f"queue {task.queue!r} of task {task.name!r} is kept in another database"
            raise ConfigurationError(f"{kept}: use Databases.enqueue(); a batch or a chain lies in one database")
        text = to_json(f"the data for task {task.name!r}", data)
        if len(text) > self.payload_limit:
            raise PayloadTooLarge(
                f"the data for task {task.name!r} is {len(text)} bytes of JSON, more than payload_limit="
                f"{self.payload_limit}; store it elsewhere and put its name into the data"
            )
        return text
