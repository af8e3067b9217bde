"""A body that comes in parts, on its way to a worker; the one thing about a job that needs a task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import attrs

from fcgi_async.errors import FastCGIError, JobError
from fcgi_async.job.body import BodyStream
from fcgi_async.job.closing import close_iterator
from fcgi_async.net.backend import Backend, TaskHandle
from fcgi_async.pool.attempt import JobSlot

__all__ = ("Upload",)


@attrs.define(eq=False)
class Upload:
    """Nothing is written before the first part is there: a job whose body never begins has certainly not run.

    Args:
        body: what is sent.
        begin: writes the head of the job, now that the first part is at hand, and returns its slot; None if that came
            to nothing.
        refused: called when nothing was written, since the worker had left.
        failed: called with what the body itself failed with.
    """

    body: BodyStream
    _begin: Callable[[], JobSlot | None]
    _refused: Callable[[], None]
    _failed: Callable[[FastCGIError], object]
    # whether a part of the body has been written, and not all
    running: bool = attrs.field(default=False, init=False)
    _backend: Backend | None = attrs.field(default=None, init=False)
    # which attempt is sending, 0 when none is; its task is not known to itself before `spawn()` has returned
    _attempt: int = attrs.field(default=0, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    # the last attempt that was stopped
    _stopped: int = attrs.field(default=0, init=False)
    _task: TaskHandle | None = attrs.field(default=None, init=False)
    _parts: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)
    # taken from the iterator and not written: what an attempt that came to nothing leaves to the next
    _at_hand: bytes | None = attrs.field(default=None, init=False)
    _sent: int = attrs.field(default=0, init=False)

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent once more from its beginning."""
        return self.body.replayable or not self._sent

    def start(self, backend: Backend) -> None:
        """Send the body from its beginning."""
        if self._sent:
            self._parts, self._at_hand, self._sent = None, None, 0
        self._backend = backend
        self._attempts += 1
        attempt = self._attempt = self._attempts
        task = backend.spawn(lambda: self._run(attempt))
        if self._attempt == attempt:
            self._task = task
        elif self._stopped == attempt:
            # by its own first step
            task.cancel()

    def stop(self, *, settled: bool = True) -> None:
        """Stop sending; what was taken and not written stays at hand unless the job is `settled`."""
        sending, self._attempt = self._attempt, 0
        if sending:
            self._stopped = sending
        task, self._task = self._task, None
        self.running = False
        if task is not None:
            task.cancel()
        elif not sending and settled and self._at_hand is not None and self._backend is not None:
            parts, self._parts, self._at_hand = self._parts, None, None
            self._backend.spawn(lambda: close_iterator(parts))

    async def _run(self, attempt: int) -> None:
        refused = False
        parts = None
        try:
            if self._parts is None:
                self._parts = self.body.open()
            parts = self._parts
            refused = not await self._send(parts, attempt)
        except Exception as error:
            failure = JobError(f"the job's body failed after {self._sent} of {self.body.length} bytes: {error}")
            failure.__cause__ = error
            self._done(attempt)
            self._failed(failure)
        finally:
            self._done(attempt)
            if not refused:
                await close_iterator(parts)
        if refused:
            self._refused()

    def _done(self, attempt: int) -> None:
        # another attempt may have begun while this one was ending
        if self._attempt == attempt:
            self._attempt, self._task = 0, None

    async def _send(self, parts: AsyncIterator[bytes], attempt: int) -> bool:
        part = self._at_hand if self._at_hand is not None else await _next(parts)
        self._at_hand = part
        self._check(len(part or b""), last=part is None)
        slot = self._begin()
        if slot is None:
            return False
        self.running = True
        self._at_hand = None
        while part is not None:
            self._sent += len(part)
            if not await slot.send(part):
                # over already, or the peer gone: the connection tells
                return True
            part = await _next(parts)
            if self._attempt != attempt:
                # told to stop while a thread read a file, which no cancellation interrupts: the next attempt counts now
                return True
            self._check(self._sent + len(part or b""), last=part is None)
        self.running = False
        slot.end_body()
        return True

    def _check(self, size: int, *, last: bool) -> None:
        if size > self.body.length or (last and size < self.body.length):
            raise ValueError(
                f"content_length is {self.body.length}, "
                f"and the iterable gave {'only' if last else 'at least'} {size} bytes"
            )


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    part: object
    async for part in parts:
        if not isinstance(part, bytes | bytearray | memoryview):
            raise TypeError(f"the iterable gave {type(part).__name__}, not bytes")
        if part:
            return bytes(part)
    return None
