"""A proxy before PostgreSQL that falls silent, as a network does that is cut: no connection ends, none begins."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

_SOCKET = ".s.PGSQL.5432"
_START_SECONDS = 20


class SilentProxy:
    """Passes everything on within a `with` block, until it is silenced.

    Args:
        server: the directory of the server's socket.

    Attributes:
        directory: of its own socket.
    """

    def __init__(self, server: Path) -> None:
        self._server = server

    def __enter__(self) -> Self:
        self.directory = Path(tempfile.mkdtemp(prefix="proxy-"))
        ends = [f"UNIX-LISTEN:{self.directory / _SOCKET},fork", f"UNIX-CONNECT:{self._server / _SOCKET}"]
        # it and the processes that it makes for connections are told together
        self._running = subprocess.Popen(["socat", *ends], stderr=subprocess.DEVNULL, start_new_session=True)
        deadline = time.monotonic() + _START_SECONDS
        while not (self.directory / _SOCKET).exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        return self

    def __exit__(self, *exception: object) -> None:
        os.killpg(self._running.pid, signal.SIGKILL)
        self._running.wait()
        shutil.rmtree(self.directory)

    def silence(self) -> None:
        """Pass on nothing any more."""
        os.killpg(self._running.pid, signal.SIGSTOP)
