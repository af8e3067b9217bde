"""The gateway's own answers, for requests without a complete response from PHP."""

from __future__ import annotations

from typing import Final

from fcgi_async.dispatch.gateway_answer import ERROR_HEADER, ERROR_NAMES
from fcgi_async.errors import (
    ConnectError,
    ConnectionLost,
    DispatcherClosed,
    FastCGIError,
    InvalidJob,
    JobTimeout,
    Overloaded,
    QueueFull,
    QueueTimeout,
)

__all__ = ("answer_of", "is_busy")

# nothing has run, and a later attempt may succeed
_BUSY: Final = (Overloaded, QueueFull, DispatcherClosed)
_STATUS: Final = (
    (_BUSY, "503 Service Unavailable"),
    ((ConnectError, QueueTimeout), "503 Service Unavailable"),
    ((JobTimeout,), "504 Gateway Timeout"),
    ((InvalidJob,), "400 Bad Request"),
)


def is_busy(error: FastCGIError) -> bool:
    """Return whether the request did not run, and may be sent again unchanged."""
    return isinstance(error, _BUSY) and not error.may_have_run


def answer_of(error: FastCGIError) -> bytes:
    """Return a CGI response that replaces PHP's."""
    status = "502 Bad Gateway"
    if not error.may_have_run or isinstance(error, JobTimeout):
        status = next((text for kinds, text in _STATUS if isinstance(error, kinds)), status)
    name = type(error).__name__
    if name not in ERROR_NAMES:
        # the body, for clients that only show it
        name = ConnectionLost.__name__ if error.may_have_run else ConnectError.__name__
    head = (
        f"Status: {status}\r\nContent-Type: text/plain; charset=utf-8\r\nCache-Control: no-store\r\n"
        f"{ERROR_HEADER}: {name}\r\n\r\n"
    )
    return head.encode() + error.message.encode("utf-8", "backslashreplace") + b"\n"
