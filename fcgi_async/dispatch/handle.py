"""The handle and the outcome of a submitted job."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Generic, cast

import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.errors import FastCGIError, JobNotDone
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend, Waiter

__all__ = ("JobHandle", "Outcome")


@attrs.frozen(eq=False)
class Outcome(Generic[Tag]):
    """How a job ended: with a response or an error.

    Attributes:
        job: the job that was run.
        response: None if there is an error.
        error: None if there is a response.
    """

    job: Job[Tag]
    response: Response[Tag] | None
    error: FastCGIError | None

    def result(self) -> Response[Tag]:
        """Return the response.

        Raises:
            FastCGIError: the job's error, if it has no response.
        """
        if self.error is not None:
            raise self.error
        assert self.response is not None
        return self.response


@attrs.define(eq=False)
class JobHandle(Generic[Tag]):
    """A submitted job; await it for its response. Cancelling a task that awaits it does not cancel the job.

    Attributes:
        job: the job that was run.
    """

    job: Job[Tag]
    _backend: Backend
    # called with an error that was never retrieved; None if the group handles it
    _on_unretrieved: Callable[[FastCGIError], None] | None
    _execution: Execution | None = attrs.field(default=None, init=False)
    _error: FastCGIError | None = attrs.field(default=None, init=False)
    _response: Response[Tag] | None = attrs.field(default=None, init=False)
    _retrieved: bool = attrs.field(default=False, init=False)
    # empty tuples, because few of thousands of handles are awaited before their jobs are done
    _waiters: Sequence[Waiter] = attrs.field(default=(), init=False)
    _callbacks: Sequence[Callable[[JobHandle], None]] = attrs.field(default=(), init=False)

    def done(self) -> bool:
        """Return whether there is a response or an error."""
        return self._response is not None or self._error is not None

    def result(self) -> Response[Tag]:
        """Return the response.

        Raises:
            JobNotDone: there is neither a response nor an error yet.
            JobCancelled: the job was cancelled.
            FastCGIError: the job's error.
        """
        error = self.exception()
        if error is not None:
            raise error
        assert self._response is not None
        return self._response

    def exception(self) -> FastCGIError | None:
        """Return the job's error, or None.

        Raises:
            JobNotDone: there is neither a response nor an error yet.
        """
        if not self.done():
            error = JobNotDone("the job is not done yet; await its handle", job=self.job)
            error.may_have_run = self._execution is not None and self._execution.attempts > 0
            raise error
        self._retrieved = True
        return self._error

    def cancel(self) -> bool:
        """Cancel the job now; `result()` then raises JobCancelled. Return False if it was done already.

        Raises:
            ConfigurationError: this is not the dispatcher's event loop.
        """
        if self._execution is None:
            return False
        self._backend.check_here()
        self._retrieved = True
        return self._execution.cancel()

    def _outcome(self) -> Outcome[Tag]:
        """The job's outcome; reading it does not count as retrieving an error."""
        return Outcome(self.job, self._response, self._error)

    def _begun(self, execution: Execution) -> None:
        # a job that failed at once is settled before its execution is known
        if not self.done():
            self._execution = execution

    def _when_done(self, callback: Callable[[JobHandle], None]) -> None:
        self._callbacks = (*self._callbacks, callback)

    async def _wait_inside(self, execution: Execution) -> None:
        """Wait until the job is in the queue and no longer outside, or is done; cancelling cancels the job."""
        admitted = self._backend.waiter()

        def wake(_: object = None) -> None:
            if not admitted.done():
                admitted.set_result(None)

        execution.on_admitted = wake
        self._when_done(wake)
        try:
            await admitted
        except BaseException:
            self.cancel()
            raise

    def _settle(self, execution: Execution) -> None:
        # leave no reference cycle, so that a dropped handle is collected, and its error reported, at once
        self._execution = None
        # its execution was made of the same job
        self._response, self._error = cast("Response[Tag] | None", execution.response), execution.error
        waiters, self._waiters = self._waiters, ()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
        callbacks, self._callbacks = self._callbacks, ()
        for callback in callbacks:
            callback(self)

    def __await__(self) -> Generator[object, None, Response[Tag]]:
        """Wait for the response; raises what `result()` does, and ConfigurationError in another event loop."""
        self._backend.check_here()
        if self.done():
            yield from self._backend.checkpoint().__await__()
        while not self.done():
            waiter = self._backend.waiter()
            self._waiters = (*self._waiters, waiter)
            try:
                yield from waiter.__await__()
            finally:
                self._waiters = tuple(other for other in self._waiters if other is not waiter)
        return self.result()

    def __repr__(self) -> str:
        if (execution := self._execution) is None:
            state = "done" if self.done() else "cancelled"
        else:
            state = "queued" if execution.waiting else "running"
        return f"<JobHandle {self.job.script!r} {state}>"

    def __del__(self) -> None:
        # the result can no longer be retrieved; the callback runs no code of the user's here
        if self._error is not None and not self._retrieved and self._on_unretrieved is not None:
            self._on_unretrieved(self._error)
