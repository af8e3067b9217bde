"""Errors: why a request is not answered by PHP or a file."""

from __future__ import annotations

__all__ = ("ClientLeft", "Refusal")

_Headers = tuple[tuple[bytes, bytes], ...]


class Refusal(Exception):
    """The request is answered with an error status, or with a status that has no body.

    Args:
        status: the HTTP status.
        why: the reason, for the log; the client sees only the status.
        headers: headers to send with it.
        close: whether the connection cannot be used again, for example after a body that was not read.
    """

    def __init__(self, status: int, why: str = "", *, headers: _Headers = (), close: bool = False) -> None:
        super().__init__(f"{status} {why}".rstrip())
        self.status, self.why = status, why
        self.headers, self.close = headers, close


class ClientLeft(Exception):
    """The client disconnected before its request or answer was complete."""
