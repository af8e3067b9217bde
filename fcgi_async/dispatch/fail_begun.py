"""End a job that was encoded but could not be started."""

from __future__ import annotations

import logging

from fcgi_async.dispatch.entry import Entry, name_of
from fcgi_async.errors import DispatchError
from fcgi_async.pool.attempt import JobSlot

__all__ = ("fail_begun",)

logger = logging.getLogger("fcgi_async.dispatch")


def fail_begun(execution: Entry, slot: JobSlot, error: Exception) -> None:
    """End a job after a fault in fcgi_async: how much of it was written is not known."""
    logger.error("%s could not be started", name_of(execution), exc_info=error)
    failure = DispatchError(
        f"the job could not be started, because of a fault in fcgi_async, not in the job: {error!r}; please report it, "
        "with the traceback in the log"
    )
    failure.__cause__ = error
    slot.close()
    # if it had been written, closing has settled it
    if not execution.done:
        execution.refuse(failure, may_have_run=True)
