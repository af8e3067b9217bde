"""How much of what was written the peer has not read: what only a unix socket's kernel can tell."""

from __future__ import annotations

import socket
import struct
import sys
from fcntl import ioctl
from typing import Final

__all__ = ("tells_unread", "unread")

# linux/sockios.h; on a unix socket it counts what the peer has not taken, on TCP what it has not acknowledged
_SIOCOUTQ: Final = 0x5411
_unpack = struct.Struct("i").unpack
_ROOM: Final = bytes(struct.calcsize("i"))


def unread(fd: int) -> int:
    """Return how much of what was written to a unix socket is not read yet, in bytes of the kernel's memory.

    0 if it is closed.
    """
    try:
        size: int = _unpack(ioctl(fd, _SIOCOUTQ, _ROOM))[0]
    except OSError:
        return 0
    return size


def tells_unread(sock: socket.socket) -> bool:
    """Return whether the kernel can tell it of a socket."""
    return sock.family == socket.AF_UNIX and sys.platform == "linux"
