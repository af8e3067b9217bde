"""Serve the status of a site on a socket of its own."""

from __future__ import annotations

import json
import os

import attrs

from fcgi_async.asgi.protocol import Application, Receive, Scope, Send
from fcgi_async.dispatch.dispatcher import Dispatcher

__all__ = ("StatusSocket",)

_PATH = "/-/status"


class StatusSocket:
    """ASGI middleware that answers requests on one unix socket, and passes everything else on.

    Args:
        app: the site.
        php: the dispatcher with the statistics.
        path: the path of the socket; it does not serve the site.
    """

    def __init__(self, app: Application, php: Dispatcher, path: str) -> None:
        self._app = app
        self._php = php
        self._path = path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer, or run the site; raises what the site raises."""
        if scope["type"] != "http" or scope.get("server") != (self._path, None):
            await self._app(scope, receive, send)
            return
        status, text = 404, f"there is only {_PATH} here\n"
        if scope["path"] == _PATH:
            statistics = attrs.asdict(self._php.statistics())
            status, text = 200, json.dumps({"pid": os.getpid(), **statistics}, default=str) + "\n"
        kind = b"application/json" if status == 200 else b"text/plain; charset=utf-8"
        headers = [(b"content-type", kind), (b"content-length", str(len(text)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": text.encode()})
