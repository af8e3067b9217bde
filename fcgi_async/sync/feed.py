"""Read jobs from an iterable in the caller's thread, for an event loop in another thread.

An iterable may do work for its next job, such as reading a database. That happens in the thread where its owner expects
it, and does not hold up the loop. The thread reads while it waits for a call that needs jobs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Generic, TypeVar

import anyio
import attrs

from fcgi_async.job.job import Job
from fcgi_async.job.tag import Tag
from fcgi_async.sync.loop_thread import LoopThread
from fcgi_async.sync.promise import Promise

__all__ = ("Feed",)

_Result = TypeVar("_Result")


@attrs.define(eq=False)
class Feed(AsyncIterator[Job[Tag]], Generic[Tag]):
    """An async iterator in the loop; `serve()` is its other end, in the thread.

    Args:
        thread: the thread of the loop.
        jobs: the source of the jobs.
    """

    _thread: LoopThread
    _jobs: Iterable[Job[Tag]]
    _source: Iterator[Job[Tag]] | None = attrs.field(default=None, init=False)
    # True: the loop needs a job; False: check whether the call is done
    _wanted: SimpleQueue[bool] = attrs.field(factory=SimpleQueue, init=False)
    _came: anyio.Event | None = attrs.field(default=None, init=False)
    _job: Job[Tag] | None = attrs.field(default=None, init=False)
    _failure: Exception | None = attrs.field(default=None, init=False)

    async def __anext__(self) -> Job[Tag]:
        """Return the next job, read by the thread; raises what reading raised."""
        self._came = anyio.Event()
        self._wanted.put(True)
        await self._came.wait()
        if self._failure is not None:
            raise self._failure
        if self._job is None:
            raise StopAsyncIteration
        return self._job

    def serve(self, function: Callable[[], Awaitable[_Result]]) -> _Result:
        """Call a coroutine function in the loop, as `LoopThread.call()` does, and read jobs for it meanwhile."""
        return self._thread.call(function, meanwhile=self._read_until_done, when_done=lambda: self._wanted.put(False))

    def _read_until_done(self, promise: Promise[_Result]) -> None:
        while not promise.done():
            if self._wanted.get():
                self._read()

    def _read(self) -> None:
        try:
            if self._source is None:
                self._source = iter(self._jobs)
            self._job = next(self._source, None)
        except Exception as error:
            self._failure = error
        self._thread.soon(self._deliver)

    def _deliver(self) -> None:
        assert self._came is not None
        self._came.set()
