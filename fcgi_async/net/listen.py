"""Create listening sockets: on a port, or at the path of a unix socket."""

from __future__ import annotations

import errno
import os
import socket
import stat
from typing import Final

__all__ = ("listen_at_path", "listen_at_port", "why_not")

_CURES: Final = {
    errno.EADDRINUSE: "end the program that listens there, or choose another address",
    errno.EADDRNOTAVAIL: "choose an address of this machine, such as 127.0.0.1",
    errno.EACCES: "choose a port from 1024 on, or a folder that this user may write to",
    errno.ENOENT: "make the folder, or choose another path",
}


def why_not(error: OSError) -> str:
    """Return why it is not possible to listen at an address, and what to do."""
    cure = _CURES.get(error.errno or 0)
    said = error.strerror or str(error)
    return said if cure is None else f"{said}; {cure}"


def listen_at_port(host: str, port: int, backlog: int) -> socket.socket:
    """Return a socket that listens on a port of this machine.

    Raises:
        OSError: the port is in use, or the host is not an address of this machine.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def listen_at_path(path: str, mode: int, backlog: int) -> socket.socket:
    """Return a socket that listens at a path; a socket file without a listener is replaced.

    Raises:
        OSError: another process listens there, or the socket file cannot be created.
    """
    _remove_left_behind(path)
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listening.bind(path)
        os.chmod(path, mode)
        listening.listen(backlog)
    except OSError:
        listening.close()
        raise
    return listening


def _remove_left_behind(path: str) -> None:
    """Remove the socket file of a program that has ended."""
    try:
        if not stat.S_ISSOCK(os.stat(path).st_mode):
            return
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            os.unlink(path)
