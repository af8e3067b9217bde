"""A browser without a screen, that finds every site's host at the server under test."""

from __future__ import annotations

import httpx

__all__ = ("Visitor", "visitor")

_SECONDS = 60.0
Visitor = httpx.Client


class _To(httpx.BaseTransport):
    """Sends what is meant for any host to one address; the Host header stays."""

    def __init__(self, port: int) -> None:
        self._transport = httpx.HTTPTransport()
        self._port = port

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        url = request.url.copy_with(scheme="http", host="127.0.0.1", port=self._port)
        return self._transport.handle_request(
            httpx.Request(
                request.method, url, headers=request.headers, stream=request.stream, extensions=request.extensions
            )
        )

    def close(self) -> None:
        self._transport.close()


def visitor(url: str, port: int) -> Visitor:
    """Return a client of the site `url`, which listens at `port` of the loopback; it follows no redirects by itself."""
    headers = {"User-Agent": "Mozilla/5.0 (a visitor)", "Accept": "text/html,*/*", "Accept-Encoding": "identity"}
    return Visitor(base_url=url, transport=_To(port), headers=headers, timeout=_SECONDS)
