"""One request on one slot: its response, and whether PHP may have run it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from typing import Protocol

from fcgi_async.errors import ConnectionLost, FastCGIError, RemoteProtocolError, ResponseTooLarge
from fcgi_async.job.settings import Limits
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending, may_have_run
from fcgi_async.pool.sink import CollectingSink, Sink, StderrBuffer
from fcgi_async.pool.slots import Slot, SlotState
from fcgi_async.wire.request import EncodedRequest

__all__ = ("Attempt", "AttemptOwner", "JobSlot")

# a plain name: on Python 3.11, looking up a member of an enum costs more than using it
_BUSY = SlotState.BUSY


class AttemptOwner(Protocol):
    """The owner of attempts; synchronous."""

    def attempt_over(self, attempt: Attempt) -> None:
        """Called once, at the end of an attempt: it has a response, or an `error`."""

    def new_stderr(self, attempt: Attempt) -> StderrBuffer:
        """Return an object that takes an attempt's STDERR; called when its first part comes."""


class Attempt:
    """One try to run a job. Its owner is called once, at its end.

    Args:
        slot: the slot that it runs on.
        limits: limits of what the peer may send.
        accepted: when the slot was taken.
        owner: called with what happens; None after the caller has left.

    Attributes:
        sink: where the response goes; None until it is collected.
        waits_for_worker: whether it ends when the worker has left the script, not at the end of the response.
        may_have_run: whether PHP may have started it; False until something was written.
        first_byte: when the first byte of the response came, or None.
        connect: seconds that connecting took, if the connection was opened for it.
        connected_at: when the connection was ready, or None.
        stderr: the STDERR that came, or None.
        app_status: the app_status in END_REQUEST.
        protocol_status: the protocol status in END_REQUEST; 0 is REQUEST_COMPLETE.
        error: why there is no valid response.
        ending: how the connection ended during the attempt, or None.
        whole: all of STDOUT if it came in one piece, and was not given to the sink.
    """

    # most attempts never set these: a default of the class costs nothing
    sink: Sink | None = None
    waits_for_worker = False
    may_have_run = False
    first_byte: float | None = None
    connect = 0.0
    connected_at: float | None = None
    stderr: StderrBuffer | None = None
    app_status = 0
    protocol_status = 0
    error: FastCGIError | None = None
    ending: Ending | None = None
    whole: bytes | None = None

    def __init__(self, slot: JobSlot, limits: Limits, accepted: float, owner: AttemptOwner) -> None:
        self.slot, self.limits, self.accepted = slot, limits, accepted
        self.owner: AttemptOwner | None = owner

    def receive_stdout(self, data: bytes, now: float) -> None:
        """Take a part of the response; the attempt ends if it is malformed or exceeds a limit."""
        if self.first_byte is None:
            self.first_byte = now
        try:
            self.collect().feed(data)
        except (RemoteProtocolError, ResponseTooLarge) as error:
            self.error = error
            self.end()

    def receive_stderr(self, data: bytes, *, more: bool = True) -> None:
        """Take a part of STDERR; without `more` it is the last one."""
        if self.stderr is None:
            if self.owner is None:
                return
            self.stderr = self.owner.new_stderr(self)
        self.stderr.feed(data, more=more)

    def receive_end(self, app_status: int, protocol_status: int) -> None:
        """Take the end of the response."""
        self.app_status, self.protocol_status = app_status, protocol_status
        if protocol_status:
            # a job that has answered has run, whatever the peer reports afterwards
            self.may_have_run = self.first_byte is not None
        self.end()

    def worker_left(self, *, answered: bool) -> None:
        """Called when the worker has left the script of a complete response, or its connection has ended before."""
        if not answered:
            self.error = ConnectionLost(
                "the response is complete, but the worker did not report in time that it had left the script"
            )
        self.end()

    def lose(self, ending: Ending, cause: Exception | None, *, eof: bool, written: bool, leaves_unread: bool) -> None:
        """Called when the connection has ended before the response.

        Args:
            ending: how it ended.
            cause: the error that ended it, if it was neither an EOF nor closed by this side.
            eof: whether the peer closed it.
            written: whether the kernel has taken the whole request.
            leaves_unread: whether the peer is known to leave unread what follows a request.
        """
        responded = self.first_byte is not None or self.stderr is not None
        self.may_have_run = may_have_run(ending, written=written, responded=responded, leaves_unread=leaves_unread)
        self.ending, self.error = ending, _failure(ending, cause, eof=eof)
        self.end()

    def refuse(self) -> None:
        """Called when the peer had closed before it took one byte of the request."""
        self.may_have_run, self.ending = False, Ending.EOF
        self.error = ConnectionLost("the peer had closed before the request was written")
        self.end()

    def end(self) -> None:
        """End it, and tell its owner, unless the caller has left."""
        if self.owner is not None:
            self.owner.attempt_over(self)

    def collect(self) -> Sink:
        """Return the sink, after giving it a response that came in one piece."""
        if self.sink is None:
            self.sink = CollectingSink(self.limits.head, self.limits.response, self.slot.peer.blocks)
        if self.whole is not None:
            whole, self.whole = self.whole, None
            self.sink.feed(whole)
        return self.sink


def _failure(ending: Ending, cause: Exception | None, *, eof: bool) -> FastCGIError:
    # a new error for each attempt: it gets the facts of its job
    if ending is Ending.FAULT and isinstance(cause, RemoteProtocolError):
        error: FastCGIError = RemoteProtocolError(cause.message)
        error.__cause__ = cause.__cause__
        return error
    what = "the peer closed the connection" if eof else f"the connection was lost ({cause or 'closed by us'})"
    error = ConnectionLost(f"{what} before the response was complete; FPM's log tells why its worker left")
    error.__cause__ = cause
    return error


class JobSlot(Slot):
    """A slot that runs one attempt at a time: a PHP worker, or a request id of a peer that multiplexes.

    Attributes:
        peer: the peer that the slot belongs to.
        attempt: the attempt that it runs, while a caller waits for it.
    """

    __slots__ = ("attempt", "peer")

    def __init__(self, peer: Peer) -> None:
        super().__init__()
        self.peer = peer
        self.attempt: Attempt | None = None

    @property
    @abstractmethod
    def over(self) -> bool:
        """Whether nothing can be written any more."""

    @abstractmethod
    def start(self, attempt: Attempt, request: EncodedRequest) -> bool:
        """Write a request. Return False if the peer had closed and took not one byte.

        The connection is then closed in the next turn, so the caller can queue the job first for another slot.
        """

    def hold(self) -> None:
        """Keep the slot for a request that is not ready to be written."""
        if self.state is not _BUSY:
            self.peer.ledger.move(self, _BUSY)

    @abstractmethod
    def give_back(self) -> None:
        """Give the slot back after it was held and nothing was written."""

    @abstractmethod
    def ask(self, told: Callable[[bool], None]) -> None:
        """Ask whether a worker is there; `told` is called with True when it answers, or False if it leaves before."""

    @abstractmethod
    def leave(self, patience: float | None = None) -> None:
        """Called when no caller waits for the attempt; the slot is held until the worker is known to be free.

        Args:
            patience: for how many seconds the rest of the response is read and discarded, 0 for not at all; None to use
                the endpoint's `on_cancel` and `drain_timeout`.
        """

    @abstractmethod
    def multiplexing_refused(self) -> None:
        """Called when the peer answered CANT_MPX_CONN: from now on it gets one request at a time on a connection."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection at once."""

    @abstractmethod
    def pause(self) -> None:
        """Stop reading, because the reader of the response is slow."""

    @abstractmethod
    def resume(self) -> None:
        """Read on."""

    # a body that comes in parts

    @property
    @abstractmethod
    def body_awaited(self) -> bool:
        """Whether a part of the body must still come through `send()`."""

    @abstractmethod
    async def send(self, data: bytes) -> bool:
        """Write a part of the body when the socket takes more. Return False if the request has ended or the peer has
        closed.

        Cancelling between two parts leaves the body incomplete.
        """

    @abstractmethod
    def end_body(self) -> None:
        """End the body."""

    @abstractmethod
    def give_up_body(self, *, refused: bool = False) -> None:
        """Stop writing the body of a request that was answered; if it was `refused`, no script runs."""
