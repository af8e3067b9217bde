"""Send a body that comes in parts; the only thing about a job that needs a task."""

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
    """Sends a body. Nothing is written before its first part has come, so a job whose body never begins has certainly
    not run.

    Args:
        body: the body to send.
        begin: called when the first part has come; writes the head of the job and returns its slot, or None if it could
            not be started.
        refused: called when nothing was written, because the worker had left.
        failed: called with the error of the body itself.
    """

    body: BodyStream
    _begin: Callable[[], JobSlot | None]
    _refused: Callable[[], None]
    _failed: Callable[[FastCGIError], object]
    # whether a part of the body, but not all, has been written
    running: bool = attrs.field(default=False, init=False)
    _backend: Backend | None = attrs.field(default=None, init=False)
    # which attempt is sending, 0 if none is; a task is not known before `spawn()` has returned
    _attempt: int = attrs.field(default=0, init=False)
    _attempts: int = attrs.field(default=0, init=False)
    # the last attempt that was told to stop
    _stopped: int = attrs.field(default=0, init=False)
    _task: TaskHandle | None = attrs.field(default=None, init=False)
    _parts: AsyncIterator[bytes] | None = attrs.field(default=None, init=False)
    # taken from the iterator but not written: a failed attempt leaves it to the next
    _at_hand: bytes | None = attrs.field(default=None, init=False)
    _sent: int = attrs.field(default=0, init=False)

    @property
    def repeatable(self) -> bool:
        """Whether the body can be sent again from its beginning."""
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
        """Stop sending; what was taken but not written is kept unless the job is `settled`."""
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
        # another attempt may have started while this one was ending
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
                # ended already, or the peer has closed: the connection reports it
                return True
            part = await _next(parts)
            if self._attempt != attempt:
                # told to stop while a thread read a file, which a cancellation cannot interrupt: the next attempt
                # counts now
                return True
            self._check(self._sent + len(part or b""), last=part is None)
        self.running = False
        slot.end_body()
        return True

    def _check(self, size: int, *, last: bool) -> None:
        if size > self.body.length or (last and size < self.body.length):
            raise ValueError(
                f"content_length is {self.body.length}, "
                f"but the iterable gave {'only' if last else 'at least'} {size} bytes; make them equal"
            )


async def _next(parts: AsyncIterator[bytes]) -> bytes | None:
    part: object
    async for part in parts:
        if not isinstance(part, bytes | bytearray | memoryview):
            raise TypeError(f"the iterable gave {type(part).__name__}, but must give bytes")
        if part:
            return bytes(part)
    return None
