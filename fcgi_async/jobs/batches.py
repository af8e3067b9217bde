"""Batch: jobs that are put one by one, and a job that is put when all of them are done."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Protocol, Self

import anyio
import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.checks import check_number
from fcgi_async.jobs.errors import BatchClosed, ResultTimeout, StoreError, UnknownBatch
from fcgi_async.jobs.handle import JobHandle
from fcgi_async.jobs.record import BatchRecord, NewBatch, NewJob, Query, Record, State
from fcgi_async.jobs.store import Store
from fcgi_async.jobs.successors import Successor, dump_successors
from fcgi_async.jobs.task import Task

__all__ = ("Batch", "Makes", "Step", "make_successors", "new_batch")

# a task, which gets facts about what it follows, or a task and its own data
Step = Task | tuple[Task, object]

# seconds after which all waiting tasks check, even if no bell has rung
_LOOK = 1.0


class Makes(Protocol):
    """Makes the record of a job, with the checks of `Jobs`."""

    def __call__(self, task: Task, data: object, *, id: str | None = None, batch: str | None = None) -> NewJob: ...


def make_successors(steps: Sequence[Step], make: Makes) -> tuple[Successor, ...]:
    """Return jobs that will be put later.

    Args:
        steps: tasks, with or without data.
        make: makes the records.

    Raises:
        InvalidJob: the data cannot be written as JSON.
        PayloadTooLarge: the data is too long.
        ConfigurationError: a step is neither a task nor a task and its data.
    """
    found = []
    for step in steps:
        task, has_data, data = _split(step)
        new = make(task, data)
        found.append(
            Successor(
                id=new.id,
                task=new.task,
                data=new.data if has_data else None,
                priority=new.priority,
                trace=new.trace,
            )
        )
    return tuple(found)


@attrs.define(eq=False)
class Batch:
    """Jobs that belong together; made by `Jobs.batch()`.

    A job that a person retries counts again, so the batch's `then` may still run after some of its jobs had failed.
    """

    _store: Store = attrs.field(repr=False)
    _make: Makes = attrs.field(repr=False)
    _handle: Callable[[str], JobHandle] = attrs.field(repr=False)
    id: str
    _new: NewBatch = attrs.field(repr=False)
    _abandon_after: float = attrs.field(repr=False)

    async def __aenter__(self) -> Self:
        """Store the batch, or continue adding to the batch with this id.

        Raises:
            BatchClosed: the batch exists, and was closed.
            StoreUnavailable: the database cannot be written to.
        """
        await self._store.make_batch(self._new, self._abandon_after)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the batch. After an exception or a cancellation it is abandoned: it fails, and `then` is not put.

        Raises:
            BatchClosed: it was considered abandoned meanwhile.
            StoreUnavailable: the database cannot be written to; the batch is abandoned after `abandon_after`.
        """
        if error is None:
            await self._store.close_batch(self.id, abandoned=False)
            return
        # perhaps cancelled; a batch that cannot be abandoned now times out later
        with anyio.move_on_after(_LOOK, shield=True), suppress(BatchClosed, StoreError):
            await self._store.close_batch(self.id, abandoned=True)

    async def add(self, task: Task, data: object = None, *, id: str | None = None) -> JobHandle:
        """Put a job of the batch and return its handle. The job is on disk when this returns, and may run at once.

        Args:
            task: the task that runs it.
            data: the data for PHP, as JSON.
            id: a name for the job, so that a repeated call adds it only once; None makes one.

        Raises:
            BatchClosed: the batch is closed; nothing is stored.
            InvalidJob: as for `Jobs.enqueue()`.
            PayloadTooLarge: as for `Jobs.enqueue()`.
            StoreUnavailable: as for `Jobs.enqueue()`.
            StoreFull: as for `Jobs.enqueue()`.

        After a cancellation, the job may or may not be added.
        """
        new = self._make(task, data, id=id, batch=self.id)
        await self._store.add(self.id, [new], self._abandon_after)
        return self._handle(new.id)

    async def add_many(self, jobs: Iterable[tuple[Task, object]]) -> list[JobHandle]:
        """Put jobs of the batch in one transaction, all or none, and return their handles in the same order.

        Args:
            jobs: pairs of a task and its data.

        Raises:
            BatchClosed: the batch is closed; nothing is stored.
            InvalidJob: as for `Jobs.enqueue()`.
            PayloadTooLarge: as for `Jobs.enqueue()`.
            StoreUnavailable: as for `Jobs.enqueue()`.
            StoreFull: as for `Jobs.enqueue()`.
        """
        new = [self._make(task, data, batch=self.id) for task, data in jobs]
        if new:
            await self._store.add(self.id, new, self._abandon_after)
        return [self._handle(job.id) for job in new]

    async def record(self) -> BatchRecord:
        """Return the batch's numbers: its jobs, those that have not ended, and those that have failed.

        Raises:
            UnknownBatch: it is not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.
        """
        found = await self._store.find_batch(self.id)
        if found is None:
            raise UnknownBatch(f"no batch {self.id!r} is in the database; ended batches are deleted after a time")
        return found

    async def find(self, *, states: Iterable[State] = (), after: int = 0, limit: int = 100) -> list[Record]:
        """Return jobs of the batch, as `Jobs.find()` does; done jobs are deleted after a time."""
        query = Query(states=tuple(states), batch=self.id, after=after, limit=limit)
        return await self._store.find(query)

    async def wait(self, timeout: float | None = None) -> BatchRecord:
        """Wait until the batch is closed and all of its jobs have ended, with or without success; return its numbers.

        Args:
            timeout: most seconds to wait; None for no limit.

        Raises:
            ResultTimeout: the jobs had not ended in time; they continue.
            UnknownBatch: it is not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.

        Cancelling does not affect the batch.
        """
        check_number("timeout", timeout, least=0, optional=True)
        deadline = None if timeout is None else time.monotonic() + timeout
        heard = await self._store.wait("ends", -1, 0)
        while (record := await self.record()).finished is None:
            left = _LOOK if deadline is None else deadline - time.monotonic()
            if left <= 0:
                raise ResultTimeout(
                    f"batch {self.id} {'is open' if record.open else 'goes on'} after {timeout:g} s, "
                    f"with {record.pending} of {record.total} jobs pending"
                )
            heard = await self._store.wait("ends", heard, min(_LOOK, left))
        return record

    async def cancel(self) -> int:
        """Cancel its jobs that have not ended, as `Jobs.cancel()` does, so that the batch fails. Return how many there
        were.

        Raises:
            StoreUnavailable: the database cannot be written to.
        """
        # running jobs keep their state, so cancel all in one call
        return await self._store.change("cancel", Query(batch=self.id, limit=1 << 31))


def new_batch(id: str, then: Step | None, on_failure: Step | None, make: Makes) -> NewBatch:
    """Return the record of a batch; see `make_successors()`."""

    def dump(step: Step | None) -> str | None:
        return None if step is None else dump_successors(make_successors((step,), make))

    return NewBatch(id=id, next_done=dump(then), next_failed=dump(on_failure))


def _split(step: Step) -> tuple[Task, bool, object]:
    if isinstance(step, Task):
        return step, False, None
    match step:
        case (Task() as task, data):
            return task, True, data
    raise ConfigurationError(f"what follows is a Task, or a Task and its data in a tuple, not {step!r}")
