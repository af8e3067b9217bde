"""Connect a socket, and wait while the backlog is full.

The event loops' own connect functions handle the full backlog of a unix socket wrongly: connect() returns EAGAIN, which
asyncio treats as success and uvloop as a failure. EAGAIN means that the peer is alive and busy, so `dial()` waits, with
jitter.
"""

from __future__ import annotations

import errno
import os
import socket
from random import uniform

import anyio

from fcgi_async.net.address import Address, AddressFamily

__all__ = ("dial",)

_BACKLOG_WAIT_MIN = 0.001
_BACKLOG_WAIT_MAX = 0.05


async def dial(address: Address, *, connect_timeout: float) -> socket.socket:
    """Return a connected, non-blocking socket.

    Args:
        address: the peer's address.
        connect_timeout: seconds that the TCP handshake with one address may take. There is no limit for waiting on a
            full unix backlog.

    Raises:
        OSError: the peer cannot be reached; the errno tells why. `TimeoutError` if the handshake took too long.

    Cancelling closes the socket.
    """
    if address.family is AddressFamily.TCP:
        return await _dial_tcp(address, connect_timeout)
    name = address.path if address.family is AddressFamily.UNIX else "\0" + address.path
    return await _dial_unix(name)


async def _dial_unix(name: str) -> socket.socket:
    wait = _BACKLOG_WAIT_MIN
    while True:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        try:
            sock.connect(name)
        except BlockingIOError:
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
        await anyio.sleep(uniform(wait / 2, wait))
        wait = min(wait * 2, _BACKLOG_WAIT_MAX)


async def _dial_tcp(address: Address, connect_timeout: float) -> socket.socket:
    found = await anyio.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)
    failure: OSError | None = None
    for family, kind, protocol, _, sockaddr in found:
        try:
            with anyio.fail_after(connect_timeout):
                return await _connect_tcp(family, kind, protocol, sockaddr)
        except OSError as error:
            failure = failure or error
    raise failure or OSError(errno.EADDRNOTAVAIL, f"{address.host} has no address")


async def _connect_tcp(family: int, kind: int, protocol: int, sockaddr: tuple[str, int]) -> socket.socket:
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK, protocol)
    try:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        code = sock.connect_ex(sockaddr)
        if code == errno.EINPROGRESS:
            await anyio.wait_writable(sock)
            code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if code:
            raise OSError(code, os.strerror(code))
    except BaseException:
        sock.close()
        raise
    return sock
