"""A PHP worker that is reserved before its job is known."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType

import anyio.lowlevel
import attrs

from fcgi_async.dispatch.execution import Execution
from fcgi_async.dispatch.reservation import Reservation
from fcgi_async.dispatch.stream import StreamManager
from fcgi_async.dispatch.waiting import response_to
from fcgi_async.errors import ConfigurationError, DispatchError, FastCGIError
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import UNSET, Timeout
from fcgi_async.job.tag import Tag
from fcgi_async.net.backend import Backend
from fcgi_async.pool.sink import StreamingSink

__all__ = ("HeldSlot", "HeldStarter", "StreamMaker")

# starts a job on a held worker; takes the job, the callback for its end, the response's sink (None to collect it), the
# call's deadline, and the reservation
HeldStarter = Callable[[Job, Callable[[Execution], None], StreamingSink | None, Timeout, Reservation], Execution]
# makes a stream of a job; the function that it takes starts the job with a sink
StreamMaker = Callable[[Job, Callable[[StreamingSink], Execution]], StreamManager]


@attrs.define(eq=False)
class HeldSlot:
    """What `Dispatcher.slot()` returns: enter it, once, to get a worker, and run one job on it.

    A held worker counts as busy although it idles: hold it only while you fetch a job. PHP-FPM shows it as reading
    headers, and kills it after `request_terminate_timeout` if that is set. If the worker leaves while it is held, it
    has certainly not run the job; the job then starts on another worker, ahead of others of its priority.
    """

    _reserve: Callable[[], Reservation]
    _start: HeldStarter
    _stream: StreamMaker
    _reservation: Reservation | None = attrs.field(default=None, init=False)
    _execution: Execution | None = attrs.field(default=None, init=False)
    _left: bool = attrs.field(default=False, init=False)

    async def __aenter__(self) -> HeldSlot:
        """Wait for a worker.

        Raises:
            QueueFull: the queue is full, and the dispatcher rejects.
            QueueTimeout: the deadline passed before a worker was free.
            ConnectError: no endpoint can be reached.
            DispatcherClosed: the dispatcher is, or was meanwhile, closed.
            ConfigurationError: the slot was entered before, or this is not the dispatcher's event loop.

        Cancelling leaves the queue, or gives the worker back.
        """
        if self._reservation is not None:
            raise ConfigurationError("a slot can be entered only once; call slot() again for another worker")
        try:
            reservation = self._reservation = self._reserve()
        except FastCGIError:
            await anyio.lowlevel.checkpoint()
            raise
        try:
            if reservation.granted.done():
                await reservation.backend.checkpoint()
            await reservation.granted
        except BaseException:
            self._leave()
            raise
        if reservation.error is not None:
            raise reservation.error
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Give the worker back if no job was run; an exception cancels a job that is still running."""
        execution = self._execution
        self._leave()
        if kind is not None:
            if execution is not None:
                execution.cancel()
        elif self._reservation is not None:
            await self._reservation.backend.checkpoint()

    async def run(self, job: Job[Tag], *, timeout: Timeout = UNSET) -> Response[Tag]:
        """Run one job on the worker and return PHP's response, whatever its status.

        Args:
            job: the job to run. After InvalidJob, the slot still has its worker.
            timeout: seconds from now to the response; overrides the job's and the dispatcher's.

        Raises:
            ConfigurationError: the slot was not entered, was left, or has run a job already.
            FastCGIError: whatever `Dispatcher.run()` raises.

        Cancelling has the same effect as for `Dispatcher.run()`.
        """

        def begin(on_done: Callable[[Execution], None]) -> Execution:
            execution = self._execution = self._start(job, on_done, None, timeout, self._require_unused(job))
            return execution

        return await response_to(job, self._backend_for, begin)

    def stream(self, job: Job, *, timeout: Timeout = UNSET) -> StreamManager:
        """Run one job on the worker and read its response while PHP writes it, as `Dispatcher.stream()` does.

        Entering the returned object starts the job, and raises what `run()` does.
        """

        def begin(sink: StreamingSink) -> Execution:
            reservation = self._require_unused(job)
            execution = self._execution = self._start(job, _nothing, sink, timeout, reservation)
            return execution

        return self._stream(job, begin)

    def _backend_for(self, job: Job) -> Backend:
        return self._require_unused(job).backend

    def _require_unused(self, job: Job) -> Reservation:
        reservation = self._reservation
        if reservation is None:
            raise ConfigurationError(
                "enter the slot first: async with php.slot() as slot: await slot.run(job)", job=job
            )
        if self._execution is not None:
            raise ConfigurationError("a slot runs one job; call slot() again for another worker", job=job)
        if self._left:
            raise ConfigurationError(
                "the slot was left, and its worker given back; run the job in its `async with` block", job=job
            )
        return reservation

    def _leave(self) -> None:
        self._left = True
        if self._reservation is not None:
            self._reservation.end(DispatchError("the slot was left before a worker was free"))


def _nothing(execution: Execution) -> None:
    """Do nothing: the sink tells the reader of a stream about its end."""
