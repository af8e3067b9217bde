"""One job from the queue to its end: queued, started, retried, settled."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from fcgi_async.dispatch.completion import response_of
from fcgi_async.dispatch.priority_param import with_priority
from fcgi_async.dispatch.stderr_log import KeepsStderr
from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.timed import Timed
from fcgi_async.dispatch.upload import Upload
from fcgi_async.errors import (
    CannotMultiplex,
    ConnectionLost,
    FastCGIError,
    JobCancelled,
    JobTimeout,
    rejection,
)
from fcgi_async.job.body import BodyStream
from fcgi_async.job.job import Job
from fcgi_async.job.response import Response
from fcgi_async.job.settings import Timeouts
from fcgi_async.net.backend import Backend
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.sink import StreamingSink
from fcgi_async.wire.spec import ProtocolStatus

__all__ = ("NO_PARAMS", "Execution")

NO_PARAMS: Final[Mapping[str, str]] = MappingProxyType({})


class Execution(Timed, KeepsStderr):
    """One job until it ends. Everything here is synchronous.

    Args:
        job: the job to run.
        terms: how to run it.
        timeouts: its deadlines: the call's override the job's own.
        on_done: called once, when it has a response or an error.
        priority: the higher starts first.
        stream: receives the response as it comes, or None to collect it.
        extra: parameters to send too, unless the job sets them itself.

    Attributes:
        waiting: whether it is queued, and may be started.
        done: whether it has a response or an error; if it is neither waiting nor done, it is running.
        response: set at its end, unless there is an error.
        error: set at its end, unless there is a response.
        attempts: how many times its request was written.
        outside: whether it waits outside a full queue.
        on_admitted: called when the queue has admitted it.
    """

    # most jobs never set these: a default of the class costs neither time nor memory
    waiting = True
    done = False
    response: Response | None = None
    error: FastCGIError | None = None
    priority = 0
    stream: StreamingSink | None = None
    extra = NO_PARAMS
    attempts = 0
    outside = False
    on_admitted: Callable[[], None] | None = None
    # whether an attempt that failed may have run it; a later attempt cannot undo that
    _may_have_run = False
    # whether an EOF was taken as proof that it did not run
    _trusted_eof = False
    _upload: Upload | None = None

    def __init__(
        self,
        job: Job,
        terms: Terms[Execution],
        timeouts: Timeouts,
        on_done: Callable[[Execution], None],
        priority: int = 0,
        stream: StreamingSink | None = None,
        extra: Mapping[str, str] = NO_PARAMS,
    ) -> None:
        self.job, self.terms, self._timeouts, self._on_done = job, terms, timeouts, on_done
        self.submitted = now = terms.now()
        if timeouts.total == terms.deadlines.seconds and timeouts.queue is None:
            terms.deadlines.add(self)
        else:
            self._set_deadline(now, timeouts.queue)
        if priority:
            self.priority = priority
        if stream is not None:
            self.stream = stream
        if extra:
            self.extra = extra
        if job.has_body and isinstance(job.body, BodyStream):
            self._upload = Upload(job.body, self._begin_upload, self._upload_refused, self.end)

    @property
    def _backend(self) -> Backend:
        return self.terms.backend

    def admitted(self) -> None:
        """Called when a full queue has room for it."""
        self.outside = False
        if self.on_admitted is not None:
            self.on_admitted()

    # starting

    def begin(self, slot: JobSlot) -> bool:
        """Start on a slot. Return False if its connection turned out to be closed.

        Raises:
            InvalidJob: the job cannot be encoded.
        """
        terms, timeouts, job = self.terms, self._timeouts, self.job
        now = terms.now()
        self.waiting = False
        attempt = Attempt(slot, terms.limits, now, self)
        if self.stream is not None:
            attempt.sink = self.stream
        if not job.finishes_early:
            attempt.waits_for_worker = True
        if self._upload is not None:
            slot.hold()
            self.attempt = attempt
            self._upload.start(terms.backend)
        elif slot.start(
            attempt, terms.encoders[slot.peer].encode(job, self._extra(slot) if self.priority else self.extra)
        ):
            self.attempt = attempt
            self.attempts += 1
        else:
            self.waiting = True
            return False
        if timeouts.run is not None or timeouts.queue is not None:
            self._set_deadline(now, timeouts.run)
        return True

    def _extra(self, slot: JobSlot) -> Mapping[str, str]:
        return with_priority(self.extra, self.priority) if self.priority and slot.peer.is_gateway else self.extra

    def _begin_upload(self) -> JobSlot | None:
        """Write the head of a job whose body comes in parts. Return its slot, or None if it could not be started."""
        attempt = self.attempt
        # a task that was told to stop may have got this far already
        if not self.running or attempt is None:
            return None
        slot = attempt.slot
        if not slot.start(attempt, self.terms.encoders[slot.peer].encode(self.job, self._extra(slot))):
            return None
        self.attempts += 1
        return slot

    def _upload_refused(self) -> None:
        """Called when nothing of an upload was written, because the worker had left."""
        if not self.running:
            return
        error = ConnectionLost("the worker had left before the job was written")
        if not self.terms.try_again(self, error, False):
            self._fail(error)

    def cancel(self) -> bool:
        """End it now as cancelled. Return False if it has ended already."""
        return self.end(JobCancelled("the job was cancelled"))

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """End it now with `error`, and leave its slot. Return False if it has ended already.

        Args:
            error: the error that it fails with.
            patience: as for `JobSlot.leave()`.
        """
        if self.done:
            return False
        attempt = None if self.waiting else self.attempt
        if attempt is None:
            self._fail(error)
            return True
        slot, begun = attempt.slot, attempt.may_have_run
        self._fail(error, may_have_run=begun, body_truncated=begun and slot.body_awaited)
        if begun:
            slot.leave(patience)
        else:
            slot.give_back()
        return True

    def refuse(self, error: FastCGIError, *, may_have_run: bool = False) -> None:
        """End it as it is about to start; nothing was written unless the error says `may_have_run`."""
        self.attempt = None
        self._fail(error, may_have_run=may_have_run)

    @property
    def idempotent(self) -> bool:
        """Whether it may be sent again even if PHP may have run it."""
        return self.job.idempotent or self.terms.idempotent

    @property
    def running(self) -> bool:
        """Whether it has a slot."""
        return not (self.waiting or self.done)

    # the end of an attempt

    def attempt_over(self, attempt: Attempt) -> None:
        """Called when an attempt has ended."""
        if self.done:
            return
        if attempt.error is not None or attempt.protocol_status:
            self._attempt_failed(attempt)
            return
        if self._upload is not None and attempt.slot.body_awaited:
            # the caller has its answer, and the request cannot be completed without the rest of the caller's body
            attempt.slot.give_up_body()
        try:
            response = response_of(self.job, attempt, self.terms.limits, self._timing(attempt), self.attempts)
        except FastCGIError as fault:
            told = attempt.app_status and attempt.slot.peer.is_gateway
            if not (told and attempt.may_have_run and self._tried_again(fault, True)):
                self._fail(fault, may_have_run=attempt.may_have_run)
            return
        self._close()
        self.response = response
        self.terms.settled(self, False)
        self._on_done(self)

    def _attempt_failed(self, attempt: Attempt) -> None:
        if attempt.error is None:
            self._rejected(attempt)
        elif attempt.ending is None:
            self.end(attempt.error)
        else:
            self._lost(attempt, attempt.error)

    def _lost(self, attempt: Attempt, error: FastCGIError) -> None:
        truncated = self._upload is not None and self._upload.running
        # the proof is only as good as what is known of the peer: trust it once
        may_have_run = attempt.may_have_run or self._trusted_eof
        self._trusted_eof = True
        self._may_have_run = self._may_have_run or may_have_run
        if not self._tried_again(error, may_have_run):
            self._fail(error, may_have_run=may_have_run, body_truncated=truncated)

    def _rejected(self, attempt: Attempt) -> None:
        status, slot = attempt.protocol_status, attempt.slot
        error = rejection(status, f"the peer refused the job: {ProtocolStatus(status).name}")
        if isinstance(error, CannotMultiplex):
            slot.multiplexing_refused()
        if slot.body_awaited:
            # the rest of the body belongs to the next attempt
            slot.give_up_body(refused=True)
        self._may_have_run = self._may_have_run or attempt.may_have_run
        if not self._tried_again(error, attempt.may_have_run):
            self._fail(error, may_have_run=attempt.may_have_run)

    def _tried_again(self, error: FastCGIError, may_have_run: bool) -> bool:
        repeatable = self._upload is None or self._upload.repeatable
        if not repeatable or (self.stream is not None and not self.stream.restart()):
            return False
        return self.terms.try_again(self, error, may_have_run)

    def again(self) -> None:
        """Forget the last attempt; keep the job and its deadlines."""
        self.waiting = True
        self._end_stderr()
        self.attempt = None
        if self._timeouts.run is not None or self._timeouts.queue is not None:
            self._set_deadline(self.terms.now(), self._timeouts.queue)
        if self._upload is not None:
            self._upload.stop(settled=False)

    # flow control of a stream

    def pause_reading(self) -> None:
        """Pause the peer, because the reader is slower."""
        if self.running and self.attempt is not None:
            self.attempt.slot.pause()

    def resume_reading(self) -> None:
        """Let the peer continue; after the job has ended, the slot reads on by itself."""
        if self.running and self.attempt is not None:
            self.attempt.slot.resume()

    def _deadline_passed(self, waited: float) -> None:
        if self.waiting:
            self.end(self.terms.overdue(waited))
        else:
            self.end(
                JobTimeout(
                    f"the job was not done within its deadline, {waited:.3f} s after the call; "
                    "its script may run on until FPM's request_terminate_timeout"
                ),
                patience=None if self.stream is None else 0.0,
            )

    # the end of the job

    def _fail(self, error: FastCGIError, *, may_have_run: bool = False, body_truncated: bool = False) -> None:
        waited = self.waiting
        self._close()
        self.error = error
        self._tell_error(error, may_have_run or self._may_have_run, body_truncated)
        self.terms.settled(self, waited)
        self._on_done(self)

    def _close(self) -> None:
        self.waiting, self.done = False, True
        if self.attempt is not None:
            # leave no reference cycle, so that a dropped handle is collected at once
            self.attempt.owner = None
        self.terms.deadlines.pending.pop(self, None)
        if self._deadline is not None:
            self._cancel_deadline()
        if self._upload is not None:
            self._upload.stop()
            self._upload = None

    def _tell_error(self, error: FastCGIError, may_have_run: bool, body_truncated: bool) -> None:
        endpoint = error.endpoint if self.attempt is None else self.attempt.slot.peer.name
        error.stderr = self._end_stderr()[: self.terms.limits.stderr]
        error.about(self.job, endpoint, may_have_run=may_have_run, body_truncated=body_truncated)
        if self.stream is not None:
            self.stream.fail(error)
