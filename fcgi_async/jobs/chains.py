"""Chain: jobs of which each is put when the one before is done."""

from __future__ import annotations

import time

import attrs

from fcgi_async.jobs.checks import check_number
from fcgi_async.jobs.errors import JobUnsuccessful, UnknownJob
from fcgi_async.jobs.handle import JobHandle
from fcgi_async.jobs.record import StoredResponse

__all__ = ("Chain",)


@attrs.frozen
class Chain:
    """A chain that was put, by `Jobs.chain()`.

    Attributes:
        jobs: the handles of its jobs in their order; one that is not put yet is unknown to the database.
    """

    jobs: tuple[JobHandle, ...]

    async def result(self, timeout: float | None = None) -> StoredResponse:
        """Wait until the last job is done, and return what was stored of its response.

        Args:
            timeout: seconds to wait at most; None for any time.

        Raises:
            JobUnsuccessful: one of its jobs is dead, cancelled or in doubt; those after it were not put.
            ResultNotKept: all are done, and the last one's response was not stored.
            ResultTimeout: they were not done in time; they go on.
            UnknownJob: they are not in the database (any more).
            StoreUnavailable: the database cannot be read.

        Cancelling leaves the chain alone.
        """
        check_number("timeout", timeout, least=0, optional=True)
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(deadline - time.monotonic(), 0.0)

        for handle in self.jobs[:-1]:
            try:
                record = await handle.wait(left())
            except UnknownJob:
                # done, and not kept: then the next one is there
                continue
            if record.state != "done":
                raise JobUnsuccessful(
                    f"job {handle.id} of task {record.task!r} in a chain is {record.state.replace('_', ' ')}"
                    f"{f': {record.error}' if record.error else ''}",
                    record=record,
                )
        return await self.jobs[-1].result(left())
