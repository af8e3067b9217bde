"""Take the client's address and the scheme from proxies on this machine."""

from __future__ import annotations

import os
from typing import Final, cast

from uvicorn.middleware.proxy_headers import ProxyHeadersMiddleware

from fcgi_async.asgi.protocol import Application, Receive, Scope, Send

__all__ = ("TrustedProxies",)

_LOCAL: Final = "127.0.0.1"
# in the place of an address; nginx uses the same word in X-Forwarded-For
_UNIX: Final = "unix:"


class TrustedProxies:
    """ASGI middleware that believes X-Forwarded-For and X-Forwarded-Proto from 127.0.0.1 and through unix sockets.

    uvicorn's own middleware trusts a client of a unix socket only if it trusts everybody, and then takes the first
    address in X-Forwarded-For: the one that the client itself may have written. This takes the last one that is not a
    trusted proxy's.

    Args:
        app: the site.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        # the variable that uvicorn reads
        trusted = os.environ.get("FORWARDED_ALLOW_IPS", _LOCAL)
        known = trusted if trusted == "*" else f"{trusted},{_UNIX}"
        self._proxied = cast(Application, ProxyHeadersMiddleware(self._restored, known))  # type: ignore[arg-type]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the site; raises what the site raises."""
        if scope.get("client") is None:
            scope["client"] = (_UNIX, 0)
        await self._proxied(scope, receive, send)

    async def _restored(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["client"] == (_UNIX, 0):
            scope["client"] = None
        await self._app(scope, receive, send)
