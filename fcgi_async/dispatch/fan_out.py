"""`run_all`: run many jobs at once without a task for each. (`outcomes.py` has what `map` returns.)"""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from itertools import islice

import anyio
import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.jobs_given import iterate
from fcgi_async.errors import FastCGIError
from fcgi_async.job.closing import close_iterator
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend, Waiter

__all__ = ("Jobs", "RunAll", "Starter")

Jobs = Iterable[Job[Tag]] | AsyncIterable[Job[Tag]]
# starts a job and returns its execution; raises the error if it is refused
Starter = Callable[[Job, Callable[[Execution], None]], Execution]

# how many jobs are read from the caller's iterable in one turn of the event loop; other tasks have to wait for that
# turn
_TAKEN_AT_ONCE = 250


@attrs.define(eq=False)
class RunAll:
    """Runs jobs, with at most `window` of them outstanding at a time.

    Only the caller's own task reads the caller's iterable, with its context variables; a job that ends only wakes that
    task.

    Args:
        start: starts a job.
        backend: the event loop.
        window: most jobs that are outstanding at a time.
        return_exceptions: whether an error is returned in its job's place, instead of ending everything.
    """

    start: Starter
    backend: Backend
    window: int
    return_exceptions: bool
    _results: list[Response | FastCGIError | None] = attrs.field(factory=list, init=False)
    _outstanding: dict[Execution, int] = attrs.field(factory=dict, init=False)
    _source: Iterator[Job] | None = attrs.field(default=None, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    _waiter: Waiter | None = attrs.field(default=None, init=False)
    # wake the task at this number of outstanding jobs, while the iterable has more
    _wake_at: int = attrs.field(default=0, init=False)
    # around reading an async iterable, so that a failed job interrupts it
    _scope: anyio.CancelScope | None = attrs.field(default=None, init=False)

    async def run(self, jobs: Jobs) -> list[Response | FastCGIError]:
        """Return the results in the order of the jobs; cancelling cancels them all."""
        try:
            if isinstance(jobs, AsyncIterable):
                await self._feed(jobs)
            else:
                await self._draw(iterate(jobs))
            while self._failure is None and self._outstanding:
                await self._wait(0)
            if self._waiter is None:
                await self.backend.checkpoint()
        finally:
            for execution in tuple(self._outstanding):
                execution.cancel()
        if self._failure is not None:
            raise self._failure
        results = [result for result in self._results if result is not None]
        assert len(results) == len(self._results), "a job ended without a result"
        return results

    async def _feed(self, jobs: AsyncIterable[Job]) -> None:
        source = aiter(jobs)
        taken = 0
        with anyio.CancelScope() as self._scope:
            try:
                async for job in source:
                    while len(self._outstanding) >= self.window and self._failure is None:
                        await self._wait(self.window - 1)
                        taken = 0
                    if self._failure is not None:
                        break
                    self._add(job)
                    taken += 1
                    if taken >= _TAKEN_AT_ONCE:
                        await self.backend.checkpoint()
                        taken = 0
            finally:
                await close_iterator(source)
        self._scope = None

    async def _draw(self, source: Iterator[Job]) -> None:
        # several at a time, and before a free worker would find no job
        wake_at = self.window - max(self.window // 4, min(2, self.window - 1))
        while self._failure is None:
            room = min(self.window - len(self._outstanding), _TAKEN_AT_ONCE)
            if room <= 0:
                await self._wait(wake_at)
            elif not self._take_from(source, room):
                break
            elif len(self._outstanding) < self.window:
                await self.backend.checkpoint()

    def _take_from(self, source: Iterator[Job], count: int) -> bool:
        """Submit at most `count` jobs. Return False if there are no more, or one has failed."""
        taken = 0
        try:
            for job in islice(source, count):
                self._add(job)
                taken += 1
                if self._failure is not None:
                    break
        except Exception as error:
            # the caller's iterable failed
            self._fail(error)
        return taken == count

    def _add(self, job: Job) -> None:
        index = len(self._results)
        self._results.append(None)
        try:
            execution = self.start(job, self._done)
        except FastCGIError as error:
            self._take(index, error)
            return
        if not execution.done:
            self._outstanding[execution] = index
        elif execution.error is None:
            self._results[index] = execution.response
        else:
            self._take(index, execution.error)

    def _done(self, execution: Execution) -> None:
        index = self._outstanding.pop(execution, None)
        if index is None:
            return
        error = execution.error
        if error is None:
            self._results[index] = execution.response
        else:
            self._take(index, error)
        if len(self._outstanding) <= self._wake_at:
            self._wake()

    def _take(self, index: int, error: FastCGIError) -> None:
        self._results[index] = error
        if not self.return_exceptions:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            if self._scope is not None:
                self._scope.cancel()
            self._wake()

    async def _wait(self, until: int) -> None:
        """Wait until at most `until` jobs are outstanding, or one has failed."""
        self._wake_at = until
        self._waiter = self.backend.waiter()
        await self._waiter

    def _wake(self) -> None:
        # once
        self._wake_at = -1
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
