"""Keep what PHP has answered and the client has not taken yet, so that a slow reader holds no worker."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable

from fcgi_async.asgi.beside import Event
from fcgi_async.spool.room import SpoolRoom
from fcgi_async.spool.spool_file import SpoolFile

__all__ = ("ResponseSpool",)

logger = logging.getLogger("fcgi_async.asgi")

_PIECE = 256 * 1024


class ResponseSpool:
    """Passes parts from one task to another; parts that are not taken yet wait here, in order.

    They wait in memory first. When that is full, a file takes more, until it has been read to its end. When both are
    full, `put()` waits.

    Args:
        memory: bytes in memory.
        disk: bytes in the file.
        room: counts the bytes in the file.
        event: makes an event of this event loop.
    """

    def __init__(self, memory: int, disk: int, room: SpoolRoom, event: Callable[[], Event]) -> None:
        self._memory, self._disk, self._room = memory, disk, room
        self._new_event = event
        self._parts: deque[bytes] = deque()
        self._held = 0
        self._file: SpoolFile | None = None
        # offsets in the file: written up to here, read up to here
        self._written = 0
        self._read = 0
        self._writing = False
        self._ended = False
        self._error: Exception | None = None
        self._came: Event | None = None
        self._taken: Event | None = None

    async def put(self, data: bytes) -> None:
        """Add a part; waits while memory and file are full.

        Cancelling may lose the part.
        """
        while True:
            if self._read == self._written and (not self._held or self._held + len(data) <= self._memory):
                self._parts.append(data)
                self._held += len(data)
                break
            if await self._spill(data):
                break
            if self._held or self._read < self._written:
                await self._wait_taken()
        self._wake_reader()

    def end(self, error: Exception | None = None) -> None:
        """Let `next()` return None, or raise `error`, after all parts."""
        self._ended, self._error = True, error
        self._wake_reader()

    async def next(self) -> bytes | None:
        """Return the next part, or several joined if they wait already; None at the end.

        Raises:
            Exception: the error that `end()` was called with.
        """
        while True:
            if self._parts:
                return self._from_memory()
            if self._file is not None and self._read < self._written:
                return await self._from_file(self._file)
            if self._ended:
                if self._error is not None:
                    raise self._error
                return None
            self._came = self._new_event()
            await self._came.wait()

    async def aclose(self) -> None:
        """Free the file."""
        if self._file is not None:
            await self._file.aclose()

    def _from_memory(self) -> bytes:
        parts = [self._parts.popleft()]
        size = len(parts[0])
        while self._parts and size + len(self._parts[0]) <= _PIECE:
            parts.append(self._parts.popleft())
            size += len(parts[-1])
        self._held -= size
        self._wake_writer()
        return parts[0] if len(parts) == 1 else b"".join(parts)

    async def _from_file(self, file: SpoolFile) -> bytes:
        data = await file.read(self._read, min(_PIECE, self._written - self._read))
        if not data:
            raise OSError("the temporary file of a response is shorter than what was written")
        self._read += len(data)
        if self._read == self._written and not self._writing:
            # begin again at its start, so that a long response does not need a long file
            self._read = self._written = 0
        self._wake_writer()
        return data

    async def _spill(self, data: bytes) -> bool:
        """Write to the file, and return whether there was room for it."""
        if self._written + len(data) > self._disk:
            return False
        self._writing = True
        try:
            if self._file is None:
                self._file = SpoolFile(self._room)
            if not await self._file.write(self._written, data):
                return False
        except OSError as error:
            logger.error("a response cannot be spooled, so PHP waits for the client: %s", error)
            self._disk = 0
            return False
        finally:
            self._writing = False
        self._written += len(data)
        return True

    async def _wait_taken(self) -> None:
        self._taken = self._new_event()
        await self._taken.wait()

    def _wake_reader(self) -> None:
        if self._came is not None:
            self._came.set()
            self._came = None

    def _wake_writer(self) -> None:
        if self._taken is not None:
            self._taken.set()
            self._taken = None
