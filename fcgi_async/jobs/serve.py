"""Serve the page of durable jobs with uvicorn."""

from __future__ import annotations

import ipaddress
import socket

try:
    import uvicorn
except ImportError as error:
    raise ImportError(
        "the page of durable jobs needs uvicorn: pip install 'fcgi-async[web]'", name=error.name, path=error.path
    ) from error

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.client import Jobs

__all__ = ("bind", "is_loopback", "serve_page")

_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "[::1]")


def is_loopback(host: str) -> bool:
    """Return whether only this machine can connect to an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def bind(host: str, port: int, *, token: str | None) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an address, or "localhost".
        port: 0 for any free port.
        token: the password for visitors; without one, only this machine may connect.

    Raises:
        ConfigurationError: other machines can reach the address, and there is no token.
        OSError: the address is in use, or does not belong to this machine.
    """
    if token is None and not is_loopback(host):
        raise ConfigurationError(
            f"host={host!r} can be reached by other machines: give a token, or listen on 127.0.0.1"
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listening = socket.socket(family, socket.SOCK_STREAM)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind((host, port))
        listening.listen(128)
    except BaseException:
        listening.close()
        raise
    return listening


async def serve_page(jobs: Jobs, listening: socket.socket, *, actions: bool, token: str | None) -> None:
    """Serve the page until SIGINT or SIGTERM; on asyncio.

    Args:
        jobs: the database, entered.
        listening: the socket; closed at the end. Without a token, only loopback names are served.
        actions: as for `Jobs.page()`.
        token: as for `Jobs.page()`.
    """
    page = jobs.page(actions=actions, token=token, hosts=_LOOPBACK_NAMES if token is None else None)
    config = uvicorn.Config(page, log_level="warning", lifespan="off", server_header=False)
    await uvicorn.Server(config).serve(sockets=[listening])
