"""A connected socket: read into its handler when there is something, written to at once, or when it takes more.

The same on every event loop, which only tells when the socket can be read or written: so that what the peer sent before
an error is read on all of them, and one that has gone is known by the write that meets it.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from typing import Protocol

from fcgi_async.net.acknowledge import acknowledge
from fcgi_async.net.backend import Backend
from fcgi_async.net.unread import tells_unread, unread

__all__ = ("WRITE_HIGH", "Transport", "TransportHandler")

# bytes asked of one recv(); more costs a block that the allocator does not keep
_READ_SIZE = 16 * 1024
# and while more than that comes at once
_LARGE_READ = 256 * 1024
# what is read of one socket before the others get their turn
_READS_AT_ONCE = 16
# bytes that may wait in user space to be written before the handler is told to pause; it resumes at a quarter
WRITE_HIGH = 256 * 1024


class TransportHandler(Protocol):
    """What a transport calls; all synchronous."""

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take bytes from the peer; return whether more is due in a moment, so that it pays to read again at once.

        A view is one of a buffer that is used again once this has returned.
        """

    def eof_received(self) -> None:
        """Called when the peer has closed in good order; `connection_lost` follows."""

    def connection_lost(self, error: Exception | None) -> None:
        """Called once, when the socket is closed other than by `abort()`; `error` if not by an EOF."""

    def pause_writing(self) -> None:
        """Write no more until `resume_writing`."""

    def resume_writing(self) -> None:
        """Write on."""


class Transport:
    """Reads a socket into a handler, from the call on; the socket is its own.

    Args:
        sock: connected, not blocking.
        handler: who gets what is read.
        backend: tells when the socket is ready.
    """

    __slots__ = (
        "_backend",
        "_handler",
        "_large",
        "_paused",
        "_recv",
        "_send",
        "_shut",
        "_sock",
        "_tells_unread",
        "_told_once",
        "_unsent",
        "_watch",
        "_writing_paused",
    )

    def __init__(self, sock: socket.socket, handler: TransportHandler, backend: Backend) -> None:
        self._sock = sock
        self._recv, self._send = sock.recv, sock.send
        self._handler = handler
        self._unsent = bytearray()
        self._writing_paused = False
        self._paused = False
        # whether the reader is of no use any more
        self._shut = False
        # what large reads go into
        self._large: memoryview | None = None
        self._backend = backend
        self._tells_unread = tells_unread(sock)
        # uvloop tells of an error once, together with the data before it, and never again: read on until it is met
        self._told_once = backend.tells_once
        self._watch = backend.watch(sock, self._readable, self._writable)
        self._watch.read(True)

    def write(self, data: bytes) -> bool:
        """Send, or keep what the socket does not take now; return False if the peer has gone and took not one byte.

        What came from the peer before is still read.
        """
        sent = 0
        if self._sock.fileno() < 0:
            return False
        if not self._unsent:
            try:
                sent = self._send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                return False
            if sent == len(data):
                return True
            self._watch.write(True)
        self._unsent += memoryview(data)[sent:]
        if not self._writing_paused and len(self._unsent) > WRITE_HIGH:
            self._writing_paused = True
            self._handler.pause_writing()
        return True

    @property
    def unsent(self) -> int:
        """How many bytes the socket has not taken yet."""
        return len(self._unsent)

    @property
    def unread(self) -> int:
        """How much of what the socket took the peer has not read; 0 if that cannot be told, as on TCP."""
        return unread(self._sock.fileno()) if self._tells_unread else 0

    def acknowledge(self) -> None:
        """Acknowledge now what came over TCP, which the kernel puts off for 40 ms when nothing is sent."""
        acknowledge(self._sock)

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`."""
        self._paused = True
        self._watch.read(False)

    def resume_reading(self) -> None:
        """Deliver again."""
        self._paused = False
        self._watch.read(True)

    def shut_reading(self) -> None:
        """Refuse what the peer still writes, and deliver nothing more; what is written still goes out.

        On a unix socket the peer's next write fails.
        """
        self._shut = True
        self.pause_reading()
        with suppress(OSError):
            self._sock.shutdown(socket.SHUT_RD)

    def abort(self) -> None:
        """Close now, unsent bytes are lost; the peer sees it before this returns. Nothing more is delivered."""
        if self._sock.fileno() >= 0:
            self._paused = True
            self._watch.close()
            self._sock.close()

    def _readable(self) -> None:
        for _ in range(_READS_AT_ONCE):
            if self._paused:
                return
            try:
                data = self._read()
            except (BlockingIOError, InterruptedError):
                return
            except OSError as error:
                self._lost(error)
                return
            if not data:
                self._handler.eof_received()
                self._lost(None)
                return
            if not self._handler.data_received(data) and not self._told_once:
                return
        # others get their turn
        self._backend.call_at(self._backend.now(), self._readable)

    def _read(self) -> bytes | memoryview:
        if self._large is None:
            data = self._recv(_READ_SIZE)
            if len(data) == _READ_SIZE:
                self._large = memoryview(bytearray(_LARGE_READ))
            return data
        buffer = self._large
        size = self._sock.recv_into(buffer)
        if size < _READ_SIZE:
            self._large = None
        return buffer[:size]

    def _writable(self) -> None:
        try:
            # a copy: send() on the buffer itself would forbid its resizing
            del self._unsent[: self._send(bytes(self._unsent[:_LARGE_READ]))]
        except (BlockingIOError, InterruptedError):
            return
        except OSError as error:
            # the reader meets the same end, after what the peer sent before it; what was not taken stays `unsent`
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
        if self._sock.fileno() >= 0:
            self.abort()
            self._handler.connection_lost(error)
