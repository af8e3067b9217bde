"""Waiting for the end of one job."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import anyio.lowlevel

from fcgi_async.dispatch.execution import Execution
from fcgi_async.errors import FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend

__all__ = ("response_to",)


async def response_to(
    job: Job[Tag], find: Callable[[], Backend], begin: Callable[[Callable[[Execution], None]], Execution]
) -> Response[Tag]:
    """Begin a job, and return what PHP answered.

    Args:
        job: the one.
        find: returns the event loop.
        begin: begins it; gets what is called at its end.

    Raises:
        FastCGIError: what either raises, or the job failed with.

    Cancelling cancels the job.
    """
    try:
        backend = find()
        waiter = backend.waiter()

        def wake(execution: Execution) -> None:
            if not waiter.done():
                waiter.set_result(None)

        execution = begin(wake)
    except FastCGIError:
        # whoever tries again at once lets the others run
        await anyio.lowlevel.checkpoint()
        raise
    try:
        if execution.done:
            await backend.checkpoint()
        await waiter
    except BaseException:
        execution.cancel()
        raise
    error = execution.error
    if error is None:
        return cast("Response[Tag]", execution.response)
    del execution
    try:
        raise error
    finally:
        # its traceback has this frame
        del error
