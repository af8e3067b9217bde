"""An ASGI service in a process of its own, under a real server, that ends with the test."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx

ROOT = Path(__file__).parents[2]
_RUNNING = re.compile(r"(?:running on|listening at:|serving \S+ on) (http://[\d.]+:\d+)", re.IGNORECASE)
_DEADLINE = 30.0


@attrs.define(eq=False)
class Service:
    """One that runs.

    Attributes:
        url: where it listens, a free port of 127.0.0.1.
        process: the server, or the one that looks after its workers.
    """

    url: str
    process: subprocess.Popen[bytes]
    _log: Path

    def log(self) -> str:
        """What it has said so far."""
        return self._log.read_text()

    def client(self) -> httpx.Client:
        """A client for it, with a connection for each request."""
        return httpx.Client(base_url=self.url, timeout=_DEADLINE, limits=httpx.Limits(max_keepalive_connections=0))

    def end(self) -> int:
        """Ask it to end, as a container manager does, and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(_DEADLINE)


def uvicorn(app: str, *options: str) -> list[str]:
    """The command that serves an application under uvicorn, at any free port."""
    return [sys.executable, "-m", "uvicorn", app, "--port", "0", *options]


def hypercorn(app: str, *options: str) -> list[str]:
    """The command that serves an application under hypercorn, at any free port."""
    return [sys.executable, "-m", "hypercorn", app, "--bind", "127.0.0.1:0", *options]


def granian(app: str, *options: str) -> list[str]:
    """The command that serves an application under granian, at a port that is free now: it tells none that it chose."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    return [sys.executable, "-m", "granian", "--interface", "asgi", "--port", str(port), *options, app]


@contextmanager
def serving(
    command: list[str], environment: Mapping[str, str], directory: Path, *, workers: int = 1, cwd: Path = ROOT
) -> Iterator[Service]:
    """Run a service until the block is left; its log is in `directory`.

    Args:
        command: what runs it.
        environment: added to our own.
        directory: where its log goes.
        workers: how many processes have to be ready.
        cwd: where it runs.
    """
    log = directory / "service.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=os.environ | {"PYTHONUNBUFFERED": "1"} | dict(environment),
            cwd=cwd,
            start_new_session=True,
        )
    try:
        yield Service(_wait_until_ready(process, log, workers), process, log)
    finally:
        if process.poll() is None:
            # its workers with it
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path, workers: int) -> str:
    deadline = time.monotonic() + _DEADLINE
    while True:
        text = log.read_text()
        found = _RUNNING.search(text)
        # uvicorn says it of every worker; hypercorn says where it runs once its application has started
        if found and ("Uvicorn" not in text or text.count("Application startup complete") >= workers):
            return found[1]
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"{process.args!r} did not start: {text}")
        time.sleep(0.01)
