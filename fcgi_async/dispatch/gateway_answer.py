"""What a gateway answers if it has no complete response from PHP, and the error that its client makes of it.

The gateway ends such a request with app_status 1, which PHP-FPM never uses. If no part of a response was sent yet, it
sends one of its own, with the name of the error in a header.
"""

from __future__ import annotations

from typing import Final

from fcgi_async.errors import (
    ConnectError,
    ConnectionLost,
    FastCGIError,
    InvalidJob,
    JobTimeout,
    QueueTimeout,
    RemoteProtocolError,
)
from fcgi_async.pool.attempt import Attempt
from fcgi_async.wire.cgi import CGIHead

__all__ = ("ERROR_HEADER", "ERROR_NAMES", "GATEWAY_FAILED", "error_of_gateway")

GATEWAY_FAILED: Final = 1
ERROR_HEADER: Final = "X-FCGI-Async-Error"
_DID_NOT_RUN: Final = {kind.__name__: kind for kind in (ConnectError, InvalidJob, QueueTimeout)}
_MAY_HAVE_RUN: Final = {kind.__name__: kind for kind in (ConnectionLost, JobTimeout, RemoteProtocolError)}
ERROR_NAMES: Final = frozenset(_DID_NOT_RUN | _MAY_HAVE_RUN)
_SHOWN_MAX: Final = 1000


def error_of_gateway(attempt: Attempt, head: CGIHead | None, content: bytes) -> FastCGIError:
    """Return the error that a gateway has reported.

    Args:
        attempt: the attempt, which the gateway ended with GATEWAY_FAILED.
        head: head of the response, or None if there is none.
        content: the part of its body that came.
    """
    gateway = attempt.slot.peer.name
    name = "" if head is None else dict(head.headers).get(ERROR_HEADER, "")
    kinds = _DID_NOT_RUN | _MAY_HAVE_RUN
    if name not in kinds:
        error: FastCGIError = ConnectionLost(f"the gateway at {gateway} lost PHP-FPM in the middle of the response")
    else:
        message = content[:_SHOWN_MAX].decode("utf-8", "replace").strip()
        error = kinds[name](f"the gateway at {gateway}: {message}")
    attempt.may_have_run = name not in _DID_NOT_RUN
    return error
