"""Refuse the output of an abandoned script, and watch until its worker has left it.

On a unix socket, a script dies at its next write after the reading side is shut. Until then the bytes that follow its
request stay unread (by a peer that leaves them there); at the moment they are read, the worker has left the script.
"""

from __future__ import annotations

from collections.abc import Callable

from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.bodies import Bodies
from fcgi_async.net.transport import Transport
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded, Stderr, Stdout, Terminated

__all__ = ("Leaving",)

# the kernel is asked less often the longer the script runs
_WATCH_SECONDS_MIN, _WATCH_SECONDS_MAX, _WATCH_SHARE = 0.0005, 0.05, 0.05


class Leaving:
    """Refuses what the script writes, and reports when its worker has left it.

    A script that has written nothing yet is refused only after its first output, unless it ends with that: if its first
    write failed, fastcgi_finish_request() would read those bytes, and the script would go on unseen. But in a pool that
    is ours alone, it is refused at once, so that it dies when it flushes: FPM itself then limits what runs, and a
    waiting job gets the free worker.

    Args:
        backend: the event loop.
        transport: the connection's transport.
        client: the connection's state machine.
        bodies: the bodies that are still being sent to the script.
        silent: whether the script runs and has written nothing.
        at_once: whether a silent script is refused at once too.
        left: called when the bytes that follow the request have been read; the argument tells whether that proves that
            the worker is free.
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
        # reading those bytes proves nothing if a script was refused before its first write
        self._end_is_seen = not (silent and at_once)
        self._refusing = False
        if not silent or at_once:
            self._refuse()

    def watch(self) -> None:
        """Check whether the worker has read what follows its request, and check again until it has."""
        if self._transport.unread or self._transport.unsent or self._bodies.pending:
            now = self._backend.now()
            delay = min((now - self._since) * _WATCH_SHARE, _WATCH_SECONDS_MAX)
            self._look = self._backend.call_at(now + max(delay, _WATCH_SECONDS_MIN), self.watch)
        else:
            self._left(self._end_is_seen)

    def receive(self, data: bytes | memoryview) -> None:
        """Take the first record from a silent script: its end, or output to be refused."""
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
        """Stop checking."""
        if self._look is not None:
            self._look.cancel()

    def _refuse(self) -> None:
        self._refusing = True
        self._transport.shut_reading()
