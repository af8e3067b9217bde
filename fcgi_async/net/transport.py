"""The narrow push interface between a connection and a socket; each event loop implements it natively."""

from __future__ import annotations

from typing import Protocol

__all__ = ("COPIED_READ", "READ_SIZE", "WRITE_HIGH", "Transport", "TransportHandler")

# bytes asked of one recv()
READ_SIZE = 256 * 1024
# what a read has brought is handed on as bytes up to this size, and as a view of the buffer above it
COPIED_READ = 4096
# bytes that may wait in user space to be written before the handler is told to pause; it resumes at a quarter
WRITE_HIGH = 256 * 1024


class TransportHandler(Protocol):
    """What a transport calls; all synchronous."""

    def data_received(self, data: bytes | memoryview) -> None:
        """Take bytes from the peer; a view is one of a buffer that is used again once this has returned."""

    def eof_received(self) -> None:
        """Take note that the peer has closed in good order; `connection_lost` follows."""

    def connection_lost(self, error: Exception | None) -> None:
        """Take note, once, that the socket is closed; `error` where not by us and not by an EOF."""

    def pause_writing(self) -> None:
        """Write no more until `resume_writing`."""

    def resume_writing(self) -> None:
        """Write on."""


class Transport(Protocol):
    """What a connection does with its socket; nothing here waits."""

    def write(self, data: bytes) -> bool:
        """Send, or buffer what the socket does not take now.

        The first attempt is a send() of our own, so that a peer that has gone is known at once: False says that not
        one byte of `data` was taken. What came from the peer before is still read.
        """

    @property
    def unsent(self) -> int:
        """How many bytes the socket has not taken yet."""

    @property
    def unread(self) -> int:
        """How much of what the socket took the peer has not read; 0 where that cannot be told, as on TCP."""

    def acknowledge(self) -> None:
        """Acknowledge now what came over TCP, which the kernel else puts off for 40 ms where nothing is sent."""

    def pause_reading(self) -> None:
        """Deliver nothing until `resume_reading`."""

    def resume_reading(self) -> None:
        """Deliver again."""

    def shut_reading(self) -> None:
        """Refuse what the peer still writes, and deliver nothing more; what is written still goes out.

        On a unix socket the peer's next write fails.
        """

    def abort(self) -> None:
        """Close now, unsent bytes are lost; the peer sees it before this returns."""
