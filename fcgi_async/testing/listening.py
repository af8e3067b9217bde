"""Listen for a responder: on a socket in a private folder, on any free port, or on a given address."""

from __future__ import annotations

import os
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.address import Address, AddressFamily
from fcgi_async.net.listen import why_not

__all__ = ("Listener", "listening")

# hosts for which any free port is used
_LOOPBACK = {"tcp": "127.0.0.1", "tcp6": "[::1]"}
_SOCKET_NAME = "fcgi.sock"
# what sun_path holds on Linux, without the NUL
_LONGEST_SOCKET_PATH = 107


@attrs.frozen
class Listener:
    """A listening, non-blocking socket, and its address for clients."""

    sock: socket.socket
    address: str


@contextmanager
def listening(address: str | None, backlog: int) -> Iterator[Listener]:
    """Listen; afterwards close the socket, and remove the files.

    Args:
        address: None for a unix socket in a private folder, "tcp" for a free port of 127.0.0.1, "tcp6" for a free port
            of ::1, or an address.
        backlog: how many connections the kernel keeps waiting.

    Raises:
        ConfigurationError: `address` is not an address, or it is not possible to listen there.
    """
    if address is None:
        with (
            tempfile.TemporaryDirectory(prefix="fcgi-", dir=_short_folder()) as folder,
            _listening(Address.parse(f"unix://{folder}/{_SOCKET_NAME}"), backlog) as listener,
        ):
            yield listener
    elif address in _LOOPBACK:
        with _listening(_LOOPBACK[address], backlog) as listener:
            yield listener
    else:
        with _listening(Address.parse(address), backlog) as listener:
            yield listener


@contextmanager
def _listening(address: Address | str, backlog: int) -> Iterator[Listener]:
    family, place = _place(address)
    with socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
        try:
            if family is not socket.AF_UNIX:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(place)
            sock.listen(backlog)
        except OSError as error:
            raise ConfigurationError(f"a responder cannot listen at {address}: {why_not(error)}") from error
        try:
            yield Listener(
                sock, f"tcp://{address}:{sock.getsockname()[1]}" if isinstance(address, str) else str(address)
            )
        finally:
            if isinstance(address, Address) and address.family is AddressFamily.UNIX:
                Path(address.path).unlink(missing_ok=True)


def _place(address: Address | str) -> tuple[socket.AddressFamily, str | tuple[str, int]]:
    """Return the address to bind; a host without a port gets any free port."""
    if isinstance(address, str):
        return (socket.AF_INET6 if ":" in address else socket.AF_INET), (address.strip("[]"), 0)
    if address.family is AddressFamily.TCP:
        return (socket.AF_INET6 if ":" in address.host else socket.AF_INET), (address.host, address.port)
    return socket.AF_UNIX, address.path if address.family is AddressFamily.UNIX else "\0" + address.path


def _short_folder() -> str:
    """Return a folder for temporary folders; it is short enough for paths of sockets."""
    usual = tempfile.gettempdir()
    return usual if len(os.fsencode(f"{usual}/fcgi-xxxxxxxx/{_SOCKET_NAME}")) <= _LONGEST_SOCKET_PATH else "/tmp"
