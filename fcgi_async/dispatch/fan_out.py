"""Many jobs at once without a task for each: `run_all`; what `map` returns stands in `outcomes.py`."""

from __future__ import annotations

from collections.abc import AsyncIterable, Callable, Iterable, Iterator

import anyio
import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.errors import FastCGIError
from fcgi_async.job.closing import close_iterator
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend, Waiter

__all__ = ("Jobs", "RunAll", "Starter")

Jobs = Iterable[Job[Tag]] | AsyncIterable[Job[Tag]]
# begins a job and returns its execution; raises what refuses it
Starter = Callable[[Job, Callable[[Execution], None]], Execution]

# so many jobs are taken from the caller's iterable in one turn of the event loop, which other tasks have to wait for
_TAKEN_AT_ONCE = 250


@attrs.define(eq=False)
class RunAll:
    """Runs jobs, `window` of them handed in at a time.

    The caller's iterable is read by the caller's own task alone, with its context variables; a job that ends only wakes
    that task.

    Args:
        start: begins a job.
        backend: the event loop.
        window: how many jobs are handed in at a time.
        return_exceptions: whether an error stands in its job's place, rather than ending it all.
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
    # so few outstanding jobs wake the task while the iterable has more
    _wake_at: int = attrs.field(default=0, init=False)
    # around the reading of an async iterable, so that a failure interrupts it
    _scope: anyio.CancelScope | None = attrs.field(default=None, init=False)

    async def run(self, jobs: Jobs) -> list[Response | FastCGIError]:
        """Return the results in the order of the jobs; cancelling cancels them all."""
        try:
            if isinstance(jobs, AsyncIterable):
                await self._feed(jobs)
            else:
                await self._draw(iter(jobs))
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
        # several at a time, and before a worker could find no job at hand
        wake_at = self.window - max(self.window // 4, min(2, self.window - 1))
        while self._failure is None:
            if len(self._outstanding) >= self.window:
                await self._wait(wake_at)
            elif self._refill(source):
                await self.backend.checkpoint()
            elif len(self._outstanding) < self.window:
                break

    def _refill(self, source: Iterator[Job]) -> bool:
        """Hand in jobs; True when there is room for more, and other tasks should run before."""
        taken = 0
        while self._failure is None and len(self._outstanding) < self.window:
            if taken >= _TAKEN_AT_ONCE:
                return True
            try:
                job = next(source)
            except StopIteration:
                break
            except Exception as error:
                # the caller's iterable failed
                self._fail(error)
                break
            self._add(job)
            taken += 1
        return False

    def _add(self, job: Job) -> None:
        index = len(self._results)
        self._results.append(None)
        try:
            execution = self.start(job, self._done)
        except FastCGIError as error:
            self._take(index, error)
            return
        if execution.done:
            self._take(index, execution.response or execution.error)
        else:
            self._outstanding[execution] = index

    def _done(self, execution: Execution) -> None:
        index = self._outstanding.pop(execution, None)
        if index is None:
            return
        self._take(index, execution.response or execution.error)
        if len(self._outstanding) <= self._wake_at:
            self._wake()

    def _take(self, index: int, result: Response | FastCGIError | None) -> None:
        self._results[index] = result
        if isinstance(result, FastCGIError) and not self.return_exceptions:
            self._fail(result)

    def _fail(self, error: BaseException) -> None:
        if self._failure is None:
            self._failure = error
            if self._scope is not None:
                self._scope.cancel()
            self._wake()

    async def _wait(self, until: int) -> None:
        """Wait until `until` jobs are outstanding at most, or one has failed."""
        self._wake_at = until
        self._waiter = self.backend.waiter()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
