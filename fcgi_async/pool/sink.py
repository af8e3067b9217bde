"""Where the parts of one response go: collected for `run()`, or handed on as they come for `stream()`."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Protocol

import attrs

from fcgi_async.errors import FastCGIError, RemoteProtocolError, ResponseTooLarge, StreamBusy
from fcgi_async.job.success_mark import BodyEnd
from fcgi_async.net.backend import Waiter
from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge

__all__ = ("CollectingSink", "Sink", "StderrBuffer", "StreamingSink")

# bytes of a streamed response that may wait for their reader before the connection is paused; it resumes at a quarter
_HIGH = 256 * 1024


class Flow(Protocol):
    """What a response comes through; synchronous."""

    def pause_reading(self) -> None:
        """Hold the peer up, since the reader is behind."""

    def resume_reading(self) -> None:
        """Let it go on."""


class Sink(Protocol):
    """Takes a response in parts; synchronous."""

    head: CGIHead | None
    # bytes of the body
    size: int

    def feed(self, data: bytes) -> None:
        """Take a part of STDOUT.

        Raises:
            RemoteProtocolError: it is no CGI response.
            ResponseTooLarge: a limit is passed.
        """

    def finish(self) -> None:
        """Take the end.

        Raises:
            RemoteProtocolError: the head was not complete.
        """

    def fail(self, error: FastCGIError) -> None:
        """Take it that no more will come."""

    def restart(self) -> bool:
        """Forget what came, for another attempt; False where somebody has seen a part of it."""

    def content(self) -> bytes:
        """Return what was kept of the body."""


@attrs.define(eq=False)
class StderrBuffer:
    """STDERR up to a limit."""

    limit: int
    truncated: bool = attrs.field(default=False, init=False)
    _parts: list[bytes] = attrs.field(factory=list, init=False)
    _size: int = attrs.field(default=0, init=False)

    def feed(self, data: bytes) -> None:
        room = self.limit - self._size
        if len(data) > room:
            self.truncated = True
            data = data[:room]
        self._parts.append(data)
        self._size += len(data)

    def value(self) -> bytes:
        return b"".join(self._parts)


class _HeadFirst:
    """Parses the head and knows what follows it."""

    # thousands of them may wait in a queue
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
        """Return the body's first part once the head is complete."""
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
    """Keeps the whole body, also after a head that is none: it goes with the error."""

    __slots__ = ("_fault", "_limit", "_parts")

    def __init__(self, head_limit: int, limit: int) -> None:
        super().__init__(head_limit)
        self._limit = limit
        self._parts: list[bytes] = []
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
                f"the response is longer than Limits.response, {self._limit} bytes; stream() has no such bound"
            )
        self._parts.append(data)

    def finish(self) -> None:
        if self._fault is not None:
            self._fault.content = self.content()
            raise self._fault
        if self.head is None:
            self._require_head()

    def fail(self, error: FastCGIError) -> None:
        self._parts.clear()

    def restart(self) -> bool:
        self._restart_head()
        self._parts.clear()
        self._fault = None
        return True

    def content(self) -> bytes:
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)


class StreamingSink(_HeadFirst):
    """Hands the body on; pauses the connection while its reader is behind."""

    def __init__(self, head_limit: int, waiter: Callable[[], Waiter]) -> None:
        super().__init__(head_limit)
        # watched where the job demands a mark there
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
        """Set what delivers, and can be held up until the end."""
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
        # the worker is no longer this response's: whoever is next on the connection must not wait for our reader
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
        """Forget what was not read, and hold up the connection no longer."""
        self._parts.clear()
        self._waiting = 0
        self._resume()

    @property
    def ready(self) -> bool:
        """Whether `next()` would not wait."""
        return bool(self._parts) or self.ended or self.error is not None

    async def wait_head(self) -> CGIHead:
        """Wait for the head; raises what failed the job."""
        while self.head is None:
            if self.error is not None:
                raise self.error
            await self._wait()
        return self.head

    async def next(self) -> bytes | None:
        """Return the next part, or None at the end; raises what failed the job, after what had come before.

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
        # it has this sink: no cycle is left behind
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
