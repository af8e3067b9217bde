"""Acknowledge received TCP data at once."""

from __future__ import annotations

import socket
from contextlib import suppress

__all__ = ("acknowledge",)


def acknowledge(sock: socket.socket) -> None:
    """Send the delayed TCP ACK now (Linux TCP_QUICKACK; applies once)."""
    if hasattr(socket, "TCP_QUICKACK"):
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
