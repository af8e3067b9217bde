"""A connected socket: passes what it reads to a handler, and writes at once or when the socket takes more.

It works the same on every event loop: the loop only reports when the socket can be read or written. So everything that
the peer sent before an error is read, and a write detects a peer that has closed.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Protocol

from fcgi_async.net.acknowledge import acknowledge
from fcgi_async.net.backend import Backend
from fcgi_async.net.unread import tells_unread, unread

__all__ = ("WRITE_HIGH", "Transport", "TransportHandler")

# bytes for one recv(); more would need a block that the allocator does not keep
_READ_SIZE = 16 * 1024
# bytes for one recv() while more than that comes at once
_LARGE_READ = 256 * 1024
# bytes read from one socket before the others get their turn
_READS_AT_ONCE = 16
# a write of at least this many bytes is not held back
_CORKED_MAX = 16 * 1024
# bytes that may wait to be written before the handler is told to pause; it resumes at a quarter
WRITE_HIGH = 256 * 1024


class TransportHandler(Protocol):
    """The callbacks of a transport; synchronous."""

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take bytes from the peer; return whether more will come in a moment, so that reading again at once is
        worthwhile.

        A view refers to a buffer that is reused after this has returned.
        """

    def eof_received(self) -> None:
        """Called when the peer has closed normally; `connection_lost` follows."""

    def connection_lost(self, error: Exception | None) -> None:
        """Called once, when the socket was closed, except by `abort()`; `error` is None after an EOF."""

    def pause_writing(self) -> None:
        """Stop writing until `resume_writing`."""

    def resume_writing(self) -> None:
        """Write on."""


class Transport:
    """Passes what it reads from a socket to a handler, beginning at once; it owns the socket.

    Args:
        sock: a connected, non-blocking socket.
        handler: gets what is read.
        backend: reports when the socket is ready.
    """

    __slots__ = (
        "_backend",
        "_corked",
        "_fd",
        "_handler",
        "_large",
        "_paused",
        "_recv",
        "_send",
        "_shut",
        "_sock",
        "_tells_unread",
        "_unsent",
        "_watch",
        "_writing_paused",
    )

    def __init__(self, sock: socket.socket, handler: TransportHandler, backend: Backend) -> None:
        self._sock = sock
        self._recv, self._send = sock.recv, sock.send
        # -1 after it was closed
        self._fd = sock.fileno()
        self._handler = handler
        self._unsent = bytearray()
        # sent together when it is uncorked; None if it is not corked
        self._corked: list[bytes] | None = None
        self._writing_paused = False
        self._paused = False
        # whether reading has ended
        self._shut = False
        # the buffer for large reads
        self._large: memoryview | None = None
        self._backend = backend
        self._tells_unread = tells_unread(sock)
        self._watch = backend.watch(sock, self._readable, self._writable)
        self._watch.read(True)

    def write(self, data: bytes) -> bool:
        """Send, and keep what the socket does not take now. Return False if the peer has closed and took not one byte.

        Everything that the peer sent before is still read.
        """
        sent = 0
        if self._corked is not None:
            self._corked.append(data)
            if len(data) <= _CORKED_MAX and len(self._corked) <= _CORKED_MAX // 1024:
                return True
            data = b"".join(self._corked)
            self._corked.clear()
        if not self._unsent:
            try:
                sent = self._send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                # or the socket is closed
                return False
            if sent == len(data):
                return True
            self._watch.write(True)
        elif self._fd < 0:
            return False
        self._unsent += memoryview(data)[sent:]
        if not self._writing_paused and len(self._unsent) > WRITE_HIGH:
            self._writing_paused = True
            self._handler.pause_writing()
        return True

    def cork(self) -> None:
        """Hold back writes for a moment, because each send wakes the peer."""
        self._corked = []

    def uncork(self) -> bool:
        """Send what was held back; return the result of `write()`."""
        corked, self._corked = self._corked, None
        return not corked or self.write(corked[0] if len(corked) == 1 else b"".join(corked))

    @property
    def unsent(self) -> int:
        """Number of bytes that the socket has not taken yet."""
        return len(self._unsent) + (sum(map(len, self._corked)) if self._corked else 0)

    @property
    def unread(self) -> int:
        """Number of sent bytes that the peer has not read; 0 if that is not known, as on TCP."""
        return unread(self._fd) if self._tells_unread else 0

    def acknowledge(self) -> None:
        """Send a TCP ACK now instead of after the kernel's 40 ms delay."""
        acknowledge(self._sock)

    def pause_reading(self) -> None:
        """Stop delivering until `resume_reading`."""
        self._paused = True
        self._watch.read(False)

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        self._watch.read(True)

    def shut_reading(self) -> None:
        """Refuse what the peer still writes, and stop delivering; pending writes are still sent.

        On a unix socket the peer's next write fails.
        """
        self._shut = True
        self.pause_reading()
        self.end_reading()

    def end_reading(self) -> None:
        """Refuse what the peer writes from now on; what it has written is still delivered, and then its end.

        On a unix socket the peer's next write fails.
        """
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Close now, losing unsent bytes; the peer sees it before this returns. Nothing more is delivered."""
        if self._fd >= 0:
            self._fd = -1
            self._paused = True
            self._watch.close()
            self._sock.close()

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):
            if self._paused:
                return
            try:
                data = self._recv(_READ_SIZE) if self._large is None else self._read_large(self._large)
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            if not data:
                self._handler.eof_received()
                self._lost(None)
                return
            if len(data) == _READ_SIZE and self._large is None:
                self._large = memoryview(bytearray(_LARGE_READ))
            if not self._handler.data_received(data):
                return
        # let other sockets have their turn
        self._backend.call_at(self._backend.now(), self._readable)

    def _read_large(self, buffer: memoryview) -> memoryview:
        size = self._sock.recv_into(buffer)
        if size < _READ_SIZE:
            self._large = None
        return buffer[:size]

    def _writable(self) -> None:
        try:
            # a copy, because send() on the buffer itself would prevent resizing it
            del self._unsent[: self._send(bytes(self._unsent[:_LARGE_READ]))]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # the reader notices it too, after everything that the peer sent before; the rest stays `unsent`
            self._watch.write(False)
            if self._shut:
                self._lost(error)
            return
        if not self._unsent:
            self._watch.write(False)
        if self._writing_paused and len(self._unsent) <= WRITE_HIGH // 4:
            self._writing_paused = False
            self._handler.resume_writing()

    def _lost(self, error: Exception | None) -> None:
        if self._fd >= 0:
            self.abort()
            self._handler.connection_lost(error)
