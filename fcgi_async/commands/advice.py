"""What to check if a pool does not answer like PHP-FPM, in addition to the library's messages."""

from __future__ import annotations

import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from fcgi_async.errors import ConnectError, FastCGIError, QueueTimeout, RemoteProtocolError, StatusUnavailable
from fcgi_async.pool.silence import what_silence_means

__all__ = ("advise", "silent_pool", "sockets_beside")

_NOT_FPM = "what listens there is not PHP-FPM: compare the address with `listen` in FPM's pool configuration"
_WHICH_NAME = "check that the host's name is right, and that this machine can look it up"
# more sockets than this are not a list to choose from
_FEW: Final = 3
_CLOSED = "it accepts connections and closes them: check `listen.allowed_clients`, and that the address is one of FPM's"


def advise(error: Exception, address: str | None) -> str:
    """Return an error's text, with advice on what to check.

    Args:
        error: the error that ended the command.
        address: the pool named on the command line; None for a private one.
    """
    found = _advice(error, address)
    said = str(error).removeprefix(f"[Errno {error.errno}] ") if isinstance(error, OSError) else str(error)
    return said if found is None else f"{said}; {found}"


def silent_pool(address: str, seconds: float) -> str:
    """Return the message for a pool if no worker answered within some seconds."""
    return f"{address}: no worker answered within {seconds:g} s: {what_silence_means(answered=False)}"


def sockets_beside(path: str) -> str:
    """Return which sockets are in the folder of a missing one; empty if there is none."""
    try:
        names = sorted(entry.name for entry in os.scandir(Path(path).parent) if stat.S_ISSOCK(entry.stat().st_mode))
    except OSError:
        return ""
    return f"{Path(path).parent} has {', '.join(names)}" if 0 < len(names) <= _FEW else ""


def _advice(error: Exception, address: str | None) -> str | None:
    causes = tuple(_causes(error))
    if any(isinstance(cause, FileNotFoundError) for cause in causes) and isinstance(error, FastCGIError):
        return sockets_beside((error.endpoint or "").removeprefix("unix://")) or None
    if isinstance(error, QueueTimeout):
        return None if address is None else f"`fcgi-async ping {address}` tells whether a worker answers at all"
    if not isinstance(error, ConnectError | StatusUnavailable):
        return None
    if any(isinstance(cause, RemoteProtocolError) for cause in causes):
        return _NOT_FPM
    if any(isinstance(cause, socket.gaierror) for cause in causes):
        return _WHICH_NAME
    if isinstance(error, StatusUnavailable) and any(isinstance(cause, ConnectionResetError) for cause in causes):
        return _CLOSED
    return None


def _causes(error: BaseException) -> Iterator[BaseException]:
    cause = error.__cause__
    while cause is not None:
        yield cause
        cause = cause.__cause__
