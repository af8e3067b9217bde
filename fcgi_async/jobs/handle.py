"""JobHandle: a durable job, by its id."""

from __future__ import annotations

import time

import anyio
import attrs

from fcgi_async.jobs.checks import check_number, check_whole
from fcgi_async.jobs.errors import JobUnsuccessful, ResultNotKept, ResultTimeout, UnknownJob
from fcgi_async.jobs.record import Query, Record, StoredResponse
from fcgi_async.jobs.store import Store

__all__ = ("JobHandle", "Waiting")

# seconds after which all waiting tasks check, even if no bell has rung
_LOOK = 1.0
# most lookups per second by all waiting tasks together
_LOOKUPS = 1000


@attrs.define(eq=False)
class Waiting:
    """Counts the tasks that wait for results on one connection."""

    count: int = 0


@attrs.frozen
class JobHandle:
    """A job in the database. It has no state: make one from an id at any time with `Jobs.handle()`."""

    _store: Store = attrs.field(repr=False)
    _waiting: Waiting = attrs.field(repr=False)
    id: str

    async def result(self, timeout: float | None = None) -> StoredResponse:
        """Wait until the job is done, and return its stored response.

        Args:
            timeout: most seconds to wait; None for no limit.

        Raises:
            JobUnsuccessful: it is dead, cancelled or in doubt.
            ResultNotKept: it is done, but its response was not stored.
            ResultTimeout: it was not done in time; it continues.
            UnknownJob: it is not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.

        Cancelling does not affect the job.
        """
        record = await self._ended(timeout)
        if record.state != "done":
            raise JobUnsuccessful(
                f"job {self.id} of task {record.task!r} is {record.state.replace('_', ' ')}"
                f"{f': {record.error}' if record.error else ''}",
                record=record,
            )
        if record.response is None:
            raise ResultNotKept(
                f"job {self.id} of task {record.task!r} is done, but its response was not stored"
                f"{f': {record.error}' if record.error else '; give the task keep_result=SECONDS'}"
            )
        return record.response

    async def wait(self, timeout: float | None = None) -> Record:
        """Wait until the job is done, dead, cancelled or in doubt, and return its record.

        Raises:
            ResultTimeout: it was not in time; it continues.
            UnknownJob: it is not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.
        """
        return await self._ended(timeout)

    async def record(self, *, most: int | None = None) -> Record:
        """Return the current record of the job, with its stored response.

        Args:
            most: characters of each text that may be long, and bytes of the response's body, that are read at most, 1
                or more; `Record.lengths` then says how long they are. None reads them whole.

        Raises:
            UnknownJob: it is not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.
        """
        check_whole("most", most, least=1, optional=True)
        return await self._find(Query(ids=(self.id,), limit=1, content=True, most=most))

    async def _find(self, query: Query) -> Record:
        found = await self._store.find(query)
        if not found:
            raise UnknownJob(f"no job {self.id!r} is in the database; done jobs are deleted after a time")
        return found[0]

    async def progress(self) -> tuple[int, int] | None:
        """Return the progress that the running attempt reported, as done and total; None if it has not reported any.

        PHP reports it with `FcgiJobs::progress(3, 10)`; each attempt begins without any.

        Raises:
            UnknownJob: it is not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.
        """
        record = await self._find(Query(ids=(self.id,), limit=1, data=False))
        return None if record.progress is None else (record.progress, record.progress_of or 0)

    async def cancel(self) -> bool:
        """Cancel the job. Return False if it had ended already.

        A waiting job never runs. A running job is not stopped, but not retried.

        Raises:
            StoreUnavailable: the database cannot be written to.
        """
        return await self._store.change("cancel", Query(ids=(self.id,), limit=1)) == 1

    async def _ended(self, timeout: float | None) -> Record:
        check_number("timeout", timeout, least=0, optional=True)
        deadline = None if timeout is None else time.monotonic() + timeout
        heard = await self._store.wait("ends", -1, 0)
        self._waiting.count += 1
        try:
            while (record := await self.record()).state in ("delayed", "ready", "running"):
                left = _LOOK if deadline is None else deadline - time.monotonic()
                if left <= 0:
                    raise ResultTimeout(
                        f"job {self.id} of task {record.task!r} is {record.state} after {timeout:g} s; it continues"
                    )
                heard = await self._store.wait("ends", heard, min(_LOOK, left))
                # the end of any job wakes all waiting tasks
                await anyio.sleep(min(self._waiting.count / _LOOKUPS, _LOOK) if self._waiting.count > 1 else 0)
            return record
        finally:
            self._waiting.count -= 1
