"""One job on its way: queued, begun, tried again, settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from fcgi_async.dispatch.completion import response_of
from fcgi_async.dispatch.job_log import log_stderr
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.dispatch.timed import Timed
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
from fcgi_async.job.response import Response
from fcgi_async.job.settings import Limits, Timeouts
from fcgi_async.net.backend import Backend
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.sink import StreamingSink
from fcgi_async.wire.spec import ProtocolStatus

__all__ = ("NO_PARAMS", "Execution", "ExecutionState", "Terms")

_REJECTIONS: dict[int, type[RequestRejected]] = {1: CannotMultiplex, 2: Overloaded, 3: UnknownRole}
NO_PARAMS: Final[Mapping[str, str]] = MappingProxyType({})
_SCRIPTS_KEPT = 1024


class ExecutionState(StrEnum):
    """Where a job stands."""

    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"


# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_QUEUED, _RUNNING, _DONE = ExecutionState.QUEUED, ExecutionState.RUNNING, ExecutionState.DONE


class Terms:
    """On which terms jobs are run that are handed in at one place: at a dispatcher, or one of its views.

    Args:
        backend: the event loop.
        limits: how much a peer may send.
        encoders: of each peer.
        idempotent: whether running any of the jobs twice does no harm.
        try_again: queues an execution once more if that is allowed; takes its error and whether PHP may have run it.
        settled: called when an execution is over, with the state it was in.
    """

    __slots__ = (
        "_encoders",
        "_known",
        "backend",
        "encoders",
        "idempotent",
        "limits",
        "settled",
        "try_again",
    )

    def __init__(
        self,
        backend: Backend,
        limits: Limits,
        encoders: Mapping[Peer, RequestEncoder],
        idempotent: bool,
        try_again: Callable[[Execution, FastCGIError, bool], bool],
        settled: Callable[[Execution, ExecutionState], None],
    ) -> None:
        self.backend, self.limits = backend, limits
        self.encoders, self.idempotent = encoders, idempotent
        self.try_again, self.settled = try_again, settled
        self._encoders = tuple(encoders.values())
        # scripts that a job which says nothing else may have
        self._known: set[str] = set()

    def check(self, job: Job) -> None:
        """Refuse a job that an endpoint would not take; raises InvalidJob."""
        if job.plain and job.script in self._known:
            return
        for encoder in self._encoders:
            encoder.check(job)
        if len(self._known) >= _SCRIPTS_KEPT:
            self._known.clear()
        self._known.add(job.script)


class Execution(Timed):
    """One job until it is over. All synchronous.

    Args:
        job: what to run.
        terms: how.
        stream: where the response goes while it comes, or None to collect it.
        timeouts: what the job's own deadlines, and the call's, came to.
        on_done: called once, when there is a response or an error.
        priority: which of those that wait come first.
        extra: parameters that are sent besides, unless the job has them itself.

    Attributes:
        state: where it stands.
        waiting: whether it is queued, and wants to be begun.
        done: whether there is a response or an error.
        response: there from its end on, unless there is an error.
        error: the same the other way round.
        attempts: how often its request was written.
        outside: whether it stands outside a full queue.
        on_admitted: called when it comes in.
    """

    # most jobs never set these: a default of the class costs none of them anything, in time or in memory
    state = _QUEUED
    waiting = True
    done = False
    response: Response | None = None
    error: FastCGIError | None = None
    attempts = 0
    outside = False
    on_admitted: Callable[[], None] | None = None
    # of the attempts that failed
    _earlier_stderr = b""
    # whether an attempt that failed may have run it: what comes later cannot make that undone
    _may_have_run = False
    # whether an EOF was taken as a proof that it did not run
    _trusted_eof = False
    _upload: Upload | None = None

    def __init__(
        self,
        job: Job,
        terms: Terms,
        stream: StreamingSink | None,
        timeouts: Timeouts,
        on_done: Callable[[Execution], None],
        priority: int,
        extra: Mapping[str, str] = NO_PARAMS,
    ) -> None:
        self.job, self.terms, self.stream = job, terms, stream
        self._on_done = on_done
        self.priority, self.extra = priority, extra
        Timed.__init__(self, terms.backend, timeouts)
        if isinstance(job.body, BodyStream):
            self._upload = Upload(job.body, self._begin_upload, self._upload_refused, self.end)

    def admitted(self) -> None:
        """Called when it comes in from outside a full queue."""
        self.outside = False
        if self.on_admitted is not None:
            self.on_admitted()

    # the way

    def begin(self, slot: JobSlot) -> bool:
        """Take a slot; False if its connection turned out to be closed.

        Raises:
            InvalidJob: the job cannot be encoded.
        """
        terms, timeouts = self.terms, self._timeouts
        now = self._backend.now()
        self.state, self.waiting = _RUNNING, False
        attempt = Attempt(slot, self.stream, terms.limits, now, self._over, not self.job.finishes_early)
        if self._upload is not None:
            slot.hold()
            self.attempt = attempt
            self._upload.start(terms.backend)
        elif slot.start(attempt, terms.encoders[slot.peer].encode(self.job, self.extra)):
            self.attempt = attempt
            self.attempts += 1
        else:
            self.state, self.waiting = _QUEUED, True
            return False
        if timeouts.run is not None or timeouts.queue is not None:
            self._set_deadline(now, timeouts.run)
        return True

    def _begin_upload(self) -> JobSlot | None:
        """Write the head of a job whose body comes in parts; None if that came to nothing."""
        attempt = self.attempt
        # a task that was told to stop may have been on its way here already
        if self.state is not _RUNNING or attempt is None:
            return None
        slot = attempt.slot
        if not slot.start(attempt, self.terms.encoders[slot.peer].encode(self.job, self.extra)):
            return None
        self.attempts += 1
        return slot

    def _upload_refused(self) -> None:
        """Called when nothing of an upload was written, since the worker had left."""
        if self.state is not _RUNNING:
            return
        error = ConnectionLost("the worker had left before the job was written")
        if not self.terms.try_again(self, error, False):
            self._settle(None, error)

    def cancel(self) -> bool:
        """End it now as cancelled; False if it is over."""
        return self.end(JobCancelled("the job was cancelled"))

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """End it now with `error`, and leave its slot; return False if it is over.

        Args:
            error: what it failed with.
            patience: as for `JobSlot.leave()`.
        """
        if self.state is _DONE:
            return False
        attempt = self.attempt if self.state is _RUNNING else None
        if attempt is None:
            self._settle(None, error)
            return True
        slot, begun = attempt.slot, attempt.may_have_run
        self._settle(None, error, may_have_run=begun, body_truncated=begun and slot.body_awaited)
        if begun:
            slot.leave(patience)
        else:
            slot.give_back()
        return True

    def refuse(self, error: FastCGIError, *, may_have_run: bool = False) -> None:
        """End it as it is about to begin; nothing was written unless it `may_have_run`."""
        self.attempt = None
        self._settle(None, error, may_have_run=may_have_run)

    # how an attempt ends

    def _over(self, attempt: Attempt) -> None:
        if self.state is _DONE:
            return
        if attempt.error is None:
            if attempt.protocol_status:
                self._rejected(attempt)
                return
            if self._upload is not None and attempt.slot.body_awaited:
                # the caller has its answer; without the rest of the body, which is the caller's too, the request
                # cannot be completed
                attempt.slot.give_up_body()
            self._complete(attempt)
        elif attempt.ending is None:
            self.end(attempt.error)
        else:
            self._lost(attempt, attempt.error)

    def _lost(self, attempt: Attempt, error: FastCGIError) -> None:
        truncated = self._upload is not None and self._upload.running
        # the proof is as good as what is known of the peer: it is trusted once
        may_have_run = attempt.may_have_run or self._trusted_eof
        self._trusted_eof = True
        self._may_have_run = self._may_have_run or may_have_run
        if not self._tried_again(error, may_have_run):
            self._settle(None, error, may_have_run=may_have_run, body_truncated=truncated)

    def _rejected(self, attempt: Attempt) -> None:
        status, slot = attempt.protocol_status, attempt.slot
        error = _REJECTIONS[status](f"the peer refused the job: {ProtocolStatus(status).name}")
        if isinstance(error, CannotMultiplex):
            slot.multiplexing_refused()
        if slot.body_awaited:
            # the rest of the body belongs to the next attempt
            slot.give_up_body(refused=True)
        self._may_have_run = self._may_have_run or attempt.may_have_run
        if not self._tried_again(error, attempt.may_have_run):
            self._settle(None, error, may_have_run=attempt.may_have_run)

    def _tried_again(self, error: FastCGIError, may_have_run: bool) -> bool:
        repeatable = self._upload is None or self._upload.repeatable
        if not repeatable or (self.stream is not None and not self.stream.restart()):
            return False
        return self.terms.try_again(self, error, may_have_run)

    def again(self) -> None:
        """Forget the last attempt; what remains is the job and its deadlines."""
        self.state, self.waiting = _QUEUED, True
        attempt, self.attempt = self.attempt, None
        if attempt is not None and attempt.stderr is not None:
            written = attempt.stderr.value()
            log_stderr(self.job, attempt.slot.peer.name, written)
            self._earlier_stderr += written
        if self._timeouts.run is not None or self._timeouts.queue is not None:
            self._set_deadline(self._backend.now(), self._timeouts.queue)
        if self._upload is not None:
            self._upload.stop(settled=False)

    def _complete(self, attempt: Attempt) -> None:
        try:
            response = response_of(
                self.job,
                attempt,
                self.terms.limits,
                self._timing(attempt),
                self.attempts,
                streamed=self.stream is not None,
            )
        except (RemoteProtocolError, ResponseTooLarge, ResponseTruncated) as fault:
            self._settle(None, fault, may_have_run=True)
        else:
            self._settle(response, None)

    # Flow, of a stream

    def pause_reading(self) -> None:
        """Hold the peer up, since the reader is behind."""
        if self.state is _RUNNING and self.attempt is not None:
            self.attempt.slot.pause()

    def resume_reading(self) -> None:
        """Let it go on; one that is over is left, which reads on by itself."""
        if self.state is _RUNNING and self.attempt is not None:
            self.attempt.slot.resume()

    def _deadline_passed(self, waited: float) -> None:
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
                patience=None if self.stream is None else 0.0,
            )

    # what became of it

    @property
    def stderr(self) -> bytes:
        """What the last attempt has written to STDERR so far."""
        attempt = self.attempt
        return b"" if attempt is None or attempt.stderr is None else attempt.stderr.value()

    def _settle(
        self,
        response: Response | None,
        error: FastCGIError | None,
        *,
        may_have_run: bool = False,
        body_truncated: bool = False,
    ) -> None:
        state, self.state = self.state, _DONE
        self.waiting, self.done = False, True
        if self.attempt is not None:
            # no cycle is left behind, so that a handle nobody keeps is collected at once
            self.attempt.over = None
        if self._deadline is not None:
            self._cancel_deadline()
        if self._upload is not None:
            self._upload.stop()
            self._upload = None
        self.response, self.error = response, error
        if error is not None:
            self._tell_error(error, may_have_run or self._may_have_run, body_truncated)
        self.terms.settled(self, state)
        self._on_done(self)

    def _tell_error(self, error: FastCGIError, may_have_run: bool, body_truncated: bool) -> None:
        endpoint = error.endpoint if self.attempt is None else self.attempt.slot.peer.name
        error.stderr = self._earlier_stderr
        written = self.stderr
        if written:
            log_stderr(self.job, endpoint, written)
            error.stderr = (error.stderr + written)[: self.terms.limits.stderr]
        error.about(self.job, endpoint, may_have_run=may_have_run, body_truncated=body_truncated)
        if self.stream is not None:
            self.stream.fail(error)
