"""Acknowledge at once what came over TCP."""

from __future__ import annotations

import socket
from contextlib import suppress

__all__ = ("acknowledge",)


def acknowledge(sock: socket.socket) -> None:
    """Send the acknowledgement that the kernel puts off, where it can be told to (Linux); it stays so for this once."""
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
