"""What a handler answers: a status, headers, a body."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping
from http import HTTPStatus

import attrs

from fcgi_async.wire.spec import ProtocolStatus

__all__ = ("Reply",)


def _to_pairs(headers: Mapping[str, str] | Iterable[tuple[str, str]]) -> tuple[tuple[str, str], ...]:
    pairs = tuple(headers.items() if isinstance(headers, Mapping) else headers)
    for name, value in pairs:
        if not name or set(name) & set(": \r\n") or set(value) & set("\r\n"):
            raise ValueError(f"{name!r}: {value!r} is not a header")
    return pairs


@attrs.frozen
class Reply:
    """An answer as PHP would give it.

    Args:
        status: the HTTP status; 200 is left out of the head, as PHP leaves it out.
        headers: a mapping, or pairs where a name comes more than once. Without a Content-Type it is PHP's:
            `text/html; charset=UTF-8`.
        body: bytes, text (sent as UTF-8), or an async iterable of either, each part of which is sent as it comes.
        stderr: what goes to STDERR ahead of the response.
        app_status: 0 to 2 ** 32 - 1; PHP-FPM's is always 0.
        protocol_status: how END_REQUEST ends the request.

    Raises:
        ValueError: a header has a line break, or a name that is none.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_to_pairs)
    body: bytes | str | AsyncIterable[bytes | str] = b""
    stderr: bytes | str = attrs.field(default=b"", kw_only=True)
    app_status: int = attrs.field(default=0, kw_only=True)
    protocol_status: ProtocolStatus = attrs.field(default=ProtocolStatus.REQUEST_COMPLETE, kw_only=True)

    def head(self) -> bytes:
        """Return the CGI head, with the empty line that ends it."""
        lines = [f"{name}: {value}" for name, value in self.headers]
        if not any(name.lower() == "content-type" for name, _ in self.headers):
            lines.insert(0, "Content-type: text/html; charset=UTF-8")
        if self.status != HTTPStatus.OK:
            known = self.status in HTTPStatus.__members__.values()
            lines.insert(0, f"Status: {self.status} {HTTPStatus(self.status).phrase if known else 'Unknown'}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")
