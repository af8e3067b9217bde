"""The process that listens on a unix socket, as far as the kernel tells."""

from __future__ import annotations

import os
import re
import socket
import struct
from pathlib import Path
from typing import Final

import attrs

from fcgi_async.net.address import Address, AddressFamily

__all__ = ("Listener", "listener_of")

_PEER_CREDENTIALS: Final = struct.Struct("3i")
# php-fpm8.2 on Debian, php-fpm on RHEL and in containers, php-fpm82 on Alpine; php-cgi reads its socket the same way
_PHP: Final = re.compile(r"php.*fpm|php.*cgi")


@attrs.frozen
class Listener:
    """The process that listens on a socket, and the socket's file.

    Equal values mean the same listener; a new listener binds a new file.

    Attributes:
        pid: the process that called listen(); 0 if it is in another process namespace, or on TCP.
        inode: the inode of the socket's file; 0 for an abstract name and for TCP.
        is_php: whether the process is certainly PHP itself, not a relay in front of it.
    """

    pid: int
    inode: int
    is_php: bool


NOBODY: Final = Listener(0, 0, False)


def listener_of(sock: socket.socket, address: Address) -> Listener:
    """Return the listener at the other end of a connected socket."""
    if sock.family != socket.AF_UNIX or not hasattr(socket, "SO_PEERCRED"):
        return NOBODY
    try:
        credentials = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER_CREDENTIALS.size)
        pid: int = _PEER_CREDENTIALS.unpack(credentials)[0]
        inode = os.stat(address.path).st_ino if address.family is AddressFamily.UNIX else 0
    except OSError:
        return NOBODY
    return Listener(pid, inode, _is_php(pid))


def _is_php(pid: int) -> bool:
    try:
        return _PHP.match(Path(f"/proc/{pid}/comm").read_text()) is not None
    except OSError:
        return False
