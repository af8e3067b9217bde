"""What `stream()` returns to threads: a response that is read while PHP writes it."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from types import TracebackType
from typing import Self

from fcgi_async.dispatch import stream
from fcgi_async.dispatch.lines import LineSplitter
from fcgi_async.errors import ConfigurationError, DispatcherClosed
from fcgi_async.job.response import Headers, Timing
from fcgi_async.sync.loop_thread import LoopThread

__all__ = ("ResponseStream", "StreamManager")


class ResponseStream(Iterator[bytes]):
    """A response whose head is there; iterate it for the parts of its body, as PHP flushed them.

    As `fcgi_async.ResponseStream`: a script that writes faster than it is read waits in its worker, and the deadline of
    the job fails the next read. One thread at a time reads it; any may call `close()`.

    Attributes:
        status: 200 if PHP gave no status.
        headers: without `Status`.
    """

    def __init__(self, thread: LoopThread, manager: stream.StreamManager, inner: stream.ResponseStream) -> None:
        self._thread = thread
        self._manager = manager
        self._inner = inner
        self.status: int = inner.status
        self.headers: Headers = inner.headers

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> bytes:
        """Return the next part of the body; an interruption loses nothing.

        Raises:
            FastCGIError: what failed the job, after all that had come before.
            StreamBusy: another thread is reading this response.
            ConfigurationError: this thread runs an event loop, or this process was forked off.
        """
        part = self._thread.call(self._next, while_closing=True)
        if part is None:
            raise StopIteration
        return part

    async def _next(self) -> bytes | None:
        try:
            return await anext(self._inner)
        except StopAsyncIteration:
            return None

    def read(self) -> bytes:
        """Return what is left of the body; raises what `__next__` does."""
        return self._thread.call(self._inner.aread, while_closing=True)

    def iter_lines(self) -> Iterator[str]:
        """Iterate over the body's lines, decoded as UTF-8, without their ends; raises what `__next__` does."""
        splitter = LineSplitter()
        for part in self:
            yield from splitter.feed(part)
        yield from splitter.feed(None)

    def close(self) -> None:
        """End the job, from any thread; a reader that waits gets JobCancelled. Does nothing if it has ended.

        Its output is drained, or refused, as the endpoint's `on_cancel` says.
        """
        self._thread.soon(self._manager.cancel)

    @property
    def stderr(self) -> bytes:
        """What PHP has logged so far, up to `Limits.stderr`."""
        return self._inner.stderr

    @property
    def app_status(self) -> int | None:
        """What the responder ended with, once the body has been read to its end; 0 from PHP-FPM, always."""
        return self._inner.app_status

    @property
    def ok(self) -> bool | None:
        """What `Response.ok` says, once the body has been read to its end; None before."""
        return self._inner.ok

    def raise_for_status(self) -> Self:
        """Return this stream, or raise if it is not `ok`. Call it after reading to the end.

        Raises:
            JobFailed: it is not; the body of its response is empty, since it was streamed.
            ResponseTruncated: the body is shorter than its Content-Length.
            JobNotDone: the body has not come to its end.
        """
        self._inner.raise_for_status()
        return self

    @property
    def timing(self) -> Timing:
        """Where the time went, until now.

        Raises:
            DispatcherClosed: the dispatcher was closed before the response had ended.
        """
        if self._inner.app_status is not None:
            return self._inner.timing
        # trio's clock is read in its own thread
        return self._thread.call(self._timing, while_closing=True)

    async def _timing(self) -> Timing:
        return self._inner.timing


class StreamManager:
    """What `stream()` returns: enter it for the `ResponseStream`.

    Leaving it before the end throws away what comes within 20 ms and then refuses the rest: a script that writes dies
    of it. Its slot stays taken until the worker has left the script.
    """

    def __init__(self, thread: LoopThread, inner: stream.StreamManager) -> None:
        self._thread = thread
        self._inner = inner
        self._entered = False

    def __enter__(self) -> ResponseStream:
        """Run the job and wait for the head of its response; raises what `run()` does.

        Raises:
            ConfigurationError: it was entered before; nothing is run again.

        An interruption cancels the job as leaving does.
        """
        if self._entered:
            raise ConfigurationError(
                "what stream() returns can be entered only once; call stream() again to run the job again"
            )
        self._entered = True
        try:
            response = ResponseStream(self._thread, self._inner, self._thread.call(self._inner.__aenter__))
        except BaseException:
            # an interruption may have come after the head
            self._thread.soon(self._inner.cancel)
            raise
        return response

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Leave the response, read to its end or not."""
        try:
            self._thread.call(partial(self._inner.__aexit__, kind, error, traceback), while_closing=True)
        except DispatcherClosed:
            # all jobs have ended
            return
        except BaseException:
            self._thread.soon(self._inner.cancel)
            raise
