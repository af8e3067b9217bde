"""Listen for a gateway: on a unix socket, a loopback port, or an inherited socket."""

from __future__ import annotations

import errno
import logging
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from ipaddress import ip_address

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.address import Address, AddressFamily
from fcgi_async.net.backend import Backend, Watch
from fcgi_async.net.listen import listen_at_path, listen_at_port, why_not

__all__ = ("Acceptor", "ListeningSocket", "listen")

logger = logging.getLogger("fcgi_async.gateway")

_BACKLOG = 4096
# connections accepted in one turn, before other tasks run
_ACCEPTED_AT_ONCE = 64
# seconds without accepting when no descriptors are left
_PAUSE_SECONDS = 0.5
_NO_ROOM = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class ListeningSocket:
    """A socket that listens.

    Args:
        sock: a listening socket.
        path: the path of a unix socket, removed on closing; None if there is nothing to remove.

    Attributes:
        address: its address for clients.
    """

    def __init__(self, sock: socket.socket, path: str | None) -> None:
        sock.setblocking(False)
        self.sock, self._path = sock, path
        self._inode = None if path is None else os.stat(path).st_ino
        self.address = _name(sock)

    def close(self) -> None:
        """Close it, and remove its file."""
        self.sock.close()
        if self._path is not None:
            with suppress(FileNotFoundError):
                # another socket may have replaced it
                if os.stat(self._path).st_ino == self._inode:
                    os.unlink(self._path)


def listen(where: str | socket.socket, mode: int) -> ListeningSocket:
    """Return a socket that listens there.

    Args:
        where: an address, or a listening socket.
        mode: the permissions of a unix socket.

    Raises:
        ConfigurationError: it is not an address, it is not possible to listen there, or other machines could connect.
    """
    if isinstance(where, socket.socket):
        if not where.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise ConfigurationError("the socket that a gateway was given does not listen")
        return ListeningSocket(where, None)
    address = Address.parse(where)
    try:
        if address.family is AddressFamily.UNIX:
            return ListeningSocket(listen_at_path(address.path, mode, _BACKLOG), address.path)
        if address.family is AddressFamily.ABSTRACT:
            return ListeningSocket(_abstract(address.path), None)
        host = "127.0.0.1" if address.host == "localhost" else address.host
        _require_loopback(host, address)
        return ListeningSocket(listen_at_port(host, address.port, _BACKLOG), None)
    except OSError as error:
        raise ConfigurationError(f"a gateway cannot listen at {address}: {why_not(error)}") from error


def _abstract(name: str) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind("\0" + name)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def _require_loopback(host: str, address: Address) -> None:
    try:
        is_local = ip_address(host).is_loopback
    except ValueError:
        is_local = False
    if not is_local:
        raise ConfigurationError(
            f"a gateway does not listen at {address}: every client can run any PHP file. Use a unix socket, or "
            "127.0.0.1; a socket of your own is taken as it is"
        )


def _name(sock: socket.socket) -> str:
    if sock.family == socket.AF_UNIX:
        name: str | bytes = sock.getsockname()
        return f"unix://@{name[1:].decode()}" if isinstance(name, bytes) else f"unix://{name}"
    host, port = sock.getsockname()[:2]
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


class Acceptor:
    """Accepts connections while there is room.

    Args:
        listening: the listening socket.
        backend: the event loop.
        taken: called with each connection.
        has_room: returns whether another one may be accepted; call `resume()` when there is room again.
    """

    def __init__(
        self,
        listening: ListeningSocket,
        backend: Backend,
        taken: Callable[[socket.socket], None],
        has_room: Callable[[], bool],
    ) -> None:
        self._listening, self._backend, self._taken, self._has_room = listening, backend, taken, has_room
        self._closed = False
        self._watch: Watch = backend.watch(listening.sock, self._accept, lambda: None)
        self._watch.read(True)

    def resume(self) -> None:
        """Accept connections again."""
        if not self._closed:
            self._watch.read(True)

    def close(self) -> None:
        """Stop accepting; waiting connections are refused."""
        if not self._closed:
            self._closed = True
            self._watch.close()
            self._listening.close()

    def _accept(self) -> None:
        for _ in range(_ACCEPTED_AT_ONCE):
            if self._closed:
                return
            if not self._has_room():
                self._watch.read(False)
                return
            try:
                sock, _ = self._listening.sock.accept()
            except BlockingIOError:
                return
            except OSError as error:
                if error.errno in _NO_ROOM:
                    logger.warning("no connection can be accepted, trying again in %s s: %s", _PAUSE_SECONDS, error)
                    self._watch.read(False)
                    self._backend.call_at(self._backend.now() + _PAUSE_SECONDS, self.resume)
                    return
                continue
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._taken(sock)
