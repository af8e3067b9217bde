"""A request of another client: queued like a job and passed on unchanged, with its response as it comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

from fcgi_async.dispatch.terms import Terms
from fcgi_async.dispatch.timed import Timed
from fcgi_async.dispatch.upload import Upload
from fcgi_async.errors import (
    CannotMultiplex,
    ConnectionLost,
    FastCGIError,
    JobTimeout,
    rejection,
)
from fcgi_async.job.body import BodyStream
from fcgi_async.job.response import Response
from fcgi_async.job.settings import Timeouts
from fcgi_async.net.backend import Backend
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.sink import StderrBuffer
from fcgi_async.wire.records import decode_pairs
from fcgi_async.wire.request import EncodedRequest, encode_request
from fcgi_async.wire.spec import ProtocolStatus, Role

__all__ = ("RawRequest", "Relay", "RelayOutput")


class RawRequest:
    """A request as it was received; one object for all that are alike.

    Attributes:
        role: the role that the peer is asked for.
        params: contents of PARAMS records; each has whole pairs.
        body: the whole body.
    """

    __slots__ = ("_encoded", "_kept", "body", "params", "role")

    def __init__(self, role: Role, params: Sequence[bytes], body: bytes | BodyStream) -> None:
        self.role, self.params, self.body = role, params, body
        self._encoded: EncodedRequest | None = None
        self._kept = True

    def encoded(self, keep_conn: bool) -> EncodedRequest:
        """Return it as bytes, which are made once.

        Args:
            keep_conn: whether the peer should keep the connection open afterwards.
        """
        encoded = self._encoded
        if encoded is None or self._kept is not keep_conn:
            body = None if isinstance(self.body, BodyStream) else self.body
            encoded = self._encoded = encode_request(self.params, body, role=self.role, keep_conn=keep_conn)
            self._kept = keep_conn
        return encoded

    @property
    def name(self) -> str:
        """Its name in logs: its script."""
        for name, value in decode_pairs(b"".join(self.params)):
            if name == b"SCRIPT_FILENAME":
                return repr(value.decode("utf-8", "surrogateescape"))
        return "a request"


class RelayOutput(Protocol):
    """Receives the response to a request. Synchronous; nothing is called after `whole()`, `ended()` or `failed()`."""

    def whole(self, stdout: bytes) -> None:
        """Called with all of STDOUT, at the end of the request."""

    def stdout(self, data: bytes) -> None:
        """Called with a part of STDOUT."""

    def stderr(self, data: bytes) -> None:
        """Called with a part of STDERR."""

    def ended(self, app_status: int) -> None:
        """Called at the end of the request."""

    def failed(self, error: FastCGIError) -> None:
        """Called when the request has failed; `error` tells whether PHP may have run it."""


class _Passing(Attempt):
    """An attempt that passes output on and keeps none."""

    owner: Relay | None

    def __init__(self, slot: JobSlot, accepted: float, relay: Relay) -> None:
        # what that of an attempt does, without a call: each request comes this way
        self.slot, self.limits, self.accepted, self.owner = slot, relay.terms.limits, accepted, relay

    def receive_stdout(self, data: bytes, now: float) -> None:
        self.first_byte = now
        if self.owner is not None:
            self.owner.output.stdout(data)

    def receive_stderr(self, data: bytes, *, more: bool = True) -> None:
        # something has come of it
        self.first_byte = self.slot.peer.backend.now()
        if self.owner is not None:
            self.owner.output.stderr(data)


class Relay(Timed):
    """One request until it ends. Everything here is synchronous.

    Args:
        request: the request to pass on.
        terms: how to run it.
        timeouts: how long it may wait, and how long it may run.
        output: receives the response.
        priority: the higher starts first.

    Attributes:
        waiting: whether it is queued, and may be started.
        done: whether it has ended; if it is neither waiting nor done, it is running.
        error: the error that it failed with, or None.
        response: without its content, if observers watch the request and it has succeeded; else None.
        attempts: how many times it was written.
        idempotent: whether it may be sent again even if PHP may have run it; set by the caller that made it.
        on_over: called once, when it has ended and before `output` is; returns the response, or None.
    """

    waiting = True
    done = False
    error: FastCGIError | None = None
    response: Response | None = None
    attempts = 0
    idempotent = False
    on_over: Callable[[Relay], Response | None] | None = None
    _paused = False
    # whether an attempt that failed may have run it
    _may_have_run = False
    # whether an EOF was taken as proof that it did not run
    _trusted_eof = False
    _upload: Upload | None = None

    def __init__(
        self, request: RawRequest, terms: Terms[Relay], timeouts: Timeouts, output: RelayOutput, priority: int
    ) -> None:
        self.request, self.terms, self._timeouts, self.output = request, terms, timeouts, output
        self.priority = priority
        self.submitted = terms.now()
        if isinstance(request.body, BodyStream):
            self._upload = Upload(request.body, self._begin_upload, self._upload_refused, self.end)
        if timeouts.total is not None or timeouts.queue is not None:
            self._set_deadline(self.submitted, timeouts.queue)

    @property
    def _backend(self) -> Backend:
        return self.terms.backend

    def admitted(self) -> None:
        """Do nothing: only the caller that made it waits for its end."""

    @property
    def running(self) -> bool:
        """Whether it has a slot."""
        return not (self.waiting or self.done)

    # starting

    def begin(self, slot: JobSlot) -> bool:
        """Start on a slot. Return False if its connection turned out to be closed."""
        now = self.terms.now()
        self.waiting = False
        attempt = _Passing(slot, now, self)
        if self._upload is not None:
            slot.hold()
            self.attempt = attempt
            self._upload.start(self.terms.backend)
        elif slot.start(attempt, self.request.encoded(slot.peer.endpoint.handshake)):
            self.attempt = attempt
            self.attempts += 1
        else:
            self.waiting = True
            return False
        if self._paused:
            slot.pause()
        timeouts = self._timeouts
        if timeouts.run is not None or timeouts.queue is not None:
            self._set_deadline(now, timeouts.run)
        return True

    def _begin_upload(self) -> JobSlot | None:
        attempt = self.attempt
        if not self.running or attempt is None:
            return None
        slot = attempt.slot
        if not slot.start(attempt, self.request.encoded(slot.peer.endpoint.handshake)):
            return None
        self.attempts += 1
        return slot

    def _upload_refused(self) -> None:
        if self.running:
            self._fail(ConnectionLost("the worker had left before the request was written"), may_have_run=False)

    def pause(self) -> None:
        """Pause the worker, because the receiver of the response is slow."""
        self._paused = True
        if self.running and self.attempt is not None:
            self.attempt.slot.pause()

    def resume(self) -> None:
        """Let the worker continue."""
        self._paused = False
        if self.running and self.attempt is not None:
            self.attempt.slot.resume()

    # the end

    def new_stderr(self, attempt: Attempt) -> StderrBuffer:
        """Return a buffer that keeps nothing: STDERR is passed on instead."""
        return StderrBuffer(0)

    def attempt_over(self, attempt: Attempt) -> None:
        """Called at the end of an attempt."""
        if self.done:
            return
        error = attempt.error
        if attempt.protocol_status:
            error = self._rejected(attempt)
        if error is None:
            if self._upload is not None and attempt.slot.body_awaited:
                attempt.slot.give_up_body()
            self._settle(None)
            if attempt.whole is None:
                self.output.ended(attempt.app_status)
            else:
                self.output.whole(attempt.whole)
            return
        may_have_run = attempt.may_have_run
        if attempt.ending is not None:
            # the proof is only as good as what is known of the peer: trust it once
            may_have_run = may_have_run or self._trusted_eof
            self._trusted_eof = True
        self._fail(error, may_have_run=may_have_run)

    def _rejected(self, attempt: Attempt) -> FastCGIError:
        slot, status = attempt.slot, ProtocolStatus(attempt.protocol_status)
        error = rejection(attempt.protocol_status, f"the peer refused the request: {status.name}")
        if isinstance(error, CannotMultiplex):
            slot.multiplexing_refused()
        if slot.body_awaited:
            slot.give_up_body(refused=True)
        return error

    def _fail(self, error: FastCGIError, *, may_have_run: bool) -> None:
        self._may_have_run = self._may_have_run or may_have_run
        repeatable = self._upload is None or self._upload.repeatable
        if not (repeatable and self.terms.try_again(self, error, may_have_run)):
            self._settle(error)
            self.output.failed(error)

    def again(self) -> None:
        """Forget the last attempt; it has produced no output."""
        self.waiting, self.attempt = True, None
        if self._timeouts.run is not None or self._timeouts.queue is not None:
            self._set_deadline(self.terms.now(), self._timeouts.queue)
        if self._upload is not None:
            self._upload.stop(settled=False)

    def end(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """End it now with `error`, and leave its slot. Return False if it has ended already.

        Args:
            error: the error that it fails with.
            patience: as for `JobSlot.leave()`.
        """
        if not self.leave(error, patience=patience):
            return False
        self.output.failed(error)
        return True

    def leave(self, error: FastCGIError, *, patience: float | None = None) -> bool:
        """End it because the receiver of the response wants no more of it: `output` is not called."""
        if self.done:
            return False
        attempt = None if self.waiting else self.attempt
        if attempt is None:
            self._settle(error)
            return True
        self._may_have_run = self._may_have_run or attempt.may_have_run
        self._settle(error)
        if attempt.may_have_run:
            attempt.slot.leave(patience)
        else:
            attempt.slot.give_back()
        return True

    def refuse(self, error: FastCGIError, *, may_have_run: bool = False) -> None:
        """End it as it is about to start."""
        self.attempt = None
        self._may_have_run = self._may_have_run or may_have_run
        self._settle(error)
        self.output.failed(error)

    def _deadline_passed(self, waited: float) -> None:
        if self.waiting:
            self.end(self.terms.overdue(waited))
        else:
            self.end(JobTimeout(f"the request was not answered within {waited:.3f} s; its script may run on"))

    def _settle(self, error: FastCGIError | None) -> None:
        attempt, waited = self.attempt, self.waiting
        self.waiting, self.done = False, True
        if attempt is not None:
            attempt.owner = None
        if self._deadline is not None:
            self._cancel_deadline()
        if self._upload is not None:
            self._upload.stop()
            self._upload = None
        if error is not None:
            self.error = error
            error.may_have_run = self._may_have_run
            if attempt is not None:
                error.endpoint = attempt.slot.peer.name
        if self.on_over is not None:
            self.response = self.on_over(self)
        self.terms.settled(self, waited)
