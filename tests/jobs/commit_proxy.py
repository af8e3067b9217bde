"""A proxy before PostgreSQL's socket that cuts the connection in the middle of a COMMIT."""

from __future__ import annotations

import socket
import tempfile
import threading
from contextlib import suppress
from pathlib import Path
from typing import Literal, Self

_PORT = ".s.PGSQL.5432"


class CommitProxy:
    """Passes everything on within a `with` block, unless it is told to cut.

    Args:
        server: the directory of the server's socket.

    Attributes:
        directory: of its own socket.
        cut: how many COMMITs to come are cut, each with its connection: "before" they reach the server, or "after" it
            has answered, so that only the answer is lost.
        cuts: how many were.
    """

    def __init__(self, server: Path) -> None:
        self._server = server
        self.cuts = 0
        self._left = 0
        self._where: Literal["before", "after"] = "before"
        self._lock = threading.Lock()

    def cut(self, where: Literal["before", "after"], count: int = 1) -> None:
        """Cut so many of the COMMITs to come."""
        with self._lock:
            self._where, self._left = where, count

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory(prefix="proxy-")
        self.directory = Path(self._folder.name)
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.directory / _PORT))
        self._listener.listen()
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._server / _PORT))
            except OSError:
                server.close()
                client.close()
                continue
            # set once nothing of the server's is passed on any more
            deaf = threading.Event()
            threading.Thread(target=self._up, args=(client, server, deaf), daemon=True).start()
            threading.Thread(target=self._down, args=(client, server, deaf), daemon=True).start()

    def _up(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := client.recv(1 << 16):
                # a message of its own: the type, four bytes of length, the text
                where = self._take() if data[:1] == b"Q" and data[5:11] == b"COMMIT" else None
                if where == "before":
                    break
                if where == "after":
                    deaf.set()
                server.sendall(data)
                if where == "after":
                    return
        _close(client, server)

    def _down(self, client: socket.socket, server: socket.socket, deaf: threading.Event) -> None:
        with suppress(OSError):
            while data := server.recv(1 << 16):
                if deaf.is_set():
                    break
                client.sendall(data)
        _close(client, server)

    def _take(self) -> Literal["before", "after"] | None:
        with self._lock:
            if not self._left:
                return None
            self._left -= 1
            self.cuts += 1
            return self._where


def _close(*sockets: socket.socket) -> None:
    for each in sockets:
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)
        each.close()
