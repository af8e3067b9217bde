"""Serve a site with hypercorn: HTTP/2, on asyncio and on trio."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from socket import socket
from typing import cast

import anyio

try:
    from hypercorn.config import Config
except ImportError as error:
    raise ImportError(
        "HTTP/2 and trio need hypercorn: pip install 'fcgi-async[http2]'",
        name=error.name,
        path=error.path,
    ) from error

from hypercorn.typing import ASGIFramework

from fcgi_async.asgi.protocol import Application
from fcgi_async.commands.serve_options import Certificate

__all__ = ("serve_with_hypercorn",)


async def serve_with_hypercorn(
    app: Application,
    sockets: Sequence[socket],
    *,
    stop: anyio.Event,
    certificate: Certificate | None,
    within: float,
    trio: bool,
) -> None:
    """Serve until `stop` is set; on asyncio or trio.

    Args:
        app: the site; it may be asked for a lifespan.
        sockets: the listening sockets; closed at the end.
        stop: ends it: no new requests are accepted, and running ones have `within` seconds.
        certificate: the certificate for HTTPS; browsers use HTTP/2 only with HTTPS.
        within: seconds that running requests have to end.
        trio: whether this runs on trio.
    """
    config = Config()
    # hypercorn closes the sockets that it gets
    config.bind = [f"fd://{one.detach()}" for one in sockets]
    config.accesslog = None
    config.errorlog = None
    config.include_server_header = False
    config.graceful_timeout = within
    if certificate is not None:
        config.certfile, config.keyfile = certificate.cert, certificate.key
    framework = cast(ASGIFramework, app)
    if trio:
        from hypercorn.trio import serve as serve_on_trio

        await _by_itself(partial(serve_on_trio, framework, config, shutdown_trigger=stop.wait, mode="asgi"))
    else:
        from hypercorn.asyncio import serve as serve_on_asyncio

        await _by_itself(partial(serve_on_asyncio, framework, config, shutdown_trigger=stop.wait, mode="asgi"))


async def _by_itself(serve: Callable[[], Awaitable[None]]) -> None:
    """Serve in a task of its own: hypercorn ends by cancelling its task, which stays marked as cancelled."""
    failure: Exception | None = None

    async def served() -> None:
        nonlocal failure
        try:
            await serve()
        except Exception as error:
            failure = error

    async with anyio.create_task_group() as group:
        group.start_soon(served)
    if failure is not None:
        raise failure
