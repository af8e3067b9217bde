"""The probe that follows a request: whether it is answered, and whether its worker has read on after that."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.transport import Transport
from fcgi_async.net.values import ASK_AGAIN
from fcgi_async.wire.client import ClientConnection

__all__ = ("Tail",)

# the worker that has just answered reads on within microseconds: look again at once, and leave it the processor then
_LOOKS_AT_ONCE = 3
_LOOK_SECONDS = 0.0005
# a peer that answers the tail has done so long before; it is asked again so that one that drops the tail shows it
_ASK_AGAIN_SECONDS = 0.1


class Tail:
    """The tail probes of one connection.

    Args:
        backend: the event loop.
        client: the connection's state machine.
        flush: writes what the state machine has.
        read_on: called when the worker has read on after its answer.

    Attributes:
        names: what a probe asks for.
        ahead: whether the first byte of the next request goes out with it.
        answered: whether the last one is answered, and the byte after it not read yet.
    """

    def __init__(
        self,
        backend: Backend,
        client: ClientConnection,
        flush: Callable[[], object],
        read_on: Callable[[], None],
    ) -> None:
        self._backend, self._client, self._flush, self._read_on = backend, client, flush, read_on
        self.names: tuple[bytes, ...] = ()
        self.ahead = True
        self.answered = False
        self._timer: Timer | None = None

    def write(self) -> None:
        """Have it written that follows a request."""
        self._client.get_values(self.names)
        if self.ahead:
            self._client.send_ahead()

    def expect(self) -> None:
        """Ask once more if it is not answered soon, so that a peer that drops it shows it."""
        if self._client.probes_outstanding and self._timer is None and self._client.open:
            self._timer = self._backend.call_at(self._backend.now() + _ASK_AGAIN_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        self._timer = None
        if self._client.probes_outstanding and self._client.open:
            # the tail asked for nothing: whoever names this has not answered that
            self._client.get_values(ASK_AGAIN)
            # libfcgi answers when it has read on
            self._client.send_ahead()
            self._flush()

    def await_reading(self, transport: Transport, looks: int = 1) -> None:
        """Wait until the worker has read the byte after its probe, which it has answered.

        A worker that was told to stop leaves between its answer and its next read: a job written then is lost, and
        the reset does not tell whether it ran. One that reads has nothing but the next request before it.
        """
        self._timer = None
        if transport.unread:
            self.answered = True
            now = self._backend.now()
            when = now if looks < _LOOKS_AT_ONCE else now + _LOOK_SECONDS
            self._timer = self._backend.call_at(when, lambda: self.await_reading(transport, looks + 1))
        else:
            self.answered = False
            self._read_on()

    def stop(self) -> None:
        """Ask and look no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
