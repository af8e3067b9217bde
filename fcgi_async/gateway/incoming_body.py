"""Take the whole body of a request before a worker is asked for, so that a slow client holds no worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Callable

import attrs

from fcgi_async.errors import FastCGIError, InvalidJob, QueueFull
from fcgi_async.job.body import BodyStream
from fcgi_async.net.backend import Backend
from fcgi_async.spool.room import SpoolRoom
from fcgi_async.spool.spool_file import SpoolFile

__all__ = ("BodySettings", "IncomingBody")

logger = logging.getLogger("fcgi_async.gateway")

_PIECE = 256 * 1024
# freeing the pages of a longer file takes milliseconds
_CLOSED_AT_ONCE = 4 * 1024 * 1024


@attrs.frozen(eq=False)
class BodySettings:
    """Settings for taking bodies.

    Attributes:
        most: most bytes of a body.
        memory: bytes of a body that are kept in memory before it goes to a temporary file.
        room: counts the bytes in temporary files.
        backend: the event loop.
    """

    most: int
    memory: int
    room: SpoolRoom
    backend: Backend


class IncomingBody:
    """Takes parts as they come; synchronous, except for writing a file.

    Args:
        settings: the settings.
        behind: called with True when the client should wait for the file, with False when it may continue.
        complete: called once after `end()`, when the whole body is stored.
        failed: called once with the error; no more is taken after that.
    """

    def __init__(
        self,
        settings: BodySettings,
        behind: Callable[[bool], None],
        complete: Callable[[], None],
        failed: Callable[[FastCGIError], None],
    ) -> None:
        self._settings = settings
        self._behind, self._complete, self._failed = behind, complete, failed
        self.size = 0
        self._parts: list[bytes] = []
        # bytes in `_parts`
        self._held = 0
        self._file: SpoolFile | None = None
        self._written = 0
        self._writing = self._ended = self._closed = False

    def feed(self, data: bytes) -> None:
        """Take a part."""
        if self._closed:
            return
        settings = self._settings
        self.size += len(data)
        if self.size > settings.most:
            self._fail(InvalidJob(f"the body is longer than max_body, {settings.most} bytes"))
            return
        self._parts.append(data)
        self._held += len(data)
        if self.size > settings.memory and self._held >= min(settings.memory, _PIECE) and not self._writing:
            self._writing = True
            settings.backend.spawn(self._write)
        if self._writing and self._held > 2 * _PIECE:
            self._behind(True)

    def end(self) -> None:
        """Called when the whole body has come."""
        self._ended = True
        if self._closed or self._writing:
            return
        if self._file is not None and self._held:
            self._writing = True
            self._settings.backend.spawn(self._write)
        else:
            self._complete()

    def content(self) -> bytes | BodyStream:
        """Return the body."""
        if self._file is None:
            return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        return BodyStream(self.size, self._read, replayable=True)

    def close(self) -> None:
        """Forget the body; its file is closed when no thread uses it."""
        if not self._closed:
            self._closed = True
            self._parts.clear()
            if self._file is None:
                return
            if self.size <= _CLOSED_AT_ONCE:
                self._file.close()
            else:
                self._settings.backend.spawn(self._file.aclose)

    def _fail(self, error: FastCGIError) -> None:
        self.close()
        self._failed(error)

    async def _write(self) -> None:
        try:
            if self._file is None:
                self._file = SpoolFile(self._settings.room)
            while self._held and not self._closed:
                data, self._parts, self._held = b"".join(self._parts), [], 0
                if not await self._file.write(self._written, data):
                    raise OSError("max_spooled: the bodies of other requests have filled the room")
                self._written += len(data)
                self._behind(False)
        except OSError as error:
            self._writing = False
            if not self._closed:
                self._behind(False)
                logger.error("the body of a request cannot be kept: %s", error)
                self._fail(QueueFull(f"the body of the request cannot be kept: {error}"))
            return
        self._writing = False
        if self._closed and self._file is not None:
            # it may have been closed before there was a file
            await self._file.aclose()
        elif self._ended:
            self._complete()

    async def _read(self) -> AsyncIterator[bytes]:
        assert self._file is not None
        offset = 0
        while offset < self.size:
            data = await self._file.read(offset, min(_PIECE, self.size - offset))
            if not data:
                raise OSError("the temporary file of a request's body is shorter than what was written")
            offset += len(data)
            yield data
