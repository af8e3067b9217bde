"""What `map()` returns in threads: an iterator of outcomes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Generic, Self

from fcgi_async.dispatch.handle import Outcome
from fcgi_async.dispatch.outcomes import OutcomeStream
from fcgi_async.errors import FastCGIError
from fcgi_async.job.tag import Tag
from fcgi_async.sync.feed import Feed
from fcgi_async.sync.loop_thread import LoopThread
from fcgi_async.sync.promise import Promise

__all__ = ("OutcomeIterator",)


class OutcomeIterator(Iterator[Outcome[Tag]], Generic[Tag]):
    """What `map()` returns: iterate over it in one thread; use `with` if you may leave before the end.

    The thread that iterates reads the jobs while it waits for outcomes; it reads none before the first `next()`.
    """

    def __init__(self, thread: LoopThread, feed: Feed[Tag], begin: Callable[[], OutcomeStream[Tag]]) -> None:
        self._thread = thread
        self._feed = feed
        self._begin = begin
        self._stream: OutcomeStream[Tag] | None = None
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Cancel the jobs whose outcomes were not read."""
        self.close()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Outcome[Tag]:
        """Return the next outcome.

        Raises:
            Exception: whatever the iterable of jobs raised, after the outcomes of the jobs before.
            DispatcherClosed: the dispatcher takes no more jobs, and there may be more.
            ConfigurationError: this thread runs an event loop, or was forked off.
        """
        if self._closed:
            raise StopIteration
        try:
            outcome = self._feed.serve(self._next)
        except BaseException:
            self.close()
            raise
        if outcome is None:
            self.close()
            raise StopIteration
        return outcome

    def close(self) -> None:
        """Cancel the jobs whose outcomes were not read, and end the iteration."""
        done = self._leave()
        if done is not None:
            done.result()

    def _leave(self) -> Promise[None] | None:
        self._closed = True
        if self._stream is None:
            return None
        try:
            left = self._thread.start(partial(self._stream.__aexit__, None, None, None))
        except FastCGIError:
            # the dispatcher is closed, and all jobs have ended; or this is another process
            left = None
        self._stream = None
        return left

    async def _next(self) -> Outcome[Tag] | None:
        if self._stream is None:
            self._stream = await self._begin().__aenter__()
        try:
            return await anext(self._stream)
        except StopAsyncIteration:
            return None

    def __del__(self) -> None:
        # a loop was left by `break`; the interpreter may be ending
        with suppress(Exception):
            self._leave()
