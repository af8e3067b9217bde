"""A job that was handed in, and what became of it."""

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
    """What became of a job: a response or an error.

    Attributes:
        job: what was asked.
        response: None where there is an error.
        error: None where there is a response.
    """

    job: Job[Tag]
    response: Response[Tag] | None
    error: FastCGIError | None

    def result(self) -> Response[Tag]:
        """Return the response.

        Raises:
            FastCGIError: the error there is instead.
        """
        if self.error is not None:
            raise self.error
        assert self.response is not None
        return self.response


@attrs.define(eq=False)
class JobHandle(Generic[Tag]):
    """A job that was handed in; await it for its response. Cancelling a task that awaits it does not cancel the job.

    Attributes:
        job: what was asked.
    """

    job: Job[Tag]
    _backend: Backend
    # told of an error that nobody retrieved; None where somebody else answers for it
    _on_unretrieved: Callable[[FastCGIError], None] | None
    _execution: Execution | None = attrs.field(default=None, init=False)
    _error: FastCGIError | None = attrs.field(default=None, init=False)
    _response: Response[Tag] | None = attrs.field(default=None, init=False)
    _retrieved: bool = attrs.field(default=False, init=False)
    # empty tuples, since of thousands of handles few are awaited before their jobs are done
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
            FastCGIError: what the job failed with.
        """
        error = self.exception()
        if error is not None:
            raise error
        assert self._response is not None
        return self._response

    def exception(self) -> FastCGIError | None:
        """Return what the job failed with, or None.

        Raises:
            JobNotDone: there is neither a response nor an error yet.
        """
        if not self.done():
            error = JobNotDone("the job is not done; await its handle", job=self.job)
            error.may_have_run = self._execution is not None and self._execution.attempts > 0
            raise error
        self._retrieved = True
        return self._error

    def cancel(self) -> bool:
        """Cancel the job, now; `result()` then raises JobCancelled. Return False where it was done already.

        Raises:
            ConfigurationError: this is not the dispatcher's event loop.
        """
        if self._execution is None:
            return False
        self._backend.check_here()
        self._retrieved = True
        return self._execution.cancel()

    def _begun(self, execution: Execution) -> None:
        # a job that failed at once is settled before its execution is known
        if not self.done():
            self._execution = execution

    def _when_done(self, callback: Callable[[JobHandle], None]) -> None:
        self._callbacks = (*self._callbacks, callback)

    async def _wait_inside(self, execution: Execution) -> None:
        """Wait until the job stands in the queue and no longer outside, or is done; cancelling cancels it."""
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
        # no cycle is left behind, so that a handle nobody keeps is collected, and its error reported, now
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
        state = "done" if self.done() else "cancelled" if self._execution is None else self._execution.state.value
        return f"<JobHandle {self.job.script!r} {state}>"

    def __del__(self) -> None:
        # nobody can ask any more; what tells of the error runs no code of the user's here
        if self._error is not None and not self._retrieved and self._on_unretrieved is not None:
            self._on_unretrieved(self._error)
