"""The transport on asyncio: an asyncio.Protocol, without a reader task."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from socket import SHUT_RD, SHUT_RDWR, socket
from typing import cast

from fcgi_async.net.acknowledge import acknowledge
from fcgi_async.net.transport import COPIED_READ, WRITE_HIGH, TransportHandler
from fcgi_async.net.unread import unread

__all__ = ("AsyncioTransport", "BufferedAsyncioTransport")


class AsyncioTransport(asyncio.Protocol):
    """Pushes what the event loop reads into the handler.

    Once bytes wait in the event loop's own buffer, an error met in writing them ends the connection there and then,
    and what the peer sent before is lost; asyncio and uvloop allow no better.
    """

    def __init__(self, sock: socket, handler: TransportHandler) -> None:
        self._sock = sock
        self._handler = handler
        self._transport: asyncio.Transport | None = None
        # instance attributes, so that the loop calls the handler itself
        self.data_received = handler.data_received  # type: ignore[method-assign]
        self.pause_writing = handler.pause_writing  # type: ignore[method-assign]
        self.resume_writing = handler.resume_writing  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._transport.set_write_buffer_limits(high=WRITE_HIGH)

    def eof_received(self) -> bool:
        self._handler.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._handler.connection_lost(exc)

    def write(self, data: bytes) -> bool:
        transport = self._transport
        if transport is None or transport.is_closing():
            return False
        if transport.get_write_buffer_size():
            transport.write(data)
            return True
        try:
            sent = self._sock.send(data)
        except (BlockingIOError, InterruptedError):
            sent = 0
        except OSError:
            return False
        if sent < len(data):
            transport.write(memoryview(data)[sent:])
        return True

    @property
    def unsent(self) -> int:
        return 0 if self._transport is None else self._transport.get_write_buffer_size()

    @property
    def unread(self) -> int:
        return unread(self._sock)

    def acknowledge(self) -> None:
        acknowledge(self._sock)

    def pause_reading(self) -> None:
        if self._transport is not None:
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        if self._transport is not None:
            self._transport.resume_reading()

    def shut_reading(self) -> None:
        # the loop would take the shut side for the peer's EOF, and close
        self.pause_reading()
        with suppress(OSError):
            self._sock.shutdown(SHUT_RD)

    def abort(self) -> None:
        # asyncio closes the descriptor only in its next turn; the peer must know now
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)
        if self._transport is None:
            self._sock.close()
        else:
            self._transport.abort()


class BufferedAsyncioTransport(AsyncioTransport, asyncio.BufferedProtocol):
    """The same where the loop would allocate READ_SIZE bytes for every read, as asyncio's own do.

    So large a block comes from mmap() and goes back by munmap(), which costs more than the read.

    Args:
        buffer: what is read into; may be shared, since it is empty again when the handler returns.
    """

    def __init__(self, sock: socket, handler: TransportHandler, buffer: memoryview) -> None:
        super().__init__(sock, handler)
        self._buffer = buffer

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        data = self._buffer[:nbytes]
        # what is small is cheaper to work with as bytes
        self._handler.data_received(data if nbytes > COPIED_READ else bytes(data))
