"""One request on one slot: what came back of it, and whether PHP may have run it."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable

from fcgi_async.errors import ConnectionLost, FastCGIError, RemoteProtocolError, ResponseTooLarge
from fcgi_async.job.settings import Limits
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending, may_have_run
from fcgi_async.pool.sink import CollectingSink, Sink, StderrBuffer
from fcgi_async.pool.slots import Slot, SlotState
from fcgi_async.wire.request import EncodedRequest

__all__ = ("Attempt", "JobSlot")

# a plain name: on Python 3.11 looking up a member of an enum costs more than what is done with it
_BUSY = SlotState.BUSY


class Attempt:
    """One try to run a job. It is over when its slot calls `over`, once.

    Args:
        sink: where the response goes; None to collect it.
        limits: how much the peer may send.
        over: called at the end: there is a response, or `error`; None once nobody wants to know.
        waits_for_worker: whether it is over when the worker has left the script, and not at the end of the response.

    Attributes:
        may_have_run: whether PHP may have started it; False until something was written.
        slot: the one it is on.
        accepted: when the slot was taken.
        first_byte: when the first byte of the response came, or None.
        connect: seconds that connecting took, of a connection that was new for it.
        connected_at: when that was done, or None.
        stderr: what came as STDERR, or None.
        app_status: what the responder ended with.
        protocol_status: what the peer said of the request; 0 is REQUEST_COMPLETE.
        error: why there is no response, or none that can be taken.
        ending: how the connection ended under it, or None.
        whole: all of STDOUT if it came in one, and was not given to the sink.
    """

    # most attempts never set these: a default of the class costs none of them anything
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

    def __init__(
        self,
        slot: JobSlot,
        sink: Sink | None,
        limits: Limits,
        accepted: float,
        over: Callable[[Attempt], None],
        waits_for_worker: bool,
    ) -> None:
        self.slot = slot
        self.sink = sink
        self._limits = limits
        self.accepted = accepted
        self.over: Callable[[Attempt], None] | None = over
        self.waits_for_worker = waits_for_worker

    def receive_whole(self, content: bytes, now: float) -> None:
        """Take a response that came in one."""
        self.first_byte = now
        self.whole = content
        self._end()

    def receive_stdout(self, data: bytes, now: float) -> None:
        """Take a part of the response; it is over if that is none, or passes a limit."""
        if self.first_byte is None:
            self.first_byte = now
        try:
            self.collect().feed(data)
        except (RemoteProtocolError, ResponseTooLarge) as error:
            self.error = error
            self._end()

    def receive_stderr(self, data: bytes) -> None:
        """Take a part of an error message."""
        if self.stderr is None:
            self.stderr = StderrBuffer(self._limits.stderr)
        self.stderr.feed(data)

    def receive_end(self, app_status: int, protocol_status: int) -> None:
        """Take the end of the response."""
        self.app_status, self.protocol_status = app_status, protocol_status
        if protocol_status:
            # what has answered has run, whatever is said of it afterwards
            self.may_have_run = self.first_byte is not None
        self._end()

    def worker_left(self, *, answered: bool) -> None:
        """Called when the worker has left the script of a complete response, or its connection has ended before."""
        if not answered:
            self.error = ConnectionLost(
                "the response is complete, and the worker did not say in time that it had left the script"
            )
        self._end()

    def lose(self, ending: Ending, cause: Exception | None, *, eof: bool, written: bool, leaves_unread: bool) -> None:
        """Take it that there will be no (more) response, since the connection ended.

        Args:
            ending: how it ended.
            cause: what ended it, if that was neither an EOF nor we ourselves.
            eof: whether the peer closed it.
            written: whether the kernel has taken the whole request.
            leaves_unread: whether the peer is known to leave unread what follows a request.
        """
        responded = self.first_byte is not None or self.stderr is not None
        self.may_have_run = may_have_run(ending, written=written, responded=responded, leaves_unread=leaves_unread)
        self.ending, self.error = ending, _failure(ending, cause, eof=eof)
        self._end()

    def _end(self) -> None:
        if self.over is not None:
            self.over(self)

    def collect(self) -> Sink:
        """Return the sink, with all in it that came in one."""
        if self.sink is None:
            self.sink = CollectingSink(self._limits.head, self._limits.response)
        if self.whole is not None:
            whole, self.whole = self.whole, None
            self.sink.feed(whole)
        return self.sink


def _failure(ending: Ending, cause: Exception | None, *, eof: bool) -> FastCGIError:
    # one error for each attempt: it will carry that job's facts
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
        peer: whose it is.
        attempt: what it runs, and somebody waits for.
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
        """Write a request; False if the peer had gone, which took not one byte.

        The connection is then closed in the next turn: whoever begins the job puts it where another slot finds it.
        """

    def hold(self) -> None:
        """Keep it for a request that is not ready to be written."""
        if self.state is not _BUSY:
            self.peer.ledger.move(self, _BUSY)

    @abstractmethod
    def give_back(self) -> None:
        """Give it back after it was held, and not written to."""

    @abstractmethod
    def ask(self, told: Callable[[bool], None]) -> None:
        """Ask whether a worker is there; `told` is called with True when it answers, with False if it leaves before."""

    @abstractmethod
    def leave(self, patience: float | None = None) -> None:
        """Take it that nobody waits for the attempt any more; the slot is held until the worker is known to be free.

        Args:
            patience: seconds in which the rest of the response is read and thrown away, 0 for not at all; None for the
                endpoint's `on_cancel` and `drain_timeout`.
        """

    @abstractmethod
    def multiplexing_refused(self) -> None:
        """Take it that the peer answered CANT_MPX_CONN: from now on it gets one request at a time on a connection."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection at once."""

    @abstractmethod
    def pause(self) -> None:
        """Read nothing more, since the reader of the response is behind."""

    @abstractmethod
    def resume(self) -> None:
        """Read on."""

    # a body that comes in parts

    @property
    @abstractmethod
    def body_awaited(self) -> bool:
        """Whether a part of the body is still to come through `send()`."""

    @abstractmethod
    async def send(self, data: bytes) -> bool:
        """Write a part of the body once the socket takes more; False if the request is over or the peer gone.

        Cancelling between two parts leaves the body incomplete.
        """

    @abstractmethod
    def end_body(self) -> None:
        """End the body."""

    @abstractmethod
    def give_up_body(self, *, refused: bool = False) -> None:
        """Write no more of the body of a request that was answered; if it was `refused`, nothing runs of it."""
