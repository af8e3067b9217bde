"""Many jobs at once without a task for each: `run_all` and `map`."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Iterable, Iterator
from types import TracebackType
from typing import Generic, cast

import anyio
import attrs

from fcgi_async.dispatch.closing import close_iterator
from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.handle import Outcome
from fcgi_async.dispatch.job import Job
from fcgi_async.dispatch.response import Response
from fcgi_async.dispatch.tag import Tag
from fcgi_async.errors import ConfigurationError, DispatcherClosed, FastCGIError
from fcgi_async.net.backend import Backend, TaskHandle, Waiter

__all__ = ("Jobs", "OutcomeStream", "RunAll", "Starter")

Jobs = Iterable[Job[Tag]] | AsyncIterable[Job[Tag]]
# begins a job and returns its execution; raises what refuses it
Starter = Callable[[Job, Callable[[Execution], None]], Execution]


@attrs.define(eq=False)
class RunAll:
    """Runs jobs, `window` of them handed in at a time.

    Each that ends lets the next one in, from the callback that ended it.

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
    _refilling: bool = attrs.field(default=False, init=False)
    # around the reading of an async iterable, so that a failure interrupts it
    _scope: anyio.CancelScope | None = attrs.field(default=None, init=False)

    async def run(self, jobs: Jobs) -> list[Response | FastCGIError]:
        """Return the results in the order of the jobs; cancelling cancels them all."""
        try:
            if isinstance(jobs, AsyncIterable):
                await self._feed(jobs)
            else:
                self._source = iter(jobs)
                self._refill()
            while self._failure is None and self._outstanding:
                await self._wait()
        finally:
            self._source = None
            for execution in tuple(self._outstanding):
                execution.cancel()
        if self._failure is not None:
            raise self._failure
        results = [result for result in self._results if result is not None]
        assert len(results) == len(self._results), "a job ended without a result"
        return results

    async def _feed(self, jobs: AsyncIterable[Job]) -> None:
        source = aiter(jobs)
        with anyio.CancelScope() as self._scope:
            try:
                async for job in source:
                    while len(self._outstanding) >= self.window and self._failure is None:
                        await self._wait()
                    if self._failure is not None:
                        break
                    self._add(job)
            finally:
                await close_iterator(source)
        self._scope = None

    def _refill(self) -> None:
        if self._refilling:
            return
        self._refilling = True
        try:
            while self._source is not None and self._failure is None and len(self._outstanding) < self.window:
                self._add(next(self._source))
        except StopIteration:
            self._source = None
        except Exception as error:
            # the caller's iterable failed
            self._fail(error)
        finally:
            self._refilling = False

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
        self._refill()
        if self._failure is not None or self._scope is not None or not self._outstanding:
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

    async def _wait(self) -> None:
        self._waiter = self.backend.waiter()
        await self._waiter

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


@attrs.define(eq=False)
class OutcomeStream(Generic[Tag]):
    """What `Dispatcher.map()` returns: enter it, and iterate over the outcomes as they come.

    Never more than `limit` jobs are handed in and not yet read, so that an endless source takes no more memory than a
    short one.

    Args:
        start: begins a job.
        backend: the event loop, known once the dispatcher is entered.
        jobs: where the jobs come from.
        ordered: whether outcomes come in the order of the jobs, or as they are there.
        limit: how many jobs are handed in and not yet read.
    """

    start: Starter
    backend: Backend
    jobs: Jobs[Tag]
    ordered: bool
    limit: int
    _entered: bool = attrs.field(default=False, init=False)
    _source: Iterator[Job] | None = attrs.field(default=None, init=False)
    _feeder: TaskHandle | None = attrs.field(default=None, init=False)
    # in the order of reading: of the jobs, or of their ends
    _places: deque[_Place] = attrs.field(factory=deque, init=False)
    _running: set[Execution] = attrs.field(factory=set, init=False)
    _unread: int = attrs.field(default=0, init=False)
    _exhausted: bool = attrs.field(default=False, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    # one for each task that iterates
    _waiters: list[Waiter] = attrs.field(factory=list, init=False)
    _room: Waiter | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        if self.limit < 1:
            raise ConfigurationError(f"limit={self.limit}: at least one job must be let in")

    async def __aenter__(self) -> OutcomeStream[Tag]:
        self._entered = True
        if isinstance(self.jobs, AsyncIterable):
            self._feeder = self.backend.spawn(self._feed)
        else:
            self._source = iter(self.jobs)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel what was not read."""
        self._source, self._exhausted = None, True
        if self._feeder is not None:
            self._feeder.cancel()
            with anyio.CancelScope(shield=True):
                await self._feeder.join()
        for execution in tuple(self._running):
            execution.cancel()

    def __aiter__(self) -> OutcomeStream[Tag]:
        return self

    async def __anext__(self) -> Outcome[Tag]:
        """Return the next outcome; cancelling loses none.

        Raises:
            Exception: whatever the iterable of jobs raised, after the outcomes of the jobs before.
            ConfigurationError: it was not entered.
        """
        if not self._entered:
            raise ConfigurationError("enter map() first: async with php.map(jobs) as outcomes: async for ...")
        while True:
            self._refill()
            if self._places and self._places[0].outcome is not None:
                return self._read(self._places[0].outcome)
            if not self._unread and self._failure is not None:
                raise self._failure
            if not self._unread and self._exhausted:
                raise StopAsyncIteration
            waiter = self.backend.waiter()
            self._waiters.append(waiter)
            await waiter

    def _read(self, outcome: Outcome) -> Outcome[Tag]:
        self._places.popleft()
        self._unread -= 1
        self._wake_feeder()
        return cast("Outcome[Tag]", outcome)

    def _refill(self) -> None:
        try:
            while self._source is not None and self._unread < self.limit:
                self._add(next(self._source))
        except StopIteration:
            self._source, self._exhausted = None, True
        except Exception as error:
            self._source, self._failure = None, error

    async def _feed(self) -> None:
        assert isinstance(self.jobs, AsyncIterable)
        source = aiter(self.jobs)
        try:
            async for job in source:
                while self._unread >= self.limit:
                    self._room = self.backend.waiter()
                    await self._room
                self._add(job)
            self._exhausted = True
        except Exception as error:
            self._failure = error
        finally:
            if not self._exhausted and self._failure is None:
                self._failure = DispatcherClosed("the dispatcher was closed before all jobs were read")
            self._exhausted = True
            self._wake()
            await close_iterator(source)

    def _add(self, job: Job) -> None:
        place = _Place(job)
        self._unread += 1
        if self.ordered:
            self._places.append(place)
        try:
            execution = self.start(job, lambda execution: self._done(place, execution))
        except FastCGIError as error:
            self._settle(place, Outcome(job, None, error))
            return
        if place.outcome is None:
            self._running.add(execution)

    def _done(self, place: _Place, execution: Execution) -> None:
        self._running.discard(execution)
        self._settle(place, Outcome(place.job, execution.response, execution.error))

    def _settle(self, place: _Place, outcome: Outcome) -> None:
        place.outcome = outcome
        if not self.ordered:
            self._places.append(place)
        self._wake()

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    def _wake_feeder(self) -> None:
        if self._room is not None and not self._room.done():
            self._room.set_result(None)


@attrs.define(eq=False)
class _Place:
    """One job's place in the order."""

    job: Job
    outcome: Outcome | None = attrs.field(default=None, init=False)
