"""How many written bytes the peer has not read yet (SIOCOUTQ, unix sockets)."""

from __future__ import annotations

import socket
import struct
import sys
from fcntl import ioctl
from typing import Final

__all__ = ("tells_unread", "unread")

# linux/sockios.h; on a unix socket it counts bytes that the peer has not read, on TCP those not acknowledged
_SIOCOUTQ: Final = 0x5411
_unpack = struct.Struct("i").unpack
_NOTHING: Final = bytes(struct.calcsize("i"))


def unread(fd: int) -> int:
    """Return how much of the data written to a unix socket is not read yet, in bytes of the kernel's memory.

    It is 0 if the socket is closed.
    """
    try:
        found = ioctl(fd, _SIOCOUTQ, _NOTHING)
    except OSError:
        return 0
    return 0 if found == _NOTHING else int(_unpack(found)[0])


def tells_unread(sock: socket.socket) -> bool:
    """Return whether the kernel can tell this for a socket."""
    return sock.family == socket.AF_UNIX and sys.platform == "linux"
