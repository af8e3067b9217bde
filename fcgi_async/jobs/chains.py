"""Chain: jobs that are each put when the one before is done."""

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
        jobs: the handles of its jobs, in order; a job that is not put yet is not in the database.
    """

    jobs: tuple[JobHandle, ...]

    async def result(self, timeout: float | None = None) -> StoredResponse:
        """Wait until the last job is done, and return its stored response.

        Args:
            timeout: most seconds to wait; None for no limit.

        Raises:
            JobUnsuccessful: one of its jobs is dead, cancelled or in doubt; those after it were not put.
            ResultNotKept: all are done, but the last one's response was not stored.
            ResultTimeout: they were not done in time; they continue.
            UnknownJob: they are not, or no longer, in the database.
            StoreUnavailable: the database cannot be read.

        Cancelling does not affect the chain.
        """
        check_number("timeout", timeout, least=0, optional=True)
        deadline = None if timeout is None else time.monotonic() + timeout

        def left() -> float | None:
            return None if deadline is None else max(deadline - time.monotonic(), 0.0)

        for handle in self.jobs[:-1]:
            try:
                record = await handle.wait(left())
            except UnknownJob:
                # done, and deleted already: then the next one exists
                continue
            if record.state != "done":
                raise JobUnsuccessful(
                    f"job {handle.id} of task {record.task!r} in a chain is {record.state.replace('_', ' ')}"
                    f"{f': {record.error}' if record.error else ''}",
                    record=record,
                )
        return await self.jobs[-1].result(left())
