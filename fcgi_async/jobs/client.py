"""Jobs: puts durable jobs, and looks at them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

import attrs

from fcgi_async.errors import ConfigurationError, InvalidJob
from fcgi_async.jobs.batches import Batch, Step, make_successors, new_batch
from fcgi_async.jobs.chains import Chain
from fcgi_async.jobs.checks import check_name, check_number, check_whole
from fcgi_async.jobs.errors import DuplicateJob, PayloadTooLarge
from fcgi_async.jobs.handle import JobHandle, Waiting
from fcgi_async.jobs.locate import find_store
from fcgi_async.jobs.record import Counts, NewJob, Query, Record, State, new_id
from fcgi_async.jobs.store import Store
from fcgi_async.jobs.task import Task

if TYPE_CHECKING:
    from fcgi_async.jobs.page import JobsPage

__all__ = ("Jobs",)

# what every database compares in an index
_LONGEST_KEY = 200
_LARGEST_PRIORITY = 2**31 - 1


class Jobs:
    """Durable jobs in a database.

        async with Jobs("sqlite:///var/lib/app/jobs.db") as jobs:
            handle = await jobs.enqueue(report, {"year": 2026})
            print((await handle.result(timeout=60)).json())

    Enter and leave it on one event loop; any number of tasks may use it. It owns a thread with a connection.

    Args:
        url: "sqlite:///var/lib/app/jobs.db", or a Path of such a file, which is made if it is not there.
        payload_limit: bytes of JSON that the data of a job may have.

    Raises:
        ConfigurationError: there is no such kind of database, or the limit is not a whole number of at least 1.
    """

    def __init__(self, url: str | Path, *, payload_limit: int = 1 << 20) -> None:
        check_whole("Jobs(payload_limit)", payload_limit, least=1)
        self._store = find_store(url)
        self.payload_limit = payload_limit
        self._waiting = Waiting()
        self._trace: Callable[[], str | None] | None = None

    @property
    def store(self) -> Store:
        """The database, for those who extend this."""
        return self._store

    def trace_by(self, trace: Callable[[], str | None]) -> None:
        """Have jobs carry a trace: a function that returns the W3C traceparent of who puts one, or None.

        Telemetry does it by `instrument_jobs()`.
        """
        self._trace = trace

    async def __aenter__(self) -> Self:
        """Connect, and make the tables or migrate them.

        Raises:
            StoreUnavailable: the database cannot be reached, or is on a network file system.
            StoreCorrupt: the file is not a database.
            SchemaMismatch: a later release has migrated it.
        """
        await self._store.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish what was called, then disconnect."""
        await self._store.aclose()

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
        """Put a job and return its handle; it is on disk when this returns.

        Args:
            task: what runs it.
            data: what PHP gets, as JSON.
            delay: seconds until it may run.
            priority: higher runs first; None for the task's.
            unique: a key that one job of the task holds at a time: until it is done, dead or cancelled, and for
                `unique_for` seconds at least.
            unique_for: seconds.
            id: a name for the job, 1 to 100 letters, digits and `_ . : -`; None makes one. A put that is repeated with
                the same id stores one job.

        Raises:
            InvalidJob: the data cannot be written as JSON.
            PayloadTooLarge: it is longer than `payload_limit`.
            ConfigurationError: an argument is out of its range.
            DuplicateJob: another job holds the unique key.
            StoreUnavailable: the database cannot be written to; it says whether the job may be stored.
            StoreFull: there is no room.

        Cancelling stores the job or does not; repeat it with the same `id` to be sure.
        """
        new = self._new(task, data, delay, priority, unique, unique_for, id)
        [holder] = await self._store.put([new])
        if holder is not None:
            raise DuplicateJob(
                f"unique={unique!r} of task {task.name!r} is held by job {holder or '?'}", unique=str(unique), id=holder
            )
        return self._handle(new)

    async def enqueue_many(self, jobs: Iterable[tuple[Task, object]]) -> list[JobHandle]:
        """Put jobs in one transaction, all or none, and return their handles in the same order.

        Args:
            jobs: pairs of a task and its data.

        Raises:
            InvalidJob: what `enqueue()` does; nothing is stored.
            PayloadTooLarge: likewise.
            StoreUnavailable: likewise.
            StoreFull: likewise.
        """
        new = [self._new(task, data, 0.0, None, None, 0.0, None) for task, data in jobs]
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
        """Return a batch, to be entered: jobs that are added run at once, and one is put once all of them are done.

            async with jobs.batch(then=report, on_failure=alarm) as batch:
                for page in pages:
                    await batch.add(render, {"page": page})

        Args:
            then: put once, when the batch is closed and all of its jobs are done: a task, which gets
                `{"batch": ID, "jobs": HOW_MANY}`, or a pair of a task and its own data.
            on_failure: put once, when the first job of the batch is dead, cancelled or in doubt, or the batch is
                abandoned: a task, which gets `{"batch": ID, "job": ID, "state": STATE}`, or a pair.
            id: a name for the batch, as `enqueue()` takes one; entering one that is open goes on adding to it.
            abandon_after: seconds, more than 0; if nothing is added for so long, the process that adds is taken for
                lost: the batch fails, and `then` is not put.

        Raises:
            InvalidJob: the data of what follows cannot be written as JSON.
            PayloadTooLarge: it is longer than `payload_limit`.
            ConfigurationError: an argument is out of its range.
        """
        check_number("batch(abandon_after)", abandon_after, least=0.001)
        name = new_id() if id is None else check_name("id", id)
        new = new_batch(name, then, on_failure, self._make)
        return Batch(self._store, self._make, self.handle, name, new, abandon_after)

    async def chain(self, first: tuple[Task, object], *following: Step) -> Chain:
        """Put a job, and others each of which is put when the one before is done, in the same transaction.

            await jobs.chain((fetch, {"url": url}), resize, (publish, {"to": "web"}))

        Args:
            first: a task and its data.
            following: pairs of a task and its data, or tasks, which get the JSON that the one before answered with.

        Raises:
            InvalidJob: what `enqueue()` does; nothing is stored.
            PayloadTooLarge: likewise.
            ConfigurationError: likewise.
            StoreUnavailable: likewise.
            StoreFull: likewise.
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
        """Return an INSERT and its parameters, which put a job in the caller's own transaction.

            connection.execute(*jobs.statement(mail, {"order": 7}))

        Workers look by themselves within a second; `ring()` after the commit wakes them at once. A unique key that is
        held makes the INSERT fail. The arguments are those of `enqueue()`; it need not be entered.

        Raises:
            InvalidJob: what `enqueue()` does.
            PayloadTooLarge: likewise.
            ConfigurationError: likewise.
        """
        return self._store.statement(self._new(task, data, delay, priority, unique, unique_for, id))

    def ring(self) -> None:
        """Wake workers after jobs were put by `statement()`; does nothing if nobody listens."""
        self._store.ring()

    # looking

    def handle(self, id: str) -> JobHandle:
        """Return the handle of a job that was put before, by anyone."""
        return JobHandle(self._store, self._waiting, id)

    async def find(
        self,
        *,
        states: Iterable[State] = (),
        task: str | None = None,
        queue: str | None = None,
        after: int = 0,
        limit: int = 100,
    ) -> list[Record]:
        """Return jobs in the order in which they were put.

        Args:
            states: only those in one of these states; () for any.
            task: only those of this task.
            queue: only those of this queue, as the workers of their tasks have said.
            after: only those whose `number` is higher.
            limit: how many at most, 1 or more.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        check_whole("limit", limit, least=1)
        return await self._store.find(Query(states=tuple(states), task=task, queue=queue, after=after, limit=limit))

    async def get(self, id: str) -> Record:
        """Return what the database knows of a job, its stored response too.

        Raises:
            UnknownJob: there is no such job (any more).
            StoreUnavailable: the database cannot be read.
        """
        return await self.handle(id).record()

    async def counts(self) -> Counts:
        """Return how many jobs there are in each state, how old the oldest ready one is, and who works.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        return await self._store.counts()

    # what a person does

    async def retry(self, *ids: str) -> int:
        """Make dead, cancelled and in-doubt jobs ready, with all their attempts; return how many were."""
        return await self._store.change("retry", self._named(ids))

    async def cancel(self, *ids: str) -> int:
        """Cancel jobs; return how many that concerned.

        Those that wait never run. One that runs is not stopped, and not tried again.
        """
        return await self._store.change("cancel", self._named(ids))

    async def purge(
        self,
        *ids: str,
        states: Iterable[State] = ("done", "dead", "cancelled"),
        older: float | None = None,
    ) -> int:
        """Delete jobs that have ended, or are in doubt if that is named; return how many.

        Args:
            ids: which; all if none is given.
            states: in one of these states.
            older: seconds, 0 or more; only those that ended, or began last, so long ago; None for any.
        """
        check_number("older", older, least=0, optional=True)
        named, purged = tuple(states), 0
        while True:
            # in several transactions, so that nobody waits long
            found = await self._store.change("purge", Query(ids=ids, states=named, older=older, limit=500))
            purged += found
            if found < 500:
                return purged

    async def pause(self, queue: str) -> None:
        """Let no worker take jobs of a queue, until `resume()`; those that run go on."""
        await self._store.pause(check_name("queue", queue), paused=True)

    async def resume(self, queue: str) -> None:
        """Let workers take jobs of a queue again."""
        await self._store.pause(check_name("queue", queue), paused=False)

    def page(
        self, *, actions: bool = False, token: str | None = None, hosts: Collection[str] | None = None
    ) -> JobsPage:
        """Return an ASGI application that shows the jobs, to be mounted at any path of a service that has entered this.

            app.mount("/jobs", jobs.page(token=os.environ["JOBS_TOKEN"]))

        Args:
            actions: whether people may retry and cancel jobs, and pause queues; it only shows them otherwise.
            token: what must be given as the password of HTTP's basic authentication, with any name, or as a Bearer
                token; None if the service around it decides who may see it.
            hosts: the only names under which it is served, without ports; None for any.

        Raises:
            ConfigurationError: the token is empty.
        """
        from fcgi_async.jobs.page import JobsPage

        return JobsPage(self, actions, token, hosts)

    def _named(self, ids: tuple[str, ...]) -> Query:
        if not ids:
            raise ConfigurationError("name the ids of the jobs that are meant")
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
        if not isinstance(task, Task):
            raise ConfigurationError(f"a job is put for a Task, not for {task!r}")
        check_number("delay", delay, least=0)
        check_number("unique_for", unique_for, least=0)
        if priority is not None:
            check_whole("priority", priority, least=-_LARGEST_PRIORITY)
        wanted = task.priority if priority is None else priority
        if wanted > _LARGEST_PRIORITY:
            raise ConfigurationError(f"priority must be at most {_LARGEST_PRIORITY}, not {wanted}")
        if unique is not None:
            _check_key(unique)
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
        try:
            # escaped, so that every database takes it
            text = json.dumps(data, allow_nan=False, separators=(",", ":"))
        except (TypeError, ValueError, RecursionError) as error:
            raise InvalidJob(f"the data for task {task.name!r} cannot be written as JSON: {error}") from None
        if len(text) > self.payload_limit:
            raise PayloadTooLarge(
                f"the data for task {task.name!r} is {len(text)} bytes of JSON, more than payload_limit="
                f"{self.payload_limit}; store it elsewhere and put its name into the data"
            )
        return text


def _check_key(unique: object) -> None:
    if not isinstance(unique, str) or not 1 <= len(unique) <= _LONGEST_KEY or not unique.isprintable():
        raise ConfigurationError(f"unique must be 1 to {_LONGEST_KEY} printable characters, not {unique!r}")
