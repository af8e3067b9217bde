"""The sockets of a site: ports, unix sockets, and sockets that another program has opened."""

from __future__ import annotations

import os
import socket
from contextlib import suppress

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.net.listen import listen_at_path, listen_at_port, why_not

__all__ = ("Listening", "listen")

_BACKLOG = 2048
# like a loopback port: every user of this machine may connect
_SITE_MODE = 0o666


@attrs.frozen
class Listening:
    """A listening socket.

    Attributes:
        socket: the socket.
        name: its name in messages: an address, or the path of a unix socket.
        path: the path of a unix socket that `close()` removes; None if there is nothing to remove.
        is_local: whether only this machine can connect to it.
    """

    socket: socket.socket
    name: str
    path: str | None
    is_local: bool

    def url(self, scheme: str) -> str:
        """Return its URL."""
        return f"{scheme}://{self.name}/" if self.socket.family != socket.AF_UNIX else f"unix:{self.name}"

    def close(self) -> None:
        """Close it, and remove its file."""
        self.socket.close()
        if self.path is not None:
            # another socket may have replaced it
            with suppress(FileNotFoundError):
                os.unlink(self.path)


def listen(text: str, *, option: str = "--listen", mode: int = _SITE_MODE) -> Listening:
    """Return a socket that listens at `host:port`, `unix:PATH`, or is the open descriptor `fd:N`.

    Args:
        text: the value; port 0 is any free port. A unix socket without a listener is replaced.
        option: the option that has the value.
        mode: the permissions of a unix socket.

    Raises:
        UsageError: the value has none of these forms.
        OSError: the address is in use, or does not belong to this machine.
    """
    kind, _, rest = text.partition(":")
    if kind == "unix" and rest:
        path = rest.removeprefix("//")
        return Listening(_at_path(path, mode, option), path, path, True)
    if kind == "fd" and rest.isdecimal():
        return _inherited(text, option, int(rest))
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{option} {text}: write HOST:PORT, such as 127.0.0.1:8000, unix:PATH or fd:N")
    return _at_port(host.strip("[]"), int(port), option)


def _at_port(host: str, port: int, option: str) -> Listening:
    try:
        return _described(listen_at_port(host, port, _BACKLOG))
    except OSError as error:
        raise OSError(error.errno, f"{option} {host}:{port}: {why_not(error)}") from error


def _at_path(path: str, mode: int, option: str) -> socket.socket:
    try:
        return listen_at_path(path, mode, _BACKLOG)
    except OSError as error:
        raise OSError(error.errno, f"{option} unix:{path}: {why_not(error)}") from error


def _inherited(text: str, option: str, fd: int) -> Listening:
    try:
        inherited = socket.socket(fileno=os.dup(fd))
        accepts = inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    except OSError as error:
        raise UsageError(f"{option} {text}: descriptor {fd} is not an open socket") from error
    if not accepts:
        inherited.close()
        raise UsageError(f"{option} {text}: descriptor {fd} is a socket that does not listen")
    return _described(inherited)


def _described(listening: socket.socket) -> Listening:
    if listening.family == socket.AF_UNIX:
        return Listening(listening, str(listening.getsockname()), None, True)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    return Listening(listening, f"{shown}:{port}", None, host == "::1" or host.startswith("127."))
