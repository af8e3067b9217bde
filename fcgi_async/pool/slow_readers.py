"""Readers of responses on one connection that are behind: FastCGI has no windows, so they hold up their neighbours."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sized
from typing import Final, Generic, TypeVar

from fcgi_async.net.transport import Transport

__all__ = ("SlowReaders",)

# what one may leave unread before its neighbours are held up with it
_UNREAD_MAX: Final = 16 * 1024 * 1024

Reader = TypeVar("Reader", bound=Hashable)


class SlowReaders(Generic[Reader]):
    """Pauses reading while every reader is behind, or one is by too much.

    Args:
        readers: all that the connection has.
        transport: returns what is paused; None if there is no connection.
    """

    def __init__(self, readers: Sized, transport: Callable[[], Transport | None]) -> None:
        self._readers, self._transport = readers, transport
        # what has come for each since it is behind, in bytes
        self._behind: dict[Reader, int] = {}
        self._paused = False

    def __bool__(self) -> bool:
        return bool(self._behind)

    def add(self, reader: Reader) -> None:
        """Called when a reader is behind."""
        self._behind[reader] = 0
        self.regulate()

    def remove(self, reader: Reader) -> bool:
        """Called when a reader has caught up, or is gone; return whether it was behind."""
        was_behind = self._behind.pop(reader, None) is not None
        if was_behind:
            self.regulate()
        return was_behind

    def took(self, reader: Reader, size: int) -> None:
        """Called when so many bytes more have come for a reader."""
        if reader in self._behind:
            self._behind[reader] += size
            self.regulate()

    def regulate(self) -> None:
        """Pause, or read on; to be called when there are more readers, or fewer."""
        transport = self._transport()
        if transport is None:
            return
        behind = self._behind
        wanted = bool(behind) and (len(behind) >= len(self._readers) or max(behind.values()) > _UNREAD_MAX)
        if wanted and not self._paused:
            transport.pause_reading()
        elif self._paused and not wanted:
            transport.resume_reading()
        self._paused = wanted
