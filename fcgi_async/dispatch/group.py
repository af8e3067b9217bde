"""A group of jobs that all end within its block."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, cast

import anyio
import attrs

from fcgi_async.dispatch.handle import JobHandle
from fcgi_async.errors import ConfigurationError, DispatcherClosed, FastCGIError, JobCancelled
from fcgi_async.job.job import Job
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend
from fcgi_async.net.bell import Bell

__all__ = ("HandleIterator", "JobGroup")

# submits a job, waiting while there is no room
Submitter = Callable[[Job], Awaitable[JobHandle]]

# bytes of ended jobs remembered before as_completed() is called, and bytes counted for a handle besides its content
_REMEMBERED_MAX = 16 * 1024 * 1024
_HANDLE_BYTES = 1024


@attrs.define(eq=False)
class JobGroup:
    """Jobs that are done, or cancelled, when the block is left.

    With `on_error="cancel"` it behaves like a task group: the first job that fails cancels the others and the block,
    and leaving raises an ExceptionGroup. If the block is cancelled from outside at the same time, the cancellation
    continues, and the jobs' errors are logged and passed to `on_job_error`. With `"collect"` it never raises for a job;
    ask the handles. A cancelled handle is not an error of its group. A group can be entered only once.

    Attributes:
        limit: most jobs of the group that are outstanding at a time; None for the queue's limit only.
        on_error: "cancel" or "collect".
    """

    _submit: Submitter
    _report: Callable[[FastCGIError], None]
    _backend: Backend
    limit: int | None
    on_error: Literal["cancel", "collect"]
    _outstanding: set[JobHandle] = attrs.field(factory=set, init=False)
    _errors: list[FastCGIError] = attrs.field(factory=list, init=False)
    # done, but not yet returned by as_completed()
    _unread: deque[JobHandle] = attrs.field(factory=deque, init=False)
    _unread_bytes: int = attrs.field(default=0, init=False)
    # whether as_completed() was called; whether it is too late to call it
    _iterated: bool = attrs.field(default=False, init=False)
    _forgotten: bool = attrs.field(default=False, init=False)
    # number of submit() calls in progress; how many of them have passed the group's limit
    _submitting: int = attrs.field(default=0, init=False)
    _handing_in: int = attrs.field(default=0, init=False)
    _changed: Bell = attrs.field(init=False)
    _scope: anyio.CancelScope = attrs.field(init=False)
    _entered: bool = attrs.field(default=False, init=False)
    _open: bool = attrs.field(default=False, init=False)

    def __attrs_post_init__(self) -> None:
        self._changed = Bell(self._backend)

    async def __aenter__(self) -> JobGroup:
        """Start taking jobs.

        Raises:
            ConfigurationError: the group was entered before, or this is not the dispatcher's event loop.
        """
        self._backend.check_here()
        if self._entered:
            raise ConfigurationError("a group can be entered only once; call group() again for another one")
        self._entered = True
        await self._backend.checkpoint()
        self._scope = anyio.CancelScope()
        self._scope.__enter__()
        self._open = True
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        """Wait for the jobs, or cancel them if the block was left by an exception.

        Raises:
            ExceptionGroup: with `on_error="cancel"`: the jobs' errors and the block's own.
        """
        cancelled: BaseException | None = None
        try:
            if kind is None:
                await self._wait_all()
        except BaseException as interruption:
            cancelled = interruption
        finally:
            self._open = False
            for handle in tuple(self._outstanding):
                handle.cancel()
        leaving = cancelled or error
        if cancelled is None:
            swallowed = self._scope.__exit__(kind, error, traceback)
        else:
            swallowed = self._scope.__exit__(type(cancelled), cancelled, cancelled.__traceback__)
        if swallowed:
            leaving = None
        errors: list[Exception] = [*self._errors]
        if isinstance(leaving, Exception) and leaving not in errors:
            errors.append(leaving)
        if errors and self.on_error == "cancel":
            if leaving is None or isinstance(leaving, Exception):
                failed = f"{len(self._errors)} job(s) of the group failed"
                raise ExceptionGroup(failed if self._errors else "the group's block failed", errors) from None
            # a cancellation is passed on unchanged
            for failure in self._errors:
                self._report(failure)
        if cancelled is not None and leaving is cancelled:
            raise cancelled
        return bool(swallowed)

    async def submit(self, job: Job[Tag]) -> JobHandle[Tag]:
        """Submit a job, waiting while the queue or the group is full: that is the backpressure.

        Cancelling submits nothing.

        Raises:
            InvalidJob: the job can never be sent.
            QueueFull: the queue is full, and `overflow` is "reject".
            DispatcherClosed: the dispatcher, or the group, is closed.
            ConfigurationError: this is not the dispatcher's event loop.
        """
        self._backend.check_here()
        if not self._open:
            raise DispatcherClosed("the group is not open; submit inside its `async with` block", job=job)
        self._submitting += 1
        try:
            await self._backend.checkpoint()
            while self.limit is not None and len(self._outstanding) + self._handing_in >= self.limit:
                await self._changed.wait()
            if self._was_left():
                raise DispatcherClosed("the group was closed before there was room for the job", job=job)
            self._handing_in += 1
            try:
                handle = await self._submit(job)
            finally:
                self._handing_in -= 1
        finally:
            self._submitting -= 1
            self._changed.ring()
        if handle.done():
            self._done(handle)
        else:
            self._outstanding.add(handle)
            handle._when_done(self._done)
            if self._was_left():
                handle.cancel()
        return cast("JobHandle[Tag]", handle)

    def _was_left(self) -> bool:
        return not self._open

    def as_completed(self) -> HandleIterator:
        """Iterate over handles as their jobs end, each once, until no submitted job is outstanding.

        Jobs that ended before this is called are remembered up to 16 MiB, counting 1 KiB for each job and its content;
        a group keeps no more unless asked. Call this before the first `submit()` if more may come.

        Raises:
            ConfigurationError: more than that had ended at the first call.
        """
        if self._forgotten:
            raise ConfigurationError(
                f"as_completed() was called after more than {_REMEMBERED_MAX} bytes of responses had come, and the "
                "group did not keep them; call it before the first submit(), or keep the handles"
            )
        self._iterated = True
        return HandleIterator(self)

    def _done(self, handle: JobHandle) -> None:
        self._outstanding.discard(handle)
        error = handle.exception()
        self._remember(handle)
        if error is not None and not isinstance(error, JobCancelled) and self.on_error == "cancel":
            self._errors.append(error)
            if self._open and len(self._errors) == 1:
                self._scope.cancel()
        self._changed.ring()

    def _remember(self, handle: JobHandle) -> None:
        if self._forgotten:
            return
        self._unread.append(handle)
        self._unread_bytes += _size(handle)
        if self._unread_bytes > _REMEMBERED_MAX and not self._iterated:
            self._forgotten = True
            self._unread.clear()

    async def _wait_all(self) -> None:
        if not self._outstanding and not self._submitting:
            await self._backend.checkpoint()
        while self._outstanding or self._submitting:
            await self._changed.wait()

    async def _next_done(self) -> JobHandle | None:
        self._backend.check_here()
        if self._unread or (not self._outstanding and not self._submitting):
            await self._backend.checkpoint()
        while not self._unread:
            if not self._outstanding and not self._submitting:
                return None
            await self._changed.wait()
        handle = self._unread.popleft()
        self._unread_bytes -= _size(handle)
        return handle


@attrs.define(eq=False)
class HandleIterator:
    """Handles of a group as their jobs end."""

    _group: JobGroup

    def __aiter__(self) -> HandleIterator:
        return self

    async def __anext__(self) -> JobHandle:
        """Return the next handle that is done; cancelling loses none."""
        handle = await self._group._next_done()
        if handle is None:
            raise StopAsyncIteration
        return handle


def _size(handle: JobHandle) -> int:
    response = handle._response
    return _HANDLE_BYTES + (0 if response is None else len(response.content) + len(response.stderr))
