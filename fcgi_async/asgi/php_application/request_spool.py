"""Read the body of a request before a worker is asked for, so that a slow upload holds no worker."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import anyio
import attrs

from fcgi_async.asgi.php_application.refusal import ClientLeft, Refusal
from fcgi_async.asgi.protocol import Receive
from fcgi_async.spool.room import SpoolRoom
from fcgi_async.spool.spool_file import SpoolFile

__all__ = ("BodyLimits", "BodyParts", "SpooledBody", "spool_body")

logger = logging.getLogger("fcgi_async.asgi")

_PIECE = 256 * 1024


@attrs.frozen
class BodyLimits:
    """Limits of a body: its size, and how fast it has to come.

    Attributes:
        most: most bytes in total.
        memory: bytes that are kept in memory before the rest goes to a file.
        timeout: seconds between two pieces; None for as long as it takes.
    """

    most: int
    memory: int
    timeout: float | None


@attrs.define(eq=False)
class SpooledBody:
    """A complete body, which can be read any number of times.

    Attributes:
        length: total number of bytes.
        replayable: the attribute that `Job` looks for.
    """

    length: int
    file: SpoolFile
    replayable: bool = True

    async def __aiter__(self) -> AsyncIterator[bytes]:
        offset = 0
        while offset < self.length:
            data = await self.file.read(offset, min(_PIECE, self.length - offset))
            if not data:
                raise OSError("the temporary file of a request's body is shorter than what was written")
            offset += len(data)
            yield data

    async def aclose(self) -> None:
        """Forget it."""
        await self.file.aclose()


async def spool_body(receive: Receive, limits: BodyLimits, room: SpoolRoom) -> bytes | SpooledBody:
    """Return the whole body: bytes if it is small, otherwise an object that has to be closed.

    Raises:
        Refusal: 413: the body is too long; 408: the next piece did not come in time; 503: there is no room for it.
        ClientLeft: the client has disconnected.

    Cancelling discards it.
    """
    parts: list[bytes] = []
    size = 0
    writer: _Writer | None = None
    try:
        async for part in BodyParts(receive, limits):
            size += len(part)
            if writer is None:
                parts.append(part)
                if size > limits.memory:
                    writer = _Writer(room)
                    await writer.write(b"".join(parts))
            else:
                await writer.add(part)
        if writer is None:
            return parts[0] if len(parts) == 1 else b"".join(parts)
        await writer.flush()
        body, writer = SpooledBody(size, writer.file), None
        return body
    finally:
        if writer is not None:
            await writer.file.aclose()


class BodyParts:
    """Iterates over the parts of a body as they come; a plain iterator, so that a loop may be left at any time.

    `__anext__` raises what `spool_body()` does, except 503.

    Args:
        receive: the server's `receive`.
        limits: its size, and how fast it has to come.
    """

    def __init__(self, receive: Receive, limits: BodyLimits) -> None:
        self._receive, self._limits = receive, limits
        self._size = 0
        self.ended = False

    def __aiter__(self) -> BodyParts:
        return self

    async def __anext__(self) -> bytes:
        limits = self._limits
        part = b""
        while not part:
            if self.ended:
                raise StopAsyncIteration
            message = None
            with anyio.move_on_after(limits.timeout):
                message = await self._receive()
            if message is None:
                raise Refusal(408, f"nothing more of the body came within {limits.timeout} s", close=True)
            if message["type"] == "http.disconnect":
                raise ClientLeft
            part = message.get("body", b"")
            self._size += len(part)
            if self._size > limits.most:
                raise Refusal(413, f"the body is longer than max_body, {limits.most} bytes", close=True)
            self.ended = not message.get("more_body", False)
        return part


class _Writer:
    """Writes to a new file in large pieces, because each piece costs a call in a thread."""

    def __init__(self, room: SpoolRoom) -> None:
        try:
            self.file = SpoolFile(room)
        except OSError as error:
            raise _no_room(error) from error
        self._offset = 0
        self._parts: list[bytes] = []
        self._size = 0

    async def add(self, part: bytes) -> None:
        self._parts.append(part)
        self._size += len(part)
        if self._size >= _PIECE:
            await self.flush()

    async def flush(self) -> None:
        data = b"".join(self._parts)
        self._parts, self._size = [], 0
        await self.write(data)

    async def write(self, data: bytes) -> None:
        try:
            written = await self.file.write(self._offset, data)
        except OSError as error:
            raise _no_room(error) from error
        if not written:
            raise Refusal(503, "max_spooled: other requests have filled the room for bodies", close=True)
        self._offset += len(data)


def _no_room(error: OSError) -> Refusal:
    logger.error("the body of a request cannot be spooled: %s", error)
    return Refusal(503, f"the body cannot be spooled: {error}", close=True)
