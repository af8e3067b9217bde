"""A job submitted from a thread, as a future of concurrent.futures."""

from __future__ import annotations

from concurrent.futures import Future
from threading import Condition
from typing import TYPE_CHECKING, Generic

from fcgi_async.dispatch.handle import JobHandle
from fcgi_async.errors import JobCancelled
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.tag import Tag
from fcgi_async.sync.loop_thread import LoopThread
from fcgi_async.sync.promise import Promise

__all__ = ("JobFuture",)


class _Condition(Condition):
    """A condition whose lock `with` takes and gives back in one step each: no interruption leaves it locked."""

    if not TYPE_CHECKING:
        __enter__ = property(lambda self: self._lock.__enter__)
        __exit__ = property(lambda self: self._lock.__exit__)


class JobFuture(Future[Response[Tag]], Generic[Tag]):
    """What `submit()` returns: a `concurrent.futures.Future`, also for `as_completed()` and `asyncio.wrap_future()`.

    The job belongs to the dispatcher: it runs whether or not this future is kept. Callbacks are called in the
    dispatcher's thread, and must not block it.

    Attributes:
        job: the submitted job.
    """

    def __init__(self, handle: JobHandle[Tag], thread: LoopThread) -> None:
        super().__init__()
        # the loop needs its lock; done() and others take it in threads that may be interrupted
        self._condition = _Condition()
        self.job: Job[Tag] = handle.job
        self._handle = handle
        self._thread = thread
        self._over: Promise[None] = Promise()
        if handle.done():
            self._settle()
        else:
            handle._when_done(lambda _: self._settle())

    def result(self, timeout: float | None = None) -> Response[Tag]:
        """Wait for the response and return it.

        Args:
            timeout: most seconds to wait; the job continues after that.

        Raises:
            TimeoutError: the job is not done in time.
            concurrent.futures.CancelledError: the job was cancelled.
            FastCGIError: the job's error, as for `run()`.
            ConfigurationError: the job is not done, and this thread runs an event loop, or this process was forked.
        """
        self._wait(timeout)
        try:
            return super().result()
        finally:
            self._retrieve()

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait for the end of the job and return its error, or None; otherwise raises what `result()` does."""
        self._wait(timeout)
        try:
            return super().exception()
        finally:
            self._retrieve()

    def cancel(self) -> bool:
        """Cancel the job, even if it runs, as cancelling `run()` does. Return whether it is cancelled."""
        if not self._handle.done():
            if self._thread.is_current:
                self._handle.cancel()
            else:
                done: Promise[None] = Promise()
                if self._thread.soon(lambda: self._cancel(done)):
                    done.result()
        return self.cancelled()

    def _cancel(self, done: Promise[None]) -> None:
        try:
            self._handle.cancel()
        finally:
            done.set_result(None)

    def _wait(self, timeout: float | None) -> None:
        """Wait for the end, or raise TimeoutError."""
        # the lock that done() takes must not be left locked while the loop still needs it
        if self.done() if self._thread.is_current else self._handle.done():
            return
        self._thread.check_here()
        self._over.wait(timeout)
        if not self._handle.done():
            raise TimeoutError

    def _retrieve(self) -> None:
        if self._handle.done():
            self._handle.exception()

    def _settle(self) -> None:
        outcome = self._handle._outcome()
        if isinstance(outcome.error, JobCancelled):
            super().cancel()
            self.set_running_or_notify_cancel()
        elif outcome.error is not None:
            self.set_exception(outcome.error)
        else:
            assert outcome.response is not None
            self.set_result(outcome.response)
        self._over.set_result(None)

    def __repr__(self) -> str:
        return f"<JobFuture {self.job.script!r} {'done' if self.done() else 'not done'}>"
