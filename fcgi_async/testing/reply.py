"""The answer of a handler: a status, headers, a body."""

from __future__ import annotations

import json
from collections.abc import AsyncIterable, Iterable, Mapping
from http import HTTPStatus

import attrs

from fcgi_async.job.settings import UNSET
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
    """An answer like PHP's.

    Args:
        status: the HTTP status; 200 is not sent, as in PHP.
        headers: a mapping, or pairs if a name is repeated. The default Content-Type is PHP's,
            `text/html; charset=UTF-8`, or `application/json` with `json`.
        body: bytes, text (sent as UTF-8), or an async iterable of either; each part is sent as it comes.
        json: the body as JSON, also for `None`; excludes `body`.
        stderr: text for STDERR, sent before the response.
        app_status: 0 to 2 ** 32 - 1; PHP-FPM's is always 0.
        protocol_status: the protocol status in END_REQUEST.

    Raises:
        ValueError: a header has a line break or an invalid name; or both `body` and `json` are given.
        TypeError: `json` cannot be expressed in JSON.
    """

    status: int = 200
    headers: tuple[tuple[str, str], ...] = attrs.field(default=(), converter=_to_pairs)
    body: bytes | str | AsyncIterable[bytes | str] = b""
    json: object = attrs.field(default=UNSET, kw_only=True)
    stderr: bytes | str = attrs.field(default=b"", kw_only=True)
    app_status: int = attrs.field(default=0, kw_only=True)
    protocol_status: ProtocolStatus = attrs.field(default=ProtocolStatus.REQUEST_COMPLETE, kw_only=True)

    def __attrs_post_init__(self) -> None:
        if self.json is not UNSET:
            if self.body != b"":
                raise ValueError("Reply(body=..., json=...) has two bodies; give one of them")
            json.dumps(self.json, allow_nan=False)

    def head(self) -> bytes:
        """Return the CGI head, with the empty line that ends it."""
        lines = [f"{name}: {value}" for name, value in self.headers]
        if not any(name.lower() == "content-type" for name, _ in self.headers):
            kind = "text/html; charset=UTF-8" if self.json is UNSET else "application/json"
            lines.insert(0, f"Content-type: {kind}")
        if self.status != HTTPStatus.OK:
            known = self.status in HTTPStatus.__members__.values()
            lines.insert(0, f"Status: {self.status} {HTTPStatus(self.status).phrase if known else 'Unknown'}")
        return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1")

    def content(self) -> bytes | AsyncIterable[bytes | str]:
        """Return the bytes or parts after the head."""
        if self.json is not UNSET:
            return json.dumps(self.json, allow_nan=False, separators=(",", ":")).encode()
        return self.body.encode() if isinstance(self.body, str) else self.body
