"""Middleware that turns job errors into 502, 503 and 504."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType

from fcgi_async.asgi.protocol import Application, Message, Receive, Scope, Send
from fcgi_async.errors import (
    DispatchError,
    FastCGIError,
    InvalidJob,
    JobTimeout,
    Overloaded,
    RemoteProtocolError,
    ResponseTooLarge,
    ResponseTruncated,
    TransportError,
)

__all__ = ("STATUSES", "ErrorResponses", "status_of_request")

logger = logging.getLogger("fcgi_async.asgi")

# InvalidJob: the client's request made a job that cannot be sent, for example with a header of more than 64 KiB.
# DispatchError: the queue is full, no worker was free in time, or the process is about to end. The handler deals with
# all other errors itself: with JobFailed, whose status only the handler understands, and with its own mistakes.
STATUSES: Mapping[type[FastCGIError], int] = MappingProxyType(
    {
        InvalidJob: 400,
        DispatchError: 503,
        Overloaded: 503,
        JobTimeout: 504,
        TransportError: 502,
        RemoteProtocolError: 502,
        ResponseTooLarge: 502,
        ResponseTruncated: 502,
    }
)

# the parameters that PHP gets from the request's target
_TARGET_PARAMS = frozenset({"REQUEST_URI", "QUERY_STRING", "PATH_INFO"})


class ErrorResponses:
    """ASGI middleware that answers the request if a job's error leaves the handler.

    A job that cannot be sent (`InvalidJob`) is answered with 400, with 431 if a header is too long for PHP-FPM, and
    with 414 if the path or the query is. It is assumed to be the client's fault: a parameter that the application's own
    code should not have set looks the same, and is in the log. A status other than 400 in `statuses` replaces all
    three.

    Other exceptions pass through, and so do all errors once the response has begun. An exception group is answered like
    its first error, if all errors in it would be answered. Each error is logged at WARNING, and 503 has a Retry-After.

    Args:
        app: the application.
        statuses: a status from 400 to 599 for each class of errors; the most derived class decides. The default is
            `STATUSES`.
        retry_after: seconds after which a client that got 503 may try again.
    """

    def __init__(
        self, app: Application, *, statuses: Mapping[type[FastCGIError], int] = STATUSES, retry_after: int = 1
    ) -> None:
        self._app = app
        self._statuses = statuses
        self._retry_after = retry_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Run the application; raises the application's errors that are not answered here."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun = False

        async def noting_send(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self._app(scope, receive, noting_send)
        except Exception as error:
            status = self._status_of(error)
            if begun or status is None:
                raise
            # a path may have any length
            logger.warning("%.200s is answered with %d: %s", scope.get("path"), status, _describe(error))
            await self._answer(send, HTTPStatus(status))

    def _status_of(self, error: BaseException) -> int | None:
        if isinstance(error, BaseExceptionGroup):
            statuses = [self._status_of(inner) for inner in error.exceptions]
            return None if None in statuses else statuses[0]
        status = next((self._statuses[kind] for kind in type(error).__mro__ if kind in self._statuses), None)
        if isinstance(error, InvalidJob) and status == HTTPStatus.BAD_REQUEST:
            return status_of_request(error)
        return status

    async def _answer(self, send: Send, status: HTTPStatus) -> None:
        body = f"{status} {status.phrase}\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", str(len(body)).encode())]
        if status == HTTPStatus.SERVICE_UNAVAILABLE:
            headers.append((b"retry-after", str(self._retry_after).encode()))
        await send({"type": "http.response.start", "status": int(status), "headers": headers})
        await send({"type": "http.response.body", "body": body})


def status_of_request(error: InvalidJob) -> int:
    """Return the status for a request that cannot be made into a job: 400, 414 or 431."""
    if error.too_long is None:
        return HTTPStatus.BAD_REQUEST
    if error.too_long in _TARGET_PARAMS:
        return HTTPStatus.REQUEST_URI_TOO_LONG
    # CONTENT_TYPE is a header too
    if error.too_long.startswith("HTTP_") or error.too_long == "CONTENT_TYPE":
        return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE
    return HTTPStatus.BAD_REQUEST


def _describe(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_describe(inner) for inner in error.exceptions)
    return str(error)
