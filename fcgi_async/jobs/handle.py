"""JobHandle: a durable job that was put, by its id."""

from __future__ import annotations

import time

import anyio
import attrs

from fcgi_async.jobs.checks import check_number
from fcgi_async.jobs.errors import JobUnsuccessful, ResultNotKept, ResultTimeout, UnknownJob
from fcgi_async.jobs.record import Query, Record, StoredResponse
from fcgi_async.jobs.store import Store

__all__ = ("JobHandle", "Waiting")

# seconds after which everyone looks, whether a bell was heard or not
_LOOK = 1.0
# lookups a second that all who wait make together
_LOOKUPS = 1000


@attrs.define(eq=False)
class Waiting:
    """How many tasks wait for results on one connection."""

    count: int = 0


@attrs.frozen
class JobHandle:
    """A job in the database. It holds nothing: make one of an id at any time, by `Jobs.handle()`."""

    _store: Store = attrs.field(repr=False)
    _waiting: Waiting = attrs.field(repr=False)
    id: str

    async def result(self, timeout: float | None = None) -> StoredResponse:
        """Wait until the job is done, and return what was stored of its response.

        Args:
            timeout: seconds to wait at most; None for any time.

        Raises:
            JobUnsuccessful: it is dead, cancelled or in doubt.
            ResultNotKept: it is done, and its response was not stored.
            ResultTimeout: it was not done in time; it goes on.
            UnknownJob: it is not in the database (any more).
            StoreUnavailable: the database cannot be read.

        Cancelling leaves the job alone.
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
                f"job {self.id} of task {record.task!r} is done, and its response was not stored"
                f"{f': {record.error}' if record.error else '; give the task keep_result=SECONDS'}"
            )
        return record.response

    async def wait(self, timeout: float | None = None) -> Record:
        """Wait until the job is done, dead, cancelled or in doubt, and return what the database knows of it.

        Raises:
            ResultTimeout: it was not in time; it goes on.
            UnknownJob: it is not in the database (any more).
            StoreUnavailable: the database cannot be read.
        """
        return await self._ended(timeout)

    async def record(self) -> Record:
        """Return what the database knows of the job now, its stored response too.

        Raises:
            UnknownJob: it is not in the database (any more).
            StoreUnavailable: the database cannot be read.
        """
        found = await self._store.find(Query(ids=(self.id,), limit=1, content=True))
        if not found:
            raise UnknownJob(f"no job {self.id!r} is in the database; those that are done leave it after a time")
        return found[0]

    async def progress(self) -> tuple[int, int] | None:
        """Return how far the running attempt said it was, and of how much; None if it has not said.

        PHP says it by `FcgiJobs::progress(3, 10)`; each attempt begins anew.

        Raises:
            UnknownJob: it is not in the database (any more).
            StoreUnavailable: the database cannot be read.
        """
        record = await self.record()
        return None if record.progress is None else (record.progress, record.progress_of or 0)

    async def cancel(self) -> bool:
        """Cancel the job; return whether that concerned it, which it does until it has ended.

        While it waits it will never run. If it runs it is not stopped, and not tried again.

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
                        f"job {self.id} of task {record.task!r} is {record.state} after {timeout:g} s; it goes on"
                    )
                heard = await self._store.wait("ends", heard, min(_LOOK, left))
                # any end wakes all who wait
                await anyio.sleep(min(self._waiting.count / _LOOKUPS, _LOOK) if self._waiting.count > 1 else 0)
            return record
        finally:
            self._waiting.count -= 1
