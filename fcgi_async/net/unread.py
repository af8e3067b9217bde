"""How much of what was written the peer has not read: what only a unix socket's kernel can tell."""

from __future__ import annotations

import socket
import struct
import sys
from fcntl import ioctl
from typing import Final

__all__ = ("unread",)

# linux/sockios.h; on a unix socket it counts what the peer has not taken, on TCP what it has not acknowledged
_SIOCOUTQ: Final = 0x5411
_INT = struct.Struct("i")
_ROOM: Final = bytes(_INT.size)


def unread(sock: socket.socket) -> int:
    """Return how much of what was written is not read yet, in bytes of the kernel's memory; 0 where nobody can tell."""
    if sock.family != socket.AF_UNIX or sys.platform != "linux":
        return 0
    try:
        size: int = _INT.unpack(ioctl(sock.fileno(), _SIOCOUTQ, _ROOM))[0]
    except OSError:
        return 0
    return size
