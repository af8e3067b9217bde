"""A response that is read while PHP writes it."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.lines import LineSplitter
from fcgi_async.errors import ConfigurationError, JobCancelled, JobNotDone, ResponseTruncated
from fcgi_async.job.response import Headers, Timing, describe_failure
from fcgi_async.job.success_mark import is_marked
from fcgi_async.pool.sink import StreamingSink

__all__ = ("LineIterator", "ResponseStream", "StreamManager")


# seconds for a script that is nearly done to finish, so that its connection can be kept
_PATIENCE_SECONDS = 0.02


@attrs.define(eq=False)
class ResponseStream:
    """A response whose head has come; iterate over it for the parts of its body, as PHP flushed them.

    The parts are as PHP sent them: a Content-Encoding is not decoded.

    The peer is paused while the reader is slower, so a script that writes faster than it is read waits in its worker.
    When the job's deadline passes, the next read fails, and the rest is refused at once.

    Attributes:
        status: 200 if PHP gave no status.
        headers: without `Status`.
    """

    status: int
    headers: Headers
    _sink: StreamingSink
    _execution: Execution

    def __aiter__(self) -> ResponseStream:
        return self

    async def __anext__(self) -> bytes:
        """Return the next part of the body; cancelling loses nothing.

        Raises:
            FastCGIError: the job's error, after all parts that came before.
            StreamBusy: another task is reading this response; it is also an anyio.BusyResourceError.
            ConfigurationError: this is not the dispatcher's event loop.
        """
        self._execution.terms.backend.check_here()
        if self._sink.ready:
            await self._execution.terms.backend.checkpoint()
        data = await self._sink.next()
        if data is None:
            raise StopAsyncIteration
        return data

    async def aread(self) -> bytes:
        """Return the rest of the body; raises what `__anext__` does."""
        self._execution.terms.backend.check_here()
        if self._sink.ready:
            await self._execution.terms.backend.checkpoint()
        parts = []
        while (data := await self._sink.next()) is not None:
            parts.append(data)
        return b"".join(parts)

    @property
    def ended(self) -> bool:
        """Whether all of the body has come, read or not: the script is no longer held up."""
        return self._sink.ended

    def read_available(self) -> bytes:
        """Return the part of the body that has come and was not read, without waiting; empty if there is none."""
        return self._sink.take()

    def aiter_lines(self) -> LineIterator:
        """Iterate over the body's lines, decoded as UTF-8, without line ends; such as a job's progress as NDJSON."""
        return LineIterator(self)

    @property
    def stderr(self) -> bytes:
        """What PHP has written to STDERR so far, up to `Limits.stderr`."""
        return self._execution.stderr

    @property
    def app_status(self) -> int | None:
        """The responder's app_status, after the body has been read to its end; always 0 from PHP-FPM."""
        response = self._execution.response
        return None if response is None else response.app_status

    @property
    def ok(self) -> bool | None:
        """The same as `Response.ok`, after the body has been read to its end; None before."""
        response = self._execution.response
        if response is None:
            return False if isinstance(self._execution.error, ResponseTruncated) else None
        return response.status < 400 and response.app_status == 0 and self._marked

    def raise_for_status(self) -> ResponseStream:
        """Return this stream, or raise if it is not `ok`. Call it after reading to the end.

        Raises:
            JobFailed: it is not ok; the body of the error's response is empty, because it was streamed.
            ResponseTruncated: the body is shorter than its Content-Length.
            JobNotDone: the body has not been read to its end.
        """
        if isinstance(self._execution.error, ResponseTruncated):
            raise self._execution.error
        response = self._execution.response
        if response is None:
            job = self._execution.job
            error = JobNotDone(
                "the body tells only at its end whether the job succeeded; read the body to its end first", job=job
            )
            error.may_have_run = True
            raise error
        if not self.ok:
            end = self._sink.end
            raise describe_failure(response, b"" if end is None else end.tail, marked=self._marked)
        return self

    @property
    def _marked(self) -> bool:
        end = self._sink.end
        return end is None or is_marked(end.tail, end.mark)

    @property
    def timing(self) -> Timing:
        """Where the time went so far."""
        response = self._execution.response
        return response.timing if response is not None else self._execution.timing_so_far()


@attrs.define(eq=False)
class LineIterator:
    """Lines of a stream; a plain iterator, so that a loop may be left at any time without cleaning up."""

    _stream: ResponseStream
    _splitter: LineSplitter = attrs.field(factory=LineSplitter, init=False)
    _lines: list[str] = attrs.field(factory=list, init=False)
    _ended: bool = attrs.field(default=False, init=False)

    def __aiter__(self) -> LineIterator:
        return self

    async def __anext__(self) -> str:
        """Return the next line; raises what the stream's `__anext__` does, and cancelling loses nothing."""
        self._stream._execution.terms.backend.check_here()
        if self._lines or self._ended:
            await self._stream._execution.terms.backend.checkpoint()
        while not self._lines:
            if self._ended:
                raise StopAsyncIteration
            await self._read()
        return self._lines.pop()

    async def _read(self) -> None:
        data: bytes | None
        try:
            data = await self._stream.__anext__()
        except StopAsyncIteration:
            self._ended, data = True, None
        # reversed, because the next one is taken from the end
        self._lines = self._splitter.feed(data)[::-1]


@attrs.define(eq=False)
class StreamManager:
    """What `Dispatcher.stream()` returns: enter it for the `ResponseStream`.

    Leaving it before the end discards what comes within 20 ms and then refuses the rest, which ends a script at its
    next write. Its slot stays taken until the worker has left the script.
    """

    _start: Callable[[], tuple[Execution, StreamingSink]]
    _entered: bool = attrs.field(default=False, init=False)
    _execution: Execution | None = attrs.field(default=None, init=False)
    _sink: StreamingSink | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> ResponseStream:
        """Run the job and wait for the head of its response; raises what `Dispatcher.run()` does.

        Raises:
            ConfigurationError: it was entered before; the job is not run again.
        """
        if self._entered:
            raise ConfigurationError(
                "what stream() returns can be entered only once; call stream() again to run the job again"
            )
        self._entered = True
        execution, sink = self._execution, self._sink = self._start()
        try:
            head = await sink.wait_head()
        except BaseException:
            self._leave()
            raise
        return ResponseStream(head.status, Headers(head.headers), sink, execution)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._leave()

    def cancel(self) -> None:
        """End the job as cancelling `Dispatcher.run()` does; a waiting reader gets JobCancelled.

        A queued job never runs. A running job is drained, or its output refused, as the endpoint's `on_cancel` says;
        draining is not limited to 20 ms as it is after leaving the stream.
        """
        if self._execution is not None:
            self._execution.end(JobCancelled("the stream was cancelled"))

    def _leave(self) -> None:
        if self._execution is not None and self._sink is not None:
            self._execution.end(
                JobCancelled("the stream was left before its end; read it inside its `async with` block"),
                patience=_PATIENCE_SECONDS,
            )
            self._sink.release()
