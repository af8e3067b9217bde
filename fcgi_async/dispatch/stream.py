"""A response that is read while PHP writes it."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable
from types import TracebackType

import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.errors import ConfigurationError, JobCancelled, JobNotDone, ResponseTruncated
from fcgi_async.job.response import Headers, Timing, describe_failure
from fcgi_async.job.success_mark import is_marked
from fcgi_async.pool.sink import StreamingSink

__all__ = ("LineIterator", "ResponseStream", "StreamManager")


# a script that is at its end gets so long to reach it, and its connection is kept then
_PATIENCE_SECONDS = 0.02


@attrs.define(eq=False)
class ResponseStream:
    """A response whose head is there; iterate it for the parts of its body, as PHP flushed them.

    The parts are as they were sent, a Content-Encoding included.

    Reading pauses the peer while the reader is behind, so a script that writes faster than it is read waits in its
    worker. The deadline of the job fails the next read, and the rest is refused at once.

    Attributes:
        status: 200 where PHP gave no status.
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
            FastCGIError: what failed the job, after all that had come before.
            StreamBusy: another task is reading this response; it is an anyio.BusyResourceError too.
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
        """Return what is left of the body; raises what `__anext__` does."""
        self._execution.terms.backend.check_here()
        if self._sink.ready:
            await self._execution.terms.backend.checkpoint()
        parts = []
        while (data := await self._sink.next()) is not None:
            parts.append(data)
        return b"".join(parts)

    def aiter_lines(self) -> LineIterator:
        """Iterate over the body's lines, decoded as UTF-8, without their ends; such as NDJSON of a job's progress."""
        return LineIterator(self)

    @property
    def stderr(self) -> bytes:
        """What PHP has logged so far, up to `Limits.stderr`."""
        return self._execution.stderr

    @property
    def app_status(self) -> int | None:
        """What the responder ended with, once the body has been read to its end; 0 from PHP-FPM, always."""
        response = self._execution.response
        return None if response is None else response.app_status

    @property
    def ok(self) -> bool | None:
        """What `Response.ok` says, once the body has been read to its end; None before."""
        response = self._execution.response
        if response is None:
            return False if isinstance(self._execution.error, ResponseTruncated) else None
        return response.status < 400 and response.app_status == 0 and self._marked

    def raise_for_status(self) -> ResponseStream:
        """Return this stream where it is `ok`; to be called behind its end.

        Raises:
            JobFailed: it is not; the body of its response is empty, since it was streamed.
            ResponseTruncated: the body is shorter than its Content-Length.
            JobNotDone: the body has not come to its end.
        """
        if isinstance(self._execution.error, ResponseTruncated):
            raise self._execution.error
        response = self._execution.response
        if response is None:
            job = self._execution.job
            error = JobNotDone("how the job went is known at the end of its body; read that first", job=job)
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
        """Where the time went, until now."""
        response = self._execution.response
        return response.timing if response is not None else self._execution.timing_so_far()


@attrs.define(eq=False)
class LineIterator:
    """Lines of a stream; a plain iterator, so that it may be left at any time without a cleanup."""

    _stream: ResponseStream
    # a line that has not ended, in the parts that came
    _parts: list[str] = attrs.field(factory=list, init=False)
    _lines: list[str] = attrs.field(factory=list, init=False)
    _ended: bool = attrs.field(default=False, init=False)
    _decode: Callable[[bytes, bool], str] = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self._decode = getincrementaldecoder("utf-8")("replace").decode

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
        try:
            text = self._decode(await self._stream.__anext__(), False)
        except StopAsyncIteration:
            self._ended = True
            text = self._decode(b"", True)
        first, *rest = text.split("\n")
        self._parts.append(first)
        if not rest and not self._ended:
            return
        lines = ["".join(self._parts), *rest]
        last = lines.pop()
        self._parts = [last]
        if self._ended and last:
            lines.append(last)
        # reversed, since the next one is taken from the end
        self._lines = [line.removesuffix("\r") for line in reversed(lines)]


@attrs.define(eq=False)
class StreamManager:
    """What `Dispatcher.stream()` returns: enter it for the `ResponseStream`.

    Leaving it before the end throws away what comes within 20 ms and then refuses the rest: a script that writes dies
    of it. Its slot stays taken until the worker has left the script.
    """

    _start: Callable[[], tuple[Execution, StreamingSink]]
    _entered: bool = attrs.field(default=False, init=False)
    _execution: Execution | None = attrs.field(default=None, init=False)
    _sink: StreamingSink | None = attrs.field(default=None, init=False)

    async def __aenter__(self) -> ResponseStream:
        """Run the job and wait for the head of its response; raises what `Dispatcher.run()` does.

        Raises:
            ConfigurationError: it was entered before; nothing is run again.
        """
        if self._entered:
            raise ConfigurationError("what stream() returns is entered once; call stream() again to run the job again")
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

    def _leave(self) -> None:
        if self._execution is not None and self._sink is not None:
            self._execution.end(JobCancelled("the stream was left before its end"), patience=_PATIENCE_SECONDS)
            self._sink.release()
