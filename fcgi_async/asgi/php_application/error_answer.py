"""Answers that do not come from PHP: errors, redirections, and the refusal of websockets."""

from __future__ import annotations

import logging
from collections.abc import Callable
from http import HTTPStatus

from fcgi_async.asgi.error_responses import STATUSES, status_of_request
from fcgi_async.asgi.php_application.refusal import Refusal
from fcgi_async.asgi.php_application.watch import Client
from fcgi_async.asgi.protocol import Receive, Scope, Send
from fcgi_async.errors import FastCGIError, InvalidJob

__all__ = ("ErrorPage", "refuse_websocket", "send_refusal", "to_refusal")

logger = logging.getLogger("fcgi_async.asgi")

# returns the body for a status
ErrorPage = Callable[[int, Scope], bytes | str]
_RETRY_AFTER = (b"retry-after", b"1")
_BODILESS = frozenset({204, 304})


def to_refusal(error: FastCGIError, scope: Scope) -> Refusal | None:
    """Return how to answer a job's failure, and log it; None if the error is not a job's."""
    status = next((STATUSES[kind] for kind in type(error).__mro__ if kind in STATUSES), None)
    if status is None:
        return None
    if isinstance(error, InvalidJob):
        status = status_of_request(error)
    logger.warning("%.200r is answered with %d: %s", scope.get("path"), status, error)
    return Refusal(status, str(error))


async def send_refusal(client: Client, scope: Scope, refusal: Refusal, page: ErrorPage | None) -> None:
    """Answer with an error.

    Args:
        client: the client.
        scope: the request.
        refusal: the status, its headers and its reason.
        page: returns the body as HTML; None for a line of plain text.
    """
    status = refusal.status
    headers = list(refusal.headers)
    if status == 503:
        headers.append(_RETRY_AFTER)
    # HTTP/2 has no such header
    if refusal.close and str(scope.get("http_version", "1.1")).startswith("1"):
        headers.append((b"connection", b"close"))
    body = b""
    if status not in _BODILESS:
        kind, body = _page(page, status, scope)
        headers += [(b"content-type", kind), (b"content-length", b"%d" % len(body))]
    if scope["method"] == "HEAD":
        body = b""
    await client.start(status, headers)
    # nothing comes from a client that is too slow
    if status != 408 and not client.all_read and _announces_body(scope):
        await client.body(body, more=True)
        body = b""
        await client.discard()
    await client.body(body)


def _announces_body(scope: Scope) -> bool:
    """Whether the rest of a body may be on its way; a client that expects 100 has not sent it."""
    if not str(scope.get("http_version", "1.1")).startswith("1"):
        return False
    headers = dict(scope["headers"])
    length = headers.get(b"content-length", b"0")
    return b"expect" not in headers and (length.strip(b"0") != b"" or b"transfer-encoding" in headers)


async def refuse_websocket(scope: Scope, receive: Receive, send: Send) -> None:
    """Refuse a websocket with 403: PHP-FPM does not support them."""
    await receive()
    if "websocket.http.response" in (scope.get("extensions") or ()):
        headers = [(b"content-type", b"text/plain; charset=utf-8")]
        await send({"type": "websocket.http.response.start", "status": 403, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"403 Forbidden\n"})
    else:
        await send({"type": "websocket.close", "code": 1008, "reason": ""})


def _page(page: ErrorPage | None, status: int, scope: Scope) -> tuple[bytes, bytes]:
    if page is not None:
        try:
            made = page(status, scope)
            return b"text/html; charset=utf-8", made.encode() if isinstance(made, str) else bytes(made)
        except Exception:
            logger.exception("errors= failed for status %d; the answer is plain text", status)
    return b"text/plain; charset=utf-8", f"{status} {HTTPStatus(status).phrase}\n".encode()
