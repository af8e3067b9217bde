"""What `map` returns: outcomes in the order of the jobs or as they come, while the source is read at the reader's pace.

Theory of operation. A job taken from the source is in flight until it has ended. If outcomes come in order, its outcome
is then early while a job before it is in flight, and readable after that; otherwise it is readable at once. The window
bounds the jobs in flight and the readable outcomes together, so a slow reader holds up the source. Early outcomes have
bounds of their own, in number and in bytes: one slow job neither holds up the workers nor fills the memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterable, Callable, Iterator
from types import TracebackType
from typing import Generic, cast

import anyio
import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.handle import Outcome
from fcgi_async.dispatch.jobs_given import Jobs, iterate
from fcgi_async.dispatch.running import Starter
from fcgi_async.errors import ConfigurationError, DispatcherClosed, FastCGIError, JobCancelled
from fcgi_async.job.closing import close_iterator
from fcgi_async.job.job import Job
from fcgi_async.job.numbers import is_whole
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend, TaskHandle
from fcgi_async.net.bell import Bell

__all__ = ("OutcomeStream", "check_limit")

# bounds of early outcomes, which the window does not count: number, and bytes of content
_EARLY_MAX = 1000
_EARLY_BYTES_MAX = 16 * 1024 * 1024


@attrs.define(eq=False)
class OutcomeStream(Generic[Tag]):
    """What `Dispatcher.map()` returns: enter it, once, and iterate over the outcomes as they come.

    Its bounds limit the jobs that are submitted and not yet read, so an endless source takes no more memory than a
    short one.

    Args:
        start: starts a job.
        require: raises an error if the dispatcher takes no jobs here and now.
        backend: the event loop.
        jobs: the source of the jobs.
        ordered: whether outcomes come in the order of the jobs, or as jobs finish.
        window: most jobs that are submitted and not yet read, not counting early outcomes.
        limit: most jobs that are submitted and not yet read, in any state; None for the other bounds alone.
    """

    start: Starter
    require: Callable[[], object]
    backend: Backend
    jobs: Jobs[Tag]
    ordered: bool
    window: int
    limit: int | None
    _entered: bool = attrs.field(default=False, init=False)
    _source: Iterator[Job] | None = attrs.field(default=None, init=False)
    _feeder: TaskHandle | None = attrs.field(default=None, init=False)
    # in the order of the jobs, beginning with the first in flight
    _places: deque[_Place] = attrs.field(factory=deque, init=False)
    _early: int = attrs.field(default=0, init=False)
    _early_bytes: int = attrs.field(default=0, init=False)
    _readable: deque[Outcome] = attrs.field(factory=deque, init=False)
    _running: set[Execution] = attrs.field(factory=set, init=False)
    _unread: int = attrs.field(default=0, init=False)
    _exhausted: bool = attrs.field(default=False, init=False)
    _failure: BaseException | None = attrs.field(default=None, init=False)
    # one for each task that iterates
    _changed: Bell = attrs.field(init=False)
    _room: Bell = attrs.field(init=False)
    # a job read from an async iterable, waiting for room
    _at_hand: Job | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        check_limit(self.limit)
        self._changed, self._room = Bell(self.backend), Bell(self.backend)

    async def __aenter__(self) -> OutcomeStream[Tag]:
        """Start reading the jobs.

        Raises:
            ConfigurationError: this was entered before, or this is not the dispatcher's event loop.
            DispatcherClosed: the dispatcher is closed.
        """
        self.require()
        if self._entered:
            raise ConfigurationError(
                "what map() returns can be entered only once; call map() again, with the jobs to run"
            )
        self._entered = True
        await self.backend.checkpoint()
        try:
            # it may have been closed meanwhile, and then it starts no task
            self.require()
        except FastCGIError:
            self._exhausted = True
            raise
        if isinstance(self.jobs, AsyncIterable):
            self._feeder = self.backend.spawn(self._feed)
        else:
            self._source = iterate(self.jobs)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel the jobs whose outcomes were not read."""
        self._source, self._exhausted = None, True
        if self._feeder is not None:
            self._feeder.cancel()
            with anyio.CancelScope(shield=True):
                await self._feeder.join()
        for execution in tuple(self._running):
            execution.cancel()
        if kind is None:
            await self.backend.checkpoint()

    def stop(self, *, cancel: bool = False) -> None:
        """Read no more jobs, and cancel those that no worker has taken; running jobs continue.

        The outcomes of all jobs taken from the source still come, with JobCancelled for those that were cancelled; then
        the iteration ends.

        Args:
            cancel: whether to cancel running jobs too.

        Raises:
            ConfigurationError: this is not the dispatcher's event loop.
        """
        self.backend.check_here()
        self._source, self._exhausted = None, True
        if self._feeder is not None:
            self._feeder.cancel()
        self._refuse_what_is_at_hand(JobCancelled("the job was cancelled"))
        for execution in tuple(self._running):
            if cancel or execution.waiting:
                execution.cancel()
        self._changed.ring()

    def __aiter__(self) -> OutcomeStream[Tag]:
        return self

    async def __anext__(self) -> Outcome[Tag]:
        """Return the next outcome; cancelling loses none.

        Raises:
            Exception: whatever the iterable of jobs raised, after the outcomes of the jobs before.
            DispatcherClosed: the dispatcher takes no more jobs, and there may be more. It comes after the outcomes of
                all jobs taken from the source, including the one that was refused.
            ConfigurationError: it was not entered, or this is not the dispatcher's event loop.
        """
        if not self._entered:
            raise ConfigurationError("enter map() first: async with php.map(jobs) as outcomes: async for ...")
        self.backend.check_here()
        waited = False
        while True:
            self._refill()
            if self._readable or (not self._unread and (self._failure is not None or self._exhausted)):
                if waited:
                    break
                await self.backend.checkpoint()
            else:
                await self._changed.wait()
            waited = True
        if self._readable:
            self._unread -= 1
            self._room.ring()
            return cast("Outcome[Tag]", self._readable.popleft())
        if self._failure is not None:
            raise self._failure
        raise StopAsyncIteration

    @property
    def _has_room(self) -> bool:
        if self.limit is not None:
            return self._unread < self.limit
        in_time = self._unread - self._early < self.window
        return in_time and self._early < _EARLY_MAX and self._early_bytes < _EARLY_BYTES_MAX

    def _refill(self) -> None:
        try:
            while self._source is not None and self._has_room:
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
                self._at_hand = job
                while not (self._has_room or self._exhausted):
                    await self._room.wait()
                if self._exhausted:
                    # stopped just as it came
                    self._refuse_what_is_at_hand(JobCancelled("the job was cancelled"))
                    return
                self._at_hand = None
                self._add(job)
                if self._failure is not None:
                    return
            self._exhausted = True
        except Exception as error:
            self._failure = error
        finally:
            if not self._exhausted and self._failure is None:
                self._failure = _closed()
                self._refuse_what_is_at_hand(_closed())
            self._exhausted = True
            self._changed.ring()
            await close_iterator(source)

    def _refuse_what_is_at_hand(self, error: FastCGIError) -> None:
        job, self._at_hand = self._at_hand, None
        if job is not None:
            error.about(job, None, may_have_run=False)
            self._settle(self._place(job), Outcome(job, None, error))

    def _place(self, job: Job) -> _Place:
        place = _Place(job)
        self._unread += 1
        if self.ordered:
            self._places.append(place)
        return place

    def _add(self, job: Job) -> None:
        place = self._place(job)
        try:
            execution = self.start(job, lambda execution: self._done(place, execution))
        except DispatcherClosed as error:
            self._source, self._failure = None, _closed()
            self._settle(place, Outcome(job, None, error))
        except FastCGIError as error:
            self._settle(place, Outcome(job, None, error))
        else:
            if place.outcome is None:
                self._running.add(execution)

    def _done(self, place: _Place, execution: Execution) -> None:
        self._running.discard(execution)
        self._settle(place, Outcome(place.job, execution.response, execution.error))

    def _settle(self, place: _Place, outcome: Outcome) -> None:
        place.outcome = outcome
        if not self.ordered:
            self._readable.append(outcome)
        elif place is not self._places[0]:
            self._early += 1
            self._early_bytes += _size(outcome)
        else:
            self._readable.append(outcome)
            self._places.popleft()
            while self._places and (early := self._places[0].outcome) is not None:
                self._early -= 1
                self._early_bytes -= _size(early)
                self._readable.append(early)
                self._places.popleft()
        # also if it is not readable: the reader submits the next job
        self._changed.ring()
        self._room.ring()


@attrs.define(eq=False)
class _Place:
    """One job's place in the order."""

    job: Job
    outcome: Outcome | None = attrs.field(default=None, init=False)


def check_limit(limit: int | None) -> None:
    """Raise ConfigurationError if `limit` is not a limit."""
    if limit is None:
        return
    if not is_whole(limit):
        raise ConfigurationError(f"limit must be a whole number of jobs, not {limit!r}")
    if limit < 1:
        raise ConfigurationError(f"limit must be at least 1, not {limit}")


def _closed() -> DispatcherClosed:
    return DispatcherClosed("the dispatcher was closed before all jobs were read")


def _size(outcome: Outcome) -> int:
    response, error = outcome.response, outcome.error
    if response is not None:
        return len(response.content) + len(response.stderr)
    return 0 if error is None else len(error.stderr)
