"""Proxies by which a server on a unix socket has several addresses, each of which may fall silent or be gone."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from pathlib import Path
from typing import Self

from tests.eventually import soon


class TcpProxy:
    """Passes on to a socket what comes to a port of the loopback, within a `with` block.

    Args:
        path: of the server's socket.

    Attributes:
        port: where it listens.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ended = False

    def __enter__(self) -> Self:
        with socket.create_server(("127.0.0.1", 0)) as found:
            self.port: int = found.getsockname()[1]
        ends = [f"TCP-LISTEN:{self.port},bind=127.0.0.1,reuseaddr,fork", f"UNIX-CONNECT:{self._path}"]
        # it and the processes that it makes for connections are told together
        self._running = subprocess.Popen(["socat", *ends], stderr=subprocess.DEVNULL, start_new_session=True)
        soon(self._listens)
        return self

    def __exit__(self, *exception: object) -> None:
        if not self._ended:
            self.end()

    def silence(self) -> None:
        """Pass on nothing any more: connections are taken, and stay, as those of a server that is stopped."""
        os.killpg(self._running.pid, signal.SIGSTOP)

    def end(self) -> None:
        """End all connections, and take no more, as a server that is killed."""
        self._ended = True
        os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()

    def _listens(self) -> bool:
        with socket.socket() as tried:
            return tried.connect_ex(("127.0.0.1", self.port)) == 0
