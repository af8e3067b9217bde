"""The methods that submit jobs from a thread: what a dispatcher and its views have in common."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Iterable
from functools import partial
from typing import Literal, overload

from fcgi_async.dispatch import intake
from fcgi_async.errors import ConfigurationError, FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.job.tag import Tag
from fcgi_async.sync.calling import Calling
from fcgi_async.sync.feed import Feed
from fcgi_async.sync.future import JobFuture
from fcgi_async.sync.loop_thread import LoopThread
from fcgi_async.sync.outcomes import OutcomeIterator
from fcgi_async.sync.stream import StreamManager

__all__ = ("Intake",)


class Intake(Calling):
    """Takes jobs from any thread, and passes them to the dispatcher in the event loop.

    Args:
        thread: the thread of the loop.
        inner: takes the jobs in the loop.
    """

    def __init__(self, thread: LoopThread, inner: intake.Intake) -> None:
        super().__init__(inner)
        self._thread = thread
        self._inner = inner

    def run(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> Response[Tag]:
        """Run one job and return PHP's response, whatever its status.

        Args:
            job: the job to run.
            timeout: seconds from now to the response; overrides the job's and the dispatcher's.

        Raises:
            FastCGIError: all errors of `fcgi_async.Dispatcher.run()`.
            ConfigurationError: this thread runs an event loop, or this process was forked.

        An interruption, such as Ctrl-C, cancels the job as cancelling `fcgi_async.Dispatcher.run()` does.
        """
        return self._thread.call(partial(self._inner.run, job, timeout=timeout))

    def stream(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> StreamManager:
        """Run one job and read its response while PHP writes it: `with php.stream(job) as response:`.

        Entering waits for the response's head, and raises what `run()` does. Leaving before the end discards what
        comes within 20 ms and then refuses the rest, which ends a script when it writes.

        Args:
            job: what to run.
            timeout: seconds from entering to the end of the response; overrides the job's and the dispatcher's.
        """
        return StreamManager(self._thread, self._inner.stream(job, timeout=timeout))

    @overload
    def run_all(
        self, jobs: Iterable[Job[Tag]], *, return_exceptions: Literal[False] = False
    ) -> list[Response[Tag]]: ...

    @overload
    def run_all(self, jobs: Iterable[Job[Tag]], *, return_exceptions: bool) -> list[Response[Tag] | FastCGIError]: ...

    def run_all(
        self, jobs: Iterable[Job[Tag]], *, return_exceptions: bool = False
    ) -> list[Response[Tag]] | list[Response[Tag] | FastCGIError]:
        """Run jobs, any number of them, and return the responses in the order of the jobs.

        Args:
            jobs: an iterable; this thread reads it lazily, as workers become free.
            return_exceptions: whether errors are returned in place of responses.

        Raises:
            FastCGIError: without `return_exceptions`: the first error, after the other jobs were cancelled.
            Exception: whatever `jobs` raised.
            ConfigurationError: this thread runs an event loop, or this process was forked.

        An interruption cancels the running jobs; the others never run.
        """
        if isinstance(jobs, list | tuple):
            return self._thread.call(partial(self._inner.run_all, jobs, return_exceptions=return_exceptions))
        feed = self._feed(jobs)
        return feed.serve(partial(self._inner.run_all, feed, return_exceptions=return_exceptions))

    def map(self, jobs: Iterable[Job[Tag]], *, ordered: bool = True, limit: int | None = None) -> OutcomeIterator[Tag]:
        """Run jobs and iterate over their outcomes as they come: `for outcome in php.map(jobs): ...`.

        Args:
            jobs: an iterable, which may be endless; the thread that iterates reads it as outcomes are read.
            ordered: whether outcomes come in the order of the jobs, or as jobs finish.
            limit: most jobs that are submitted and whose outcomes are not read yet, as for
                `fcgi_async.Dispatcher.map()`.

        A failed job is an outcome, never an exception. Leaving the loop early cancels the other jobs at some later
        time; use `with php.map(jobs) as outcomes:` to cancel them when the block ends.

        Raises:
            ConfigurationError: `jobs` is an async iterable; or, when it is iterated, `limit` is less than 1.
        """
        feed = self._feed(jobs)
        source = jobs if isinstance(jobs, list | tuple) else feed
        return OutcomeIterator(self._thread, feed, partial(self._inner.map, source, ordered=ordered, limit=limit))

    def submit(self, job: Job[Tag]) -> JobFuture[Tag]:
        """Queue a job and return its future. Ask it now, later or never: the job belongs to the dispatcher.

        Waits while the queue is full. An error that is never retrieved is logged and passed to `on_job_error`.

        Raises:
            InvalidJob: the job can never be sent.
            QueueFull: the queue is full, and `overflow` is "reject".
            DispatcherClosed: the dispatcher is not open.
            ConfigurationError: this thread runs an event loop, or this process was forked.

        An interruption submits nothing.
        """
        return self._thread.call(partial(self._submit, job))

    async def _submit(self, job: Job[Tag]) -> JobFuture[Tag]:
        return JobFuture(await self._inner.submit(job), self._thread)

    def _feed(self, jobs: Iterable[Job[Tag]]) -> Feed[Tag]:
        if isinstance(jobs, AsyncIterable | AsyncIterator):
            raise ConfigurationError("jobs is an async iterable, which no thread can read; use fcgi_async.Dispatcher")
        return Feed(self._thread, jobs)
