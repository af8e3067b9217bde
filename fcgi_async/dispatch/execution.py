"""One job on its way: queued, begun, tried again, settled."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Protocol

import attrs

from fcgi_async.dispatch.deadlines import Deadlines
from fcgi_async.dispatch.job_log import log_dropped_headers, log_stderr
from fcgi_async.dispatch.sink import CollectingSink, Sink, StderrBuffer
from fcgi_async.dispatch.truncation import is_truncated
from fcgi_async.dispatch.upload import Upload
from fcgi_async.errors import (
    CannotMultiplex,
    ConnectionLost,
    FastCGIError,
    JobCancelled,
    JobTimeout,
    Overloaded,
    QueueTimeout,
    RemoteProtocolError,
    RequestRejected,
    ResponseTooLarge,
    ResponseTruncated,
    UnknownRole,
)
from fcgi_async.job.body import BodyStream
from fcgi_async.job.job import Job
from fcgi_async.job.response import Headers, Response, Timing
from fcgi_async.job.settings import Limits, Timeouts
from fcgi_async.net.backend import Backend
from fcgi_async.net.connection import Connection, EncodedRequest
from fcgi_async.pool.pool import Pool
from fcgi_async.pool.slots import Slot
from fcgi_async.wire.spec import ProtocolStatus

__all__ = ("Execution", "ExecutionOwner", "ExecutionState", "JobOwner")

_REJECTIONS: dict[int, type[RequestRejected]] = {1: CannotMultiplex, 2: Overloaded, 3: UnknownRole}


class ExecutionState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_QUEUED, _RUNNING, _DONE = ExecutionState.QUEUED, ExecutionState.RUNNING, ExecutionState.DONE


class ExecutionOwner(Protocol):
    """Who queues executions; synchronous."""

    backend: Backend
    limits: Limits
    deadlines: Deadlines

    def encode(self, pool: Pool, job: Job) -> EncodedRequest:
        """Return a job as the bytes that this pool gets."""

    def try_again(self, execution: Execution, error: FastCGIError, *, may_have_run: bool) -> bool:
        """Queue an execution once more where that is allowed; False where not."""

    def settled(self, execution: Execution, state: ExecutionState) -> None:
        """Take note that an execution is over, and in which state it was."""


class JobOwner(ExecutionOwner, Protocol):
    """Who owns executions, and knows before which jobs it can encode; synchronous."""

    def check(self, job: Job) -> None:
        """Refuse a job that an endpoint would not take; raises InvalidJob."""

    def encode_with(self, pool: Pool, job: Job, extra: Mapping[str, str]) -> EncodedRequest:
        """Return a job, with parameters that are not its own, as the bytes that this pool gets."""


@attrs.define(eq=False)
class Execution:
    """One job on its way; the `Exchange` of the connection that serves it. All synchronous.

    Args:
        job: what to run.
        owner: who queues it.
        sink: where the response goes.
        timeouts: what the job's own deadlines, and the call's, came to.
        on_done: called once, when there is a response or an error.
        priority: which of those that wait come first.
    """

    job: Job
    owner: ExecutionOwner
    sink: Sink
    timeouts: Timeouts
    on_done: Callable[[Execution], None]
    priority: int
    state: ExecutionState = attrs.field(default=_QUEUED, init=False)
    response: Response | None = attrs.field(default=None, init=False)
    error: FastCGIError | None = attrs.field(default=None, init=False)
    attempts: int = attrs.field(default=0, init=False)
    # whether it stands outside a full queue, and what is called when it comes in
    outside: bool = attrs.field(default=False, init=False)
    on_admitted: Callable[[], None] | None = attrs.field(default=None, init=False)
    # the worker that has it
    pool: Pool | None = attrs.field(default=None, init=False)
    connection: Connection | None = attrs.field(default=None, init=False)
    # the address of the pool that had it last
    endpoint: str | None = attrs.field(default=None, init=False)
    request_id: int | None = attrs.field(default=None, init=False)
    stderr: StderrBuffer | None = attrs.field(default=None, init=False)
    # of the attempts that failed
    _earlier_stderr: bytes = attrs.field(default=b"", init=False)
    # whether an attempt that failed may have run it: what comes later cannot make that undone
    _may_have_run: bool = attrs.field(default=False, init=False)
    # whether an EOF was taken as a proof that it did not run
    _trusted_eof: bool = attrs.field(default=False, init=False)
    _submitted: float = attrs.field(init=False)
    _accepted: float | None = attrs.field(default=None, init=False)
    _first_byte: float | None = attrs.field(default=None, init=False)
    # of a connection that was new for it
    _connect: float = attrs.field(default=0.0, init=False)
    _connected_at: float | None = attrs.field(default=None, init=False)
    # the number of its deadline; 0: it has none
    _deadline: int = attrs.field(default=0, init=False)
    _upload: Upload | None = attrs.field(default=None, init=False)
    # the slot that was taken for it before it could be written
    _held: Slot | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        self._submitted = now = self.owner.backend.now()
        if self.timeouts.total is not None or self.timeouts.queue is not None:
            self._set_deadline(now, self.timeouts.queue)
        if isinstance(self.job.body, BodyStream):
            self._upload = Upload(self.job.body)

    @property
    def done(self) -> bool:
        """Whether there is a response or an error."""
        return self.state is _DONE

    @property
    def was_cancelled(self) -> bool:
        """Whether its own side ended it, and no failure."""
        return isinstance(self.error, JobCancelled)

    # Queued

    @property
    def waiting(self) -> bool:
        return self.state is _QUEUED

    def admitted(self) -> None:
        self.outside = False
        if self.on_admitted is not None:
            self.on_admitted()

    # the way

    def begin(self, pool: Pool, connection: Connection, held: Slot | None = None) -> bool:
        """Take a worker; False where its connection turned out to be closed, or the job came to its end instead.

        Args:
            pool: whose worker it is.
            connection: to it.
            held: what `Pool.hold()` returned, where that was called before the job was known.
        """
        self.pool, self.connection = pool, connection
        self.endpoint = pool.name
        self.state = _RUNNING
        if self._upload is not None:
            self._held = held or pool.hold(connection)
            self._accept(connection)
            self._upload.start(self.owner.backend, self)
            return True
        request_id = pool.begin(connection, self, self.owner.encode(pool, self.job), held)
        if request_id is None:
            self.pool = self.connection = None
            self.state = _QUEUED
            return False
        self.attempts += 1
        self.request_id = request_id
        self._accept(connection)
        return True

    def begin_upload(self) -> int | None:
        """Write the head of a job whose body comes in parts; None where that came to nothing."""
        pool, connection = self.pool, self.connection
        # a task that was told to stop may have been on its way here already
        if self.state is not _RUNNING or pool is None or connection is None or connection.closed:
            return None
        request_id = pool.begin(connection, self, self.owner.encode(pool, self.job), self._held)
        if request_id is not None:
            self.attempts += 1
            self.request_id = request_id
        return request_id

    def upload_refused(self) -> None:
        """Take note that nothing of an upload was written, since the worker had left."""
        if self.state is not _RUNNING:
            return
        name = self.pool.name if self.pool is not None else None
        self.pool = self.connection = None
        error = ConnectionLost("the worker had left before the job was written")
        if not self.owner.try_again(self, error, may_have_run=False):
            self._settle(None, error, endpoint=name)

    def cancel(self) -> bool:
        """End it now as cancelled; False where it is over."""
        return self.end(JobCancelled("the job was cancelled"))

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """End it now with `error`, and release its worker; return False if it is over.

        Args:
            error: what it failed with.
            patience: seconds in which the rest of the response is thrown away before its connection is left, 0 for at
                once; None for what the endpoint says.
        """
        if self.state is _DONE:
            return False
        pool, connection, request_id = self.pool, self.connection, self.request_id
        truncated = connection is not None and request_id is not None and connection.bodies.needs_caller(request_id)
        self._settle(None, error, may_have_run=request_id is not None, body_truncated=truncated)
        if pool is not None and connection is not None:
            if request_id is None:
                self.pool = self.connection = None
                if self._held is not None:
                    pool.give_back(connection, self._held)
            else:
                pool.abandon(connection, request_id, patience=patience)
        return True

    def refuse(self, error: FastCGIError, *, may_have_run: bool = False) -> None:
        """End it as it is about to begin; nothing was written unless it `may_have_run`."""
        self.pool = self.connection = None
        self._settle(None, error, may_have_run=may_have_run)

    # Exchange

    def receive_stdout(self, data: bytes) -> None:
        if self._first_byte is None:
            self._first_byte = self.owner.backend.now()
        try:
            self.sink.feed(data)
        except (RemoteProtocolError, ResponseTooLarge) as error:
            self.end(error)

    def receive_stderr(self, data: bytes) -> None:
        if self.stderr is None:
            self.stderr = StderrBuffer(self.owner.limits.stderr)
        self.stderr.feed(data)

    def receive_end(self, app_status: int, protocol_status: int) -> None:
        connection, request_id = self.connection, self.request_id
        assert connection is not None
        assert self.pool is not None
        if protocol_status:
            self._rejected(protocol_status)
            return
        if self._upload is not None and request_id is not None and connection.bodies.needs_caller(request_id):
            # the caller has its answer; without the rest of the body, which is the caller's too, the request cannot
            # be completed
            self.pool.cut_short(connection, request_id)
        if self.job.finishes_early or connection.closed or connection.client.multiplexing:
            self._complete(app_status)
        else:
            self.pool.when_free(connection, lambda: self._worker_left(connection, app_status))

    def receive_failure(self, error: FastCGIError, *, may_have_run: bool) -> None:
        truncated = self._upload is not None and self._upload.running
        name = self.pool.name if self.pool is not None else None
        self.pool = self.connection = self.request_id = None
        # the proof is as good as what is known of the peer: it is trusted once
        may_have_run = may_have_run or self._trusted_eof
        self._trusted_eof = True
        self._may_have_run = self._may_have_run or may_have_run
        repeatable = (self._upload is None or self._upload.repeatable) and self.sink.restart()
        if repeatable and self.owner.try_again(self, error, may_have_run=may_have_run):
            return
        self._settle(None, error, may_have_run=may_have_run, body_truncated=truncated, endpoint=name)

    # Flow

    def pause_reading(self) -> None:
        if self.connection is not None and self.request_id is not None:
            self.connection.pause_reading(self.request_id)

    def resume_reading(self) -> None:
        # one that is over is abandoned, which reads on by itself
        if self.state is _RUNNING and self.connection is not None and self.request_id is not None:
            self.connection.resume_reading(self.request_id)

    def again(self) -> None:
        """Forget the last attempt; what remains is the job and its deadlines."""
        self.state = _QUEUED
        self.pool = self.connection = self.request_id = None
        self._accepted = self._first_byte = self._connected_at = None
        self._connect = 0.0
        if self.stderr is not None:
            log_stderr(self.job, self.endpoint, self.stderr.value())
            self._earlier_stderr += self.stderr.value()
            self.stderr = None
        if self.timeouts.run is not None or self.timeouts.queue is not None:
            self._set_deadline(self.owner.backend.now(), self.timeouts.queue)
        if self._upload is not None:
            self._upload.stop(settled=False)

    # ends

    def _accept(self, connection: Connection) -> None:
        now = self._accepted = self.owner.backend.now()
        if not connection.requests or (connection.requests == 1 and self.request_id is not None):
            self._connect, self._connected_at = connection.connect_time, connection.connected_at
        if self.timeouts.run is not None or self.timeouts.queue is not None:
            self._set_deadline(now, self.timeouts.run)

    def _set_deadline(self, now: float, stage: float | None) -> None:
        """Wake up when the time of this stage, queue or run, has passed since `now`, or that of the whole."""
        deadlines, total = self.owner.deadlines, self.timeouts.total
        if self._deadline:
            deadlines.cancel(self._deadline)
            self._deadline = 0
        when = math.inf if total is None else self._submitted + total
        if stage is not None:
            when = min(when, now + stage)
        if when < math.inf:
            self._deadline = deadlines.add(when, self._deadline_passed)

    def _deadline_passed(self) -> None:
        self._deadline = 0
        waited = self.owner.backend.now() - self._submitted
        if self.state is _QUEUED:
            self.end(
                QueueTimeout(
                    f"no worker took the job within its deadline, {waited:.3f} s after the call; "
                    "give it longer, or the pool more workers"
                )
            )
        else:
            self.end(
                JobTimeout(
                    f"the job was not done within its deadline, {waited:.3f} s after the call; "
                    "its script may run on until FPM's request_terminate_timeout"
                ),
                patience=None if isinstance(self.sink, CollectingSink) else 0.0,
            )

    def _worker_left(self, connection: Connection, app_status: int) -> None:
        # an EOF in the tail's place is a worker that leaves in good order (pm.max_requests)
        if connection.probe_answered or connection.eof:
            self._complete(app_status)
        elif self.state is not _DONE:
            error = ConnectionLost(
                "the response is complete, and the worker did not say in time that it had left the script"
            )
            self._settle(None, error, may_have_run=True)

    def _rejected(self, protocol_status: int) -> None:
        error = _REJECTIONS[protocol_status](f"the peer refused the job: {ProtocolStatus(protocol_status).name}")
        connection, request_id = self.connection, self.request_id
        assert self.pool is not None
        assert connection is not None
        if isinstance(error, CannotMultiplex):
            self.pool.multiplexing_refused(connection)
        if request_id is not None and connection.bodies.needs_caller(request_id):
            # the rest of the body belongs to the next attempt
            self.pool.cut_short(connection, request_id, refused=True)
        # what has answered has run, whatever is said of it afterwards
        ran = self._first_byte is not None
        self._may_have_run = self._may_have_run or ran
        repeatable = (self._upload is None or self._upload.repeatable) and self.sink.restart()
        if not (repeatable and self.owner.try_again(self, error, may_have_run=ran)):
            self._settle(None, error, may_have_run=ran)

    def _complete(self, app_status: int) -> None:
        if self.state is _DONE:
            return
        try:
            self.sink.finish()
        except RemoteProtocolError as fault:
            self._settle(None, fault, may_have_run=True)
            return
        head, stderr = self.sink.head, self.stderr
        assert head is not None
        assert self.pool is not None
        if head.dropped:
            log_dropped_headers(self.job, self.pool.name, head.dropped)
        truncated = head.length is not None and is_truncated(self.job, head, self.sink.size)
        if truncated and not isinstance(self.sink, CollectingSink):
            error = ResponseTruncated(
                f"the body ended after {self.sink.size} of the {head.length} bytes that its Content-Length promised; "
                "FPM's log, or stderr, tells why the script ended"
            )
            self._settle(None, error, may_have_run=True)
            return
        written = b""
        if stderr is not None:
            written = stderr.value()
            log_stderr(self.job, self.pool.name, written)
        response = Response(
            self.job,
            head.status,
            Headers(head.headers),
            self.sink.content(),
            written,
            stderr is not None and stderr.truncated,
            app_status,
            self.timing_so_far(),
            self.pool.name,
            self.attempts,
            truncated,
            self.owner.limits.response,
        )
        self._settle(response, None)

    def timing_so_far(self) -> Timing:
        """Return where the time went until now."""
        now, submitted = self.owner.backend.now(), self._submitted
        accepted = now if self._accepted is None else self._accepted
        first_byte = now if self._first_byte is None else self._first_byte
        return Timing(accepted - submitted, self._connect, first_byte - accepted, now - submitted)

    @property
    def accepted(self) -> bool:
        """Whether a worker took it, the last time that it was offered."""
        return self._accepted is not None

    @property
    def connected(self) -> float | None:
        """Seconds from the call until the connection was there that was new for this job, or None."""
        return None if self._connected_at is None else self._connected_at - self._submitted

    def _settle(
        self,
        response: Response | None,
        error: FastCGIError | None,
        *,
        may_have_run: bool = False,
        body_truncated: bool = False,
        endpoint: str | None = None,
    ) -> None:
        state, self.state = self.state, _DONE
        if self._deadline:
            self.owner.deadlines.cancel(self._deadline)
            self._deadline = 0
        if self._upload is not None:
            self._upload.stop()
        self.response, self.error = response, error
        if error is not None:
            if endpoint is None and self.pool is not None:
                endpoint = self.pool.name
            error.stderr = self._earlier_stderr
            if self.stderr is not None:
                log_stderr(self.job, endpoint, self.stderr.value())
                error.stderr = (error.stderr + self.stderr.value())[: self.owner.limits.stderr]
            may_have_run = may_have_run or self._may_have_run
            error.about(self.job, endpoint or error.endpoint, may_have_run=may_have_run, body_truncated=body_truncated)
            self.sink.fail(error)
        self.owner.settled(self, state)
        self.on_done(self)
