"""`fcgi-async serve` as a process, and its visitors."""

from __future__ import annotations

import os
import re
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
import httpx

from tests.cli.conftest import SECONDS, Result, StartCommand, Started

__all__ = ("Served", "client", "serving")

_GREETING = re.compile(rb"fcgi-async: serving (\S+) on (\S+?),.* by (.*)\n")


@attrs.define(eq=False)
class Served:
    """A site that is served.

    Attributes:
        url: the first of its addresses.
        root: its document root, as the command says it.
        by: what the command says of its workers.
        started: the process.
    """

    url: str
    root: str
    by: str
    started: Started
    _err: bytearray

    def read_err(self, wanted: str) -> str:
        """Return what it has written to standard error, as soon as `wanted` is in it."""
        stream = self.started.process.stderr
        assert stream is not None
        _read_until(stream.fileno(), self._err, lambda: wanted.encode() in self._err)
        return self._err.decode()

    def end(self, number: signal.Signals = signal.SIGTERM) -> Result:
        """Ask it to end; return how it did."""
        self.started.process.send_signal(number)
        result = self.started.end()
        return Result(result.code, result.out, self._err.decode() + result.err)


@contextmanager
def serving(start: StartCommand, *arguments: str | Path) -> Iterator[Served]:
    """Run the command until the block is left, and at any free port unless told otherwise."""
    listen = () if any(str(argument).startswith("--listen") for argument in arguments) else ("--listen=127.0.0.1:0",)
    started = start("serve", *arguments, *listen)
    assert started.process.stderr is not None
    said = bytearray()
    _read_until(started.process.stderr.fileno(), said, lambda: _GREETING.search(said))
    found = _GREETING.search(said)
    assert found is not None
    try:
        yield Served(found[2].decode(), found[1].decode(), found[3].decode(), started, said)
    finally:
        if started.process.poll() is None:
            started.process.terminate()
            started.end()


def client(url: str) -> httpx.Client:
    """A visitor of a port, or of a unix socket, with a connection for each request."""
    limits = httpx.Limits(max_keepalive_connections=0)
    if url.startswith("unix:"):
        transport = httpx.HTTPTransport(uds=url.removeprefix("unix:"), limits=limits)
        return httpx.Client(base_url="http://site.test", transport=transport, timeout=SECONDS)
    return httpx.Client(base_url=url, timeout=SECONDS, limits=limits)


def _read_until(fd: int, read: bytearray, enough: object) -> None:
    assert callable(enough)
    deadline = time.monotonic() + SECONDS
    while not enough():
        ready, _, _ = select.select([fd], [], [], max(0.0, deadline - time.monotonic()))
        data = os.read(fd, 65536) if ready else b""
        assert data, f"it says only {bytes(read)!r}"
        read += data
