"""Relays that people put before PHP-FPM, as processes that end with the test.

Whoever speaks to a relay does not see how FPM ends a connection: the relay reads everything at once, and a reset on
FPM's side becomes a clean end on the other.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Literal

from tests.interop.process import running
from tests.interop.server import SERVERS

RelayKind = Literal["socat", "socat on TCP", "systemd-socket-proxyd"]
RELAYS: tuple[RelayKind, ...] = ("socat", "socat on TCP", "systemd-socket-proxyd")


@asynccontextmanager
async def relay(kind: RelayKind, target: str, directory: Path) -> AsyncIterator[str]:
    """Run a relay, and yield its address.

    Args:
        kind: which.
        target: the address of a unix socket, as `unix:///path`.
        directory: for its socket and its log; a short path, since the kernel's limit for a socket is 107 bytes.
    """
    path, log = directory / "relay.sock", directory / "relay.log"
    fpm = target.removeprefix("unix://")
    if kind == "socat on TCP":
        # -d -d says on which port it listens
        command = [program("socat"), "-d", "-d", "TCP-LISTEN:0,bind=127.0.0.1,backlog=1024,fork", f"UNIX-CONNECT:{fpm}"]
        async with running(command, log, is_ready=lambda: port_in(log) is not None):
            yield f"tcp://127.0.0.1:{port_in(log)}"
        return
    if kind == "socat":
        command = [program("socat"), f"UNIX-LISTEN:{path},backlog=1024,fork", f"UNIX-CONNECT:{fpm}"]
    else:
        command = [sys.executable, str(SERVERS / "activate.py"), str(path), program("systemd-socket-proxyd"), fpm]
    async with running(command, log, is_ready=lambda: accepts(path)):
        yield f"unix://{path}"


def program(name: str) -> str:
    """Return the path of a program, which systemd keeps apart.

    Raises:
        RuntimeError: it is not installed.
    """
    places = [os.environ.get("PATH", os.defpath), "/usr/lib/systemd", "/lib/systemd"]
    found = shutil.which(name, path=os.pathsep.join(places))
    if found is None:
        raise RuntimeError(f"{name} is not installed; .ci/setup-others does it")
    return found


def port_in(log: Path) -> int | None:
    """Return the port of 127.0.0.1 on which socat says that it listens."""
    found = re.search(r"listening on \S+ 127\.0\.0\.1:(\d+)", log.read_text())
    return int(found[1]) if found else None


def accepts(path: Path) -> bool:
    """Whether somebody listens on a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        return sock.connect_ex(str(path)) == 0
