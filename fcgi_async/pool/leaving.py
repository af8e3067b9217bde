"""A script that was left, and whose output is refused: watched until its worker has left it.

On a unix socket a script that writes dies at its next write once the reading side is shut. Until then the bytes that
follow its request stay unread (the peer is one that leaves them there); when they are read, the worker has left the
script, exactly then.
"""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.bodies import Bodies
from fcgi_async.net.transport import Transport
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded, Stderr, Stdout, Terminated

__all__ = ("Leaving",)

# how often the kernel is asked: the longer the script runs, the less often
_WATCH_SECONDS_MIN, _WATCH_SECONDS_MAX, _WATCH_SHARE = 0.0005, 0.05, 0.05


class Leaving:
    """Refuses what the script writes, and tells when its worker has left it.

    A script that has written nothing yet is refused once it has, and not at its end: if its one write failed,
    fastcgi_finish_request() would read those bytes, and the script go on unseen. But in a pool that is ours alone it is
    refused at once, so that it dies when it flushes: FPM itself then bounds what runs, and a job that waits gets the
    worker that is free.

    Args:
        backend: the event loop.
        transport: of the connection.
        client: its state machine.
        bodies: what is still on its way to the script.
        silent: whether the script runs, and has written nothing.
        at_once: whether it is refused even then.
        left: called when the bytes that follow the request are read, with whether that tells that the worker is free.
        faulty: called when the peer breaks the protocol.
    """

    def __init__(
        self,
        backend: Backend,
        transport: Transport,
        client: ClientConnection,
        bodies: Bodies,
        *,
        silent: bool,
        at_once: bool,
        left: Callable[[bool], None],
        faulty: Callable[[Exception | None], None],
    ) -> None:
        self._backend, self._transport, self._client, self._bodies = backend, transport, client, bodies
        self._left, self._faulty = left, faulty
        self._since = backend.now()
        self._look: Timer | None = None
        self._responding = not silent
        # that those bytes are read tells nothing of a script that was refused before its first write
        self._end_is_seen = not (silent and at_once)
        self._refusing = False
        if not silent or at_once:
            self._refuse()

    def watch(self) -> None:
        """Look whether the worker has read what follows the request it was on, now and again until it has."""
        if self._transport.unread or self._transport.unsent or self._bodies.pending:
            now = self._backend.now()
            delay = min((now - self._since) * _WATCH_SHARE, _WATCH_SECONDS_MAX)
            self._look = self._backend.call_at(now + max(delay, _WATCH_SECONDS_MIN), self.watch)
        else:
            self._left(self._end_is_seen)

    def receive(self, data: bytes | memoryview) -> None:
        """Take what comes from a script that had written nothing when it was left: its end, or output to be refused."""
        if self._refusing:
            return
        for event in self._client.receive_data(data):
            if isinstance(event, Stdout | Stderr):
                self._responding = True
            elif isinstance(event, RequestEnded):
                self._responding = False
            elif isinstance(event, Terminated):
                self._faulty(event.error)
                return
        if self._responding:
            self._refuse()
        elif not (self._client.unfinished or self._client.probes_outstanding):
            self._left(True)

    def stop(self) -> None:
        """Look no more."""
        if self._look is not None:
            self._look.cancel()

    def _refuse(self) -> None:
        self._refusing = True
        self._transport.shut_reading()
