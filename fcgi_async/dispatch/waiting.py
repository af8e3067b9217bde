"""Wait for the end of one job."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import cast

import anyio.lowlevel

from fcgi_async.dispatch.execution import Execution
from fcgi_async.errors import FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend, Waiter

__all__ = ("response_to",)


async def response_to(
    job: Job[Tag], find: Callable[[Job[Tag]], Backend], begin: Callable[[Callable[[Execution], None]], Execution]
) -> Response[Tag]:
    """Start a job, and return PHP's response.

    Args:
        job: the job to run.
        find: returns the event loop.
        begin: starts it; takes the callback for its end.

    Raises:
        FastCGIError: what `find` or `begin` raises, or the job's own error.

    Cancelling cancels the job.
    """
    try:
        backend = find(job)
        waiter = backend.waiter()
        execution = begin(partial(_wake, waiter))
    except FastCGIError:
        # let other tasks run even if a caller retries at once
        await anyio.lowlevel.checkpoint()
        raise
    # a hundred thousand may wait here, each with all that its frame holds
    del find, begin
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
        # the error's traceback refers to this frame
        del error


def _wake(waiter: Waiter, execution: Execution) -> None:
    if not waiter.done():
        waiter.set_result(None)
