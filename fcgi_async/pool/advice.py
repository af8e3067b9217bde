"""What to do about a peer that cannot be reached."""

from __future__ import annotations

import errno
import socket
import stat
from pathlib import Path

from fcgi_async.errors import ProtocolError

__all__ = ("explain",)

_UNIX = "unix://"
_MODE = (
    "this user may not open the socket; add the user to its group and log in again, or check `listen.owner`, "
    "`listen.group` and `listen.mode`"
)
_ADVICE = {
    errno.ENOENT: "there is no such socket; compare with `listen` in FPM's pool configuration, and check that FPM runs",
    errno.ECONNREFUSED: "nothing listens there; check that FPM runs, and that the address is the one in `listen`",
    errno.EACCES: _MODE,
    errno.EPERM: _MODE,
    errno.ECONNRESET: "it closed before it answered; check `listen.allowed_clients`, and that the port speaks FastCGI",
    errno.ETIMEDOUT: "the handshake took too long; check the address, firewalls and `listen.backlog`",
    errno.ENOTDIR: "its path leads through a file; compare with `listen` in FPM's pool configuration",
}


def explain(name: str, cause: Exception | None) -> str:
    """Return why the peer cannot be reached, and what to do.

    Args:
        name: the peer's address.
        cause: the error of connecting to it; None if it closed before it answered.
    """
    return f"cannot reach PHP-FPM at {name}: {_advice(name, cause)}"


def _advice(name: str, cause: Exception | None) -> str:
    if cause is None:
        return _ADVICE[errno.ECONNRESET]
    if isinstance(cause, TimeoutError):
        return _ADVICE[errno.ETIMEDOUT]
    if isinstance(cause, socket.gaierror):
        return f"the host's name cannot be resolved ({cause.strerror}); check its spelling, or give an IP address"
    if isinstance(cause, OSError) and cause.errno in _ADVICE:
        found = _other_than_a_socket(name) if cause.errno == errno.ECONNREFUSED else None
        return found or _ADVICE[cause.errno]
    if isinstance(cause, ProtocolError):
        return f"{cause}; give the address in FPM's `listen`, not that of a web server"
    return str(cause)


def _other_than_a_socket(name: str) -> str | None:
    """Return what is at the path instead of a unix socket, or None."""
    path = name.removeprefix(_UNIX)
    if path == name or path.startswith("@"):
        return None
    try:
        mode = Path(path).stat().st_mode
    except OSError:
        return None
    if stat.S_ISSOCK(mode):
        return None
    kind = "a directory" if stat.S_ISDIR(mode) else "a file"
    return f"this is {kind}, not a socket; give the socket's path, which is `listen` in FPM's pool configuration"
