"""Where peers of the tests' own listen."""

from __future__ import annotations

import socket
from pathlib import Path

from fcgi_async.net.address import Address, AddressFamily


def listening(address: str, backlog: int = 64) -> socket.socket:
    """Return a listening socket, non-blocking; port 1 stands for any free one."""
    parsed = Address.parse(address)
    if parsed.family is AddressFamily.TCP:
        family = socket.AF_INET6 if ":" in parsed.host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        place: str | tuple[str, int] = (parsed.host, 0 if parsed.port == 1 else parsed.port)
    else:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        place = parsed.path if parsed.family is AddressFamily.UNIX else "\0" + parsed.path
    try:
        sock.bind(place)
        sock.listen(backlog)
    except BaseException:
        sock.close()
        raise
    return sock


def bound_address(listener: socket.socket, asked: str) -> str:
    """Return the address that a listener was given."""
    if listener.family == socket.AF_UNIX:
        return asked
    host, port = listener.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def unix_address(folder: Path, name: str = "fcgi.sock") -> str:
    """Return the address of a socket in a folder."""
    return f"unix://{folder / name}"
