"""A temporary file that threads write and read, and whose bytes count in a shared limit."""

from __future__ import annotations

import os
from contextlib import suppress
from tempfile import TemporaryFile
from threading import Lock

import anyio
import anyio.to_thread

from fcgi_async.spool.room import SpoolRoom

__all__ = ("SpoolFile",)

# freeing the pages of a longer file takes milliseconds
_CLOSED_AT_ONCE = 4 * 1024 * 1024


class SpoolFile:
    """A file without a name, written and read by offset.

    If it is closed while a thread uses it, the thread closes it: otherwise the descriptor could already belong to
    another file.

    Args:
        room: counts its bytes.

    Raises:
        OSError: there is no folder for temporary files.
    """

    def __init__(self, room: SpoolRoom) -> None:
        self._room = room
        self._file = TemporaryFile(buffering=0)  # noqa: SIM115 - closed by close()
        self._size = 0
        self._lock = Lock()
        self._closing = False
        self._closed = False

    async def write(self, offset: int, data: bytes) -> bool:
        """Write at an offset, and return whether there was room for it.

        Raises:
            OSError: the disk is full.

        After a cancellation, the bytes may or may not be written; close the file then.
        """
        more = max(0, offset + len(data) - self._size)
        if more and not self._room.take(more):
            return False
        self._size += more
        await anyio.to_thread.run_sync(self._write, offset, data)
        return True

    async def read(self, offset: int, size: int) -> bytes:
        """Return at most `size` bytes from an offset.

        Raises:
            OSError: it cannot be read.
        """
        return await anyio.to_thread.run_sync(self._read, offset, size)

    async def aclose(self) -> None:
        """Close it (a long file in a thread), even if the caller is cancelled."""
        if self._size <= _CLOSED_AT_ONCE:
            self.close()
            return
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self.close)

    def close(self) -> None:
        """Close it now, or when the thread that uses it is done."""
        if not self._closing:
            self._closing = True
            self._room.give(self._size)
        self._close_unless_used()

    def _write(self, offset: int, data: bytes) -> None:
        try:
            with self._lock:
                view = memoryview(b"" if self._closed else data)
                while view:
                    written = os.pwrite(self._file.fileno(), view, offset)
                    view, offset = view[written:], offset + written
        finally:
            self._close_if_asked()

    def _read(self, offset: int, size: int) -> bytes:
        with self._lock:
            data = b"" if self._closed else os.pread(self._file.fileno(), size, offset)
        self._close_if_asked()
        return data

    def _close_if_asked(self) -> None:
        if self._closing:
            self._close_unless_used()

    def _close_unless_used(self) -> None:
        if self._lock.acquire(blocking=False):
            try:
                self._closed = True
                with suppress(OSError):
                    self._file.close()
            finally:
                self._lock.release()
