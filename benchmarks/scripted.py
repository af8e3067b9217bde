"""A FastCGI peer in the client's own thread, which has answered everything before the event loop looks.

A peer in another process answers when it comes to it, so that a client takes sometimes one answer and sometimes four
in a turn of its loop, and each way runs other instructions. Here the peer is pumped before each look at the sockets:
whatever was written until then is answered whole, response and tail's answer, and the client always sees the same.
"""

from __future__ import annotations

import asyncio
import selectors
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from struct import Struct
from typing import Any

import anyio
import trio
import uvloop

# made here and not by our encoders, which would be counted
RECORD = Struct("!BBHHBx")
END_REQUEST, STDIN, STDOUT, STDERR, GET_VALUES, GET_VALUES_RESULT = 3, 5, 6, 7, 9, 10
HEAD = b"X-Powered-By: PHP/8.2\r\nContent-type: text/html; charset=UTF-8\r\n\r\n"
MULTIPLEXING = b"\x0f\x01FCGI_MPXS_CONNS0"
MESSAGE = b"PHP message: a message for whoever reads the log"


def record(kind: int, request_id: int, content: bytes) -> bytes:
    return RECORD.pack(1, kind, request_id, len(content), 0) + content


class ScriptedPeer:
    """A worker pool that answers each request with "ok".

    Args:
        path: of its socket.
        message: whether each request has a message on standard error too.
    """

    def __init__(self, path: Path, *, message: bool) -> None:
        self.address = f"unix://{path}"
        self._message = message
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.setblocking(False)
        self._listener.bind(str(path))
        self._listener.listen(64)
        self._unread: dict[socket.socket, bytes] = {}
        # connections that have not served a request
        self._new: set[socket.socket] = set()

    def pump(self) -> None:
        """Answer everything that has come."""
        try:
            while True:
                connection, _ = self._listener.accept()
                connection.setblocking(False)
                self._unread[connection] = b""
                self._new.add(connection)
        except BlockingIOError:
            pass
        for connection in list(self._unread):
            try:
                while data := connection.recv(self._size(connection)):
                    if self._receive(connection, data) and connection in self._new:
                        self._new.remove(connection)
                        break
                else:
                    connection.close()
                    del self._unread[connection]
            except BlockingIOError:
                continue
            except OSError:
                connection.close()
                del self._unread[connection]

    def _size(self, connection: socket.socket) -> int:
        """Return how much to read: of the first request not what follows it, as PHP-FPM does while its script runs."""
        size = 65536
        if connection in self._new:
            held = self._unread[connection]
            came = held + connection.recv(size, socket.MSG_PEEK)
            at: int = 0
            while at + RECORD.size <= len(came):
                _, kind, _, length, padding = RECORD.unpack_from(came, at)
                at += RECORD.size + length + padding
                if kind == STDIN and not length:
                    size = at - len(held)
                    break
        return size

    def _receive(self, connection: socket.socket, data: bytes) -> bool:
        """Answer what has come; return whether that was a request."""
        data, answer, served = self._unread[connection] + data, b"", False
        while len(data) >= RECORD.size:
            _, kind, request_id, length, padding = RECORD.unpack_from(data)
            end = RECORD.size + length + padding
            if len(data) < end:
                break
            content, data = data[RECORD.size : RECORD.size + length], data[end:]
            if kind == GET_VALUES:
                answer += record(GET_VALUES_RESULT, 0, MULTIPLEXING if b"FCGI_MPXS_CONNS" in content else b"")
            elif kind == STDIN and not length:
                served = True
                answer += record(STDERR, request_id, MESSAGE) if self._message else b""
                answer += record(STDOUT, request_id, HEAD + b"ok") + record(END_REQUEST, request_id, bytes(8))
        self._unread[connection] = data
        if answer:
            connection.sendall(answer)
        return served


class PumpingSelector(selectors.DefaultSelector):
    """asyncio's way to look at its sockets, and the peer's turn before it."""

    def __init__(self, pump: Callable[[], None]) -> None:
        super().__init__()
        self._pump = pump

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self._pump()
        return super().select(timeout)


class PumpingInstrument(trio.abc.Instrument):
    """The same for trio."""

    def __init__(self, pump: Callable[[], None]) -> None:
        self._pump = pump

    def before_io_wait(self, timeout: float) -> None:
        self._pump()


def pumping_uvloop(pump: Callable[[], None]) -> asyncio.AbstractEventLoop:
    """Return a loop that pumps in each of its turns, and so never sleeps."""
    loop = uvloop.new_event_loop()

    def turn() -> None:
        pump()
        loop.call_soon(turn)

    loop.call_soon(turn)
    return loop


def run_with(pump: Callable[[], None], backend: str, main: Callable[[], Awaitable[Any]]) -> Any:
    """Run a coroutine function on "asyncio", "uvloop" or "trio", the turns of `pump` in between."""
    if backend == "trio":
        return anyio.run(main, backend="trio", backend_options={"instruments": [PumpingInstrument(pump)]})
    makers: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
        "asyncio": lambda: asyncio.SelectorEventLoop(PumpingSelector(pump)),
        "uvloop": lambda: pumping_uvloop(pump),
    }
    return anyio.run(main, backend_options={"loop_factory": makers[backend]})
