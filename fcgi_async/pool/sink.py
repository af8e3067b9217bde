"""Sinks for the parts of one response: collect them for `run()`, or pass them on as they come for `stream()`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

from fcgi_async.errors import FastCGIError, RemoteProtocolError, ResponseTooLarge, StreamBusy
from fcgi_async.job.success_mark import BodyEnd
from fcgi_async.net.backend import Waiter
from fcgi_async.pool.blocks import Blocks, Joined
from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge

__all__ = ("CollectingSink", "Sink", "StderrBuffer", "StreamingSink")

# bytes of a streamed response that may wait for the reader before the connection is paused; it resumes at a quarter
_HIGH = 256 * 1024
# a body over this is joined as it comes, and not at its end
_LARGE = 128 * 1024


class Flow(Protocol):
    """The source of a response, which can be paused; synchronous."""

    def pause_reading(self) -> None:
        """Pause the peer, because the reader is slow."""

    def resume_reading(self) -> None:
        """Let the peer continue."""


class Sink(Protocol):
    """Takes a response in parts; synchronous."""

    head: CGIHead | None
    # bytes of the body
    size: int

    def feed(self, data: bytes) -> None:
        """Take a part of STDOUT.

        Raises:
            RemoteProtocolError: this is not a CGI response.
            ResponseTooLarge: a limit is exceeded.
        """

    def finish(self) -> None:
        """Take the end of the response.

        Raises:
            RemoteProtocolError: the head was not complete.
        """

    def fail(self, error: FastCGIError) -> None:
        """Called when the response has failed."""

    def restart(self) -> bool:
        """Discard what came, for another attempt. Return False if part of it was read already."""

    def content(self) -> bytes:
        """Return the part of the body that was kept."""


class StderrBuffer:
    """STDERR of one attempt up to a limit.

    Attributes:
        truncated: whether there was more.
    """

    truncated = False
    _size = 0

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._parts: list[bytes] = []

    def feed(self, data: bytes, *, more: bool = True) -> bytes:
        """Take a part, and return what is kept of it; without `more`, it is the last part."""
        room = self._limit - self._size
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        self._parts.append(data)
        self._size += len(data)
        return data

    def end(self) -> None:
        """Stop taking parts; may be called again."""

    def value(self) -> bytes:
        return b"".join(self._parts)


class _HeadFirst:
    """Parses the head, and keeps it for the parts that follow."""

    # with slots, because thousands may wait in a queue
    __slots__ = ("_head_limit", "_parser", "head", "size")

    def __init__(self, head_limit: int) -> None:
        self.head: CGIHead | None = None
        self.size = 0
        self._head_limit = head_limit
        self._parser: HeadParser | None = None

    def _restart_head(self) -> None:
        self.head = self._parser = None
        self.size = 0

    def _take_head(self, data: bytes) -> bytes | None:
        """Return the body's first part when the head is complete."""
        if self._parser is None:
            self._parser = HeadParser(self._head_limit)
        try:
            found = self._parser.feed(data)
        except HeadTooLarge:
            raise ResponseTooLarge(
                f"the response's head is longer than Limits.head, {self._parser.limit} bytes"
            ) from None
        if found is None:
            return None
        self.head, body = found
        self._parser = None
        return body

    def _require_head(self) -> None:
        if self.head is None:
            pending = b"" if self._parser is None else self._parser.pending
            raise RemoteProtocolError(f"the response ended before its head was complete: {pending[:200]!r}")


class CollectingSink(_HeadFirst):
    """Keeps the whole body, even after a malformed head: the error has it."""

    __slots__ = ("_blocks", "_fault", "_joined", "_limit", "_parts")

    def __init__(self, head_limit: int, limit: int, blocks: Blocks) -> None:
        super().__init__(head_limit)
        self._limit, self._blocks = limit, blocks
        self._parts: list[bytes] = []
        self._joined: Joined | None = None
        self._fault: RemoteProtocolError | None = None

    def feed(self, data: bytes) -> None:
        if self.head is None and self._fault is None:
            try:
                body = self._take_head(data)
            except RemoteProtocolError as error:
                self._fault = error
                body = error.content
            if not body:
                return
            data = body
        self.size += len(data)
        if self.size > self._limit:
            raise ResponseTooLarge(
                f"the response is longer than Limits.response, {self._limit} bytes; stream() has no such limit"
            )
        if self._joined is None:
            self._parts.append(data)
            if self.size > _LARGE and len(self._parts) > 1:
                self._join()
        else:
            self._joined.add(data)

    def finish(self) -> None:
        if self._fault is not None:
            self._fault.content = self.content()
            raise self._fault
        if self.head is None:
            self._require_head()

    def fail(self, error: FastCGIError) -> None:
        self._forget()

    def restart(self) -> bool:
        self._restart_head()
        self._forget()
        self._fault = None
        return True

    def content(self) -> bytes:
        if self._joined is not None:
            self._parts, self._joined = [self._joined.take()], None
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def _join(self) -> None:
        self._joined = Joined(self._blocks)
        for part in self._parts:
            self._joined.add(part)
        self._parts.clear()

    def _forget(self) -> None:
        self._parts.clear()
        if self._joined is not None:
            self._joined.give_back()
            self._joined = None


class StreamingSink(_HeadFirst):
    """Passes the body on; pauses the connection while its reader is slow."""

    def __init__(self, head_limit: int, waiter: Callable[[], Waiter]) -> None:
        super().__init__(head_limit)
        # checked if the job has a success mark
        self.end: BodyEnd | None = None
        self._flow: Flow | None = None
        self.ended = False
        self.error: FastCGIError | None = None
        self._new_waiter = waiter
        self._waiter: Waiter | None = None
        self._parts: deque[bytes] = deque()
        self._waiting = 0
        self._paused = False

    def attach(self, flow: Flow) -> None:
        """Set the source, which can be paused until the end."""
        if self.error is None and not self.ended:
            self._flow = flow

    def feed(self, data: bytes) -> None:
        if self.head is None:
            body = self._take_head(data)
            if body is None:
                return
            data = body
        if data:
            if self.end is not None:
                self.end.feed(data)
            self._parts.append(data)
            self.size += len(data)
            self._waiting += len(data)
            if self._waiting > _HIGH and not self._paused and self._flow is not None:
                self._paused = True
                self._flow.pause_reading()
        self._wake()

    def finish(self) -> None:
        # the worker no longer serves this response: the next job on the connection must not wait for this reader
        self._detach()
        self._require_head()
        self.ended = True
        self._wake()

    def fail(self, error: FastCGIError) -> None:
        self._detach()
        self.error = error
        self._wake()

    def restart(self) -> bool:
        if self.head is not None:
            return False
        self._restart_head()
        return True

    def content(self) -> bytes:
        return b""

    def release(self) -> None:
        """Forget the unread parts, and stop pausing the connection."""
        self._parts.clear()
        self._waiting = 0
        self._resume()

    @property
    def ready(self) -> bool:
        """Whether `next()` would not wait."""
        return bool(self._parts) or self.ended or self.error is not None

    def take(self) -> bytes:
        """Return all parts that have come and were not read."""
        data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        self.release()
        return data

    async def wait_head(self) -> CGIHead:
        """Wait for the head; raises the job's error."""
        while self.head is None:
            if self.error is not None:
                raise self.error
            await self._wait()
        return self.head

    async def next(self) -> bytes | None:
        """Return the next part, or None at the end; raises the job's error after all parts that came before.

        Cancelling loses nothing.
        """
        while not self._parts:
            if self.error is not None:
                raise self.error
            if self.ended:
                return None
            await self._wait()
        data = self._parts.popleft()
        self._waiting -= len(data)
        if self._waiting <= _HIGH // 4:
            self._resume()
        return data

    def _detach(self) -> None:
        self._resume()
        # it refers to this sink: leave no reference cycle
        self._flow = None

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._flow is not None:
                self._flow.resume_reading()

    async def _wait(self) -> None:
        if self._waiter is not None:
            raise StreamBusy("another task is reading this response; let one task read it")
        self._waiter = self._new_waiter()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)
