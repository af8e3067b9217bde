"""Check that a channel's peer reads on: gevent-fastcgi stops if an ABORT_REQUEST crosses the end of its request."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from fcgi_async.net.backend import Backend, Timer

__all__ = ("ReadingOn",)

Request = TypeVar("Request")

# seconds to wait for the answer that shows that the peer reads on
_ANSWER_SECONDS = 1.0


class ReadingOn(Generic[Request]):
    """The unanswered probes, and the requests that have a part after one.

    Args:
        backend: the event loop.
        patience: seconds that those requests still have when the peer is late.
        late: called when a probe is not answered in time.
        lost: called with the requests that the peer has not read and will not read.

    Attributes:
        unread: the requests that have a part after an unanswered probe.
        late: whether a probe was not answered in time, and still is not.
    """

    def __init__(
        self, backend: Backend, patience: float, late: Callable[[], None], lost: Callable[[tuple[Request, ...]], None]
    ) -> None:
        self._backend, self._patience, self._late, self._lost = backend, patience, late, lost
        self._timer: Timer | None = None
        self.unread: set[Request] = set()
        self.late = False

    def asked(self, incomplete: Iterable[Request]) -> None:
        """Called when a probe was written; `incomplete` requests have a part after it."""
        self.unread.update(incomplete)
        if self._timer is None:
            self._look(_ANSWER_SECONDS, self._be_late)

    def begun(self, request: Request) -> None:
        """Called when a request was written while a probe is unanswered."""
        self.unread.add(request)

    def ended(self, request: Request) -> None:
        """Called when the peer has ended a request."""
        self.unread.discard(request)

    def close(self) -> None:
        """Stop waiting: every probe is answered, or the connection has ended."""
        self.unread.clear()
        self.late = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self, seconds: float, function: Callable[[], None]) -> None:
        self._timer = self._backend.call_at(self._backend.now() + seconds, function)

    def _be_late(self) -> None:
        self.late = True
        # the callback may close a connection without requests
        self._look(self._patience, self._give_up)
        self._late()

    def _give_up(self) -> None:
        unread, self._timer = tuple(self.unread), None
        self.unread.clear()
        if unread:
            self._lost(unread)
