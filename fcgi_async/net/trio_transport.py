"""The transport on trio: one task reads, another writes what the socket did not take at once."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from socket import SHUT_RD, SHUT_RDWR, socket

import trio

from fcgi_async.net.acknowledge import acknowledge
from fcgi_async.net.transport import COPIED_READ, READ_SIZE, WRITE_HIGH, TransportHandler
from fcgi_async.net.unread import unread

__all__ = ("TrioTransport",)


class TrioTransport:
    """Pushes what a reader task reads into the handler.

    Args:
        sock: connected, not blocking.
        handler: who gets what is read.
        spawn: starts a task.
        buffer: what is read into; may be shared, since it is empty again when the handler returns.
    """

    def __init__(
        self,
        sock: socket,
        handler: TransportHandler,
        spawn: Callable[[Callable[[], Awaitable[None]]], object],
        buffer: memoryview,
    ) -> None:
        self._sock = sock
        self._handler = handler
        self._spawn = spawn
        self._buffer = buffer
        self._unsent = bytearray()
        self._writing = False
        self._writing_paused = False
        # set while reading is allowed
        self._reading = trio.Event()
        self._reading.set()
        self._shut = False
        self._closed = False
        spawn(self._read)

    def write(self, data: bytes) -> bool:
        if self._closed:
            return False
        sent = 0
        if not self._unsent:
            try:
                sent = self._sock.send(data)
            except (BlockingIOError, InterruptedError):
                pass
            except OSError:
                return False
        if sent < len(data):
            self._unsent += memoryview(data)[sent:]
            self._pause_or_resume()
            if not self._writing:
                self._writing = True
                self._spawn(self._write)
        return True

    @property
    def unsent(self) -> int:
        return len(self._unsent)

    @property
    def unread(self) -> int:
        return unread(self._sock)

    def acknowledge(self) -> None:
        acknowledge(self._sock)

    def pause_reading(self) -> None:
        if self._reading.is_set():
            self._reading = trio.Event()

    def resume_reading(self) -> None:
        self._reading.set()

    def shut_reading(self) -> None:
        # the reader would take the shut side for the peer's EOF
        self._shut = True
        self.pause_reading()
        with suppress(OSError):
            self._sock.shutdown(SHUT_RD)

    def abort(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._unsent.clear()
        self._reading.set()
        with suppress(OSError):
            self._sock.shutdown(SHUT_RDWR)
        trio.lowlevel.notify_closing(self._sock)
        self._sock.close()

    async def _read(self) -> None:
        failure: Exception | None = None
        try:
            while not self._closed:
                await trio.lowlevel.wait_readable(self._sock)
                if not self._reading.is_set():
                    await self._reading.wait()
                    continue
                try:
                    size = self._sock.recv_into(self._buffer)
                except (BlockingIOError, InterruptedError):
                    continue
                if not size:
                    self._handler.eof_received()
                    break
                data = self._buffer[:size]
                # what is small is cheaper to work with as bytes
                self._handler.data_received(data if size > COPIED_READ else bytes(data))
        except trio.ClosedResourceError:
            pass
        except OSError as error:
            failure = None if self._closed else error
        finally:
            self.abort()
            self._handler.connection_lost(failure)

    async def _write(self) -> None:
        try:
            while self._unsent:
                await trio.lowlevel.wait_writable(self._sock)
                with suppress(BlockingIOError, InterruptedError):
                    # a slice first: send() on the whole buffer would forbid its resizing
                    del self._unsent[: self._sock.send(bytes(self._unsent[:READ_SIZE]))]
                    self._pause_or_resume()
        except (OSError, trio.ClosedResourceError):
            # the reader meets the same end, after what the peer sent before it; what was not taken stays `unsent`
            if self._shut:
                self._reading.set()
        finally:
            self._writing = False

    def _pause_or_resume(self) -> None:
        size = len(self._unsent)
        if not self._writing_paused and size > WRITE_HIGH:
            self._writing_paused = True
            self._handler.pause_writing()
        elif self._writing_paused and size <= WRITE_HIGH // 4:
            self._writing_paused = False
            self._handler.resume_writing()
