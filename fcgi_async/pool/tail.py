"""The tail probe: whether it is answered, and whether the worker has read on after that."""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.transport import Transport
from fcgi_async.net.values import ASK_AGAIN
from fcgi_async.wire.client import ClientConnection

__all__ = ("Tail",)

# a free worker reads the next byte within microseconds: check again at once, then let it run
_LOOKS_AT_ONCE = 3
_LOOK_SECONDS = 0.0005
# a peer that answers the tail does so much sooner; a second probe shows whether it dropped the tail
_ASK_AGAIN_SECONDS = 0.1


class Tail:
    """The tail probes of one connection.

    Args:
        backend: the event loop.
        client: the connection's state machine.
        flush: writes the state machine's output.
        read_on: called when the worker has read on after its answer.

    Attributes:
        names: the names that a probe asks for.
        ahead: whether the first byte of the next request is sent with it.
        answered: whether the last probe is answered, but the byte after it is not read yet.
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
        """Write the probe that follows a request."""
        self._client.get_values(self.names)
        if self.ahead:
            self._client.send_ahead()

    def expect(self) -> None:
        """Ask again if it is not answered soon, to detect a peer that drops it."""
        if self._client.probes_outstanding and self._timer is None and self._client.open:
            self._timer = self._backend.call_at(self._backend.now() + _ASK_AGAIN_SECONDS, self._ask_again)

    def _ask_again(self) -> None:
        self._timer = None
        if self._client.probes_outstanding and self._client.open:
            # the tail asked for no name, so this is not its answer
            self._client.get_values(ASK_AGAIN)
            # libfcgi answers only after it has read on
            self._client.send_ahead()
            self._flush()

    def await_reading(self, transport: Transport, looks: int = 1) -> None:
        """Wait until the worker, which has answered its probe, has read the byte after it.

        A worker that was told to stop leaves between its answer and its next read: a job written then is lost, and the
        reset does not tell whether it ran. A worker that has read the byte will serve the next request.
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
        """Stop asking and checking."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
