"""Serve a site with uvicorn, in a running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from socket import socket
from typing import Literal

import anyio

try:
    import uvicorn
except ImportError as error:
    raise ImportError(
        "`fcgi-async serve` needs uvicorn: pip install 'fcgi-async[serve]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.asgi.protocol import Application
from fcgi_async.commands.serve_options import Certificate
from fcgi_async.commands.trusted_proxies import TrustedProxies

__all__ = ("serve_with_uvicorn",)


class _Server(uvicorn.Server):
    """uvicorn's server, which leaves signals to the command."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_with_uvicorn(
    app: Application,
    sockets: Sequence[socket],
    *,
    stop: anyio.Event,
    certificate: Certificate | None,
    within: float,
) -> None:
    """Serve until `stop` is set; on asyncio.

    Args:
        app: the site; its lifespan is not run.
        sockets: the listening sockets; closed at the end.
        stop: ends it: no new requests are accepted, and running ones have `within` seconds.
        certificate: the certificate for HTTPS; None serves HTTP.
        within: seconds that running requests have to end.
    """
    config = uvicorn.Config(
        TrustedProxies(app),
        http=_protocol(),
        lifespan="off",
        interface="asgi3",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_graceful_shutdown=max(1, round(within)),
        ssl_certfile=None if certificate is None else certificate.cert,
        ssl_keyfile=None if certificate is None else certificate.key,
    )
    server = _Server(config)

    async def end() -> None:
        await stop.wait()
        server.should_exit = True

    async with anyio.create_task_group() as group:
        group.start_soon(end)
        await server.serve(sockets=list(sockets))
        group.cancel_scope.cancel()


def _protocol() -> type[asyncio.Protocol] | Literal["h11"]:
    """Return the HTTP implementation: httptools if it is installed, else h11, which is slower and has such limits."""
    if find_spec("httptools") is None:
        return "h11"
    from fcgi_async.commands.uvicorn_protocol import BoundedProtocol

    return BoundedProtocol
