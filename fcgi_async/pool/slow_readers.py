"""Slow readers of responses that share a connection: FastCGI has no windows, so they hold up other requests."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sized
from typing import Final, Generic, TypeVar

from fcgi_async.net.transport import Transport

__all__ = ("SlowReaders",)

# how much a reader may leave unread before it holds up the others
_UNREAD_MAX: Final = 16 * 1024 * 1024

Reader = TypeVar("Reader", bound=Hashable)


class SlowReaders(Generic[Reader]):
    """Pauses the connection while every reader is slow, or one has too much unread.

    Args:
        readers: all readers of the connection.
        transport: returns the transport to pause; None if there is no connection.

    Attributes:
        behind: bytes that have come for each reader since it became slow; empty if none is slow.
    """

    def __init__(self, readers: Sized, transport: Callable[[], Transport | None]) -> None:
        self._readers, self._transport = readers, transport
        self.behind: dict[Reader, int] = {}
        self._paused = False

    def add(self, reader: Reader) -> None:
        """Called when a reader has become slow."""
        self.behind[reader] = 0
        self.regulate()

    def remove(self, reader: Reader) -> bool:
        """Called when a reader has caught up or left; return whether it was slow."""
        was_behind = self.behind.pop(reader, None) is not None
        if was_behind:
            self.regulate()
        return was_behind

    def took(self, reader: Reader, size: int) -> None:
        """Called when bytes have come for a reader."""
        if reader in self.behind:
            self.behind[reader] += size
            self.regulate()

    def regulate(self) -> None:
        """Pause or resume reading; call this when the number of readers has changed."""
        transport = self._transport()
        if transport is None:
            return
        behind = self.behind
        wanted = bool(behind) and (len(behind) >= len(self._readers) or max(behind.values()) > _UNREAD_MAX)
        if wanted and not self._paused:
            transport.pause_reading()
        elif self._paused and not wanted:
            transport.resume_reading()
        self._paused = wanted
