"""Read the headers of a request: the framing of its body, its host, and the parameters for PHP."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

import attrs

from fcgi_async.asgi.php_application.refusal import Refusal

__all__ = ("RequestHead", "read_head")

_LENGTH = re.compile(r"[0-9]{1,18}")
# PHP also turns a dot into an underscore, so X.Foo would look like X-Foo; nginx drops the same names
_NAME = re.compile(rb"[a-z0-9-]+")
# not for PHP: they are about the connection, or dangerous; the body's length is computed
_DROPPED: Final = frozenset(
    {b"proxy", b"expect", b"te", b"connection", b"keep-alive", b"upgrade", b"proxy-connection", b"trailer"}
)
_SINGLE: Final = frozenset({"HTTP_AUTHORIZATION", "CONTENT_TYPE", "HTTP_HOST"})
_LENGTH_PARAM, _CODING_PARAM = "CONTENT_LENGTH", "TRANSFER_ENCODING"
_NAMES_KEPT: Final = 1024
_LONGEST_KEPT: Final = 64
_MAX_LENGTHS: Final = 8
_params_of: dict[bytes, str] = {}


@attrs.define
class RequestHead:
    """The parsed headers of a request.

    Attributes:
        params: HTTP_* and CONTENT_TYPE; HTTP_HOST is unchanged.
        host: the Host header, or None.
        length: bytes in the body as declared, or None.
        chunked: whether the body has no declared length and comes in chunks.
    """

    params: dict[str, str]
    host: str | None
    length: int | None
    chunked: bool


def read_head(headers: Iterable[tuple[bytes, bytes]]) -> RequestHead:
    """Return the parsed headers.

    Values of a repeated name are joined by ", ", cookies by "; ". A name with characters other than letters, digits and
    hyphens is dropped: PHP cannot tell an underscore or a dot from a hyphen, so a client could forge a header that a
    proxy sets.

    Raises:
        Refusal: 400: headers contradict each other; 501: the body has a coding other than chunked.
    """
    params: dict[str, str] = {}
    repeated: dict[str, list[str]] = {}
    for name, value in headers:
        param = _params_of.get(name)
        if param is None:
            param = _remember(name)
        if not param:
            continue
        text = value.decode("utf-8", "surrogateescape")
        if param in params:
            if param in _SINGLE:
                raise Refusal(400, f"the header {name[:100].decode('latin-1')} is given twice")
            repeated.setdefault(param, [params[param]]).append(text)
        else:
            params[param] = text
    for param, values in repeated.items():
        params[param] = ("; " if param == "HTTP_COOKIE" else ", ").join(values)
    length, coding = params.pop(_LENGTH_PARAM, ""), params.pop(_CODING_PARAM, "")
    host = params.get("HTTP_HOST")
    if not coding:
        return RequestHead(params, host, _parse_length(length) if length else None, False)
    _check_coding(coding, length)
    return RequestHead(params, host, None, True)


def _remember(name: bytes) -> str:
    """Return the parameter that carries a header (RFC 3875, 4.1.18); empty if it is dropped."""
    lowered = name.lower()
    if lowered in _DROPPED or _NAME.fullmatch(lowered) is None:
        param = ""
    else:
        upper = lowered.decode("ascii").upper().replace("-", "_")
        own = upper in ("CONTENT_TYPE", _LENGTH_PARAM, _CODING_PARAM)
        param = upper if own else f"HTTP_{upper}"
    if len(name) <= _LONGEST_KEPT:
        if len(_params_of) >= _NAMES_KEPT:
            _params_of.clear()
        _params_of[name] = param
    return param


def _parse_length(value: str) -> int:
    if _LENGTH.fullmatch(value) is not None:
        return int(value)
    parts = {part.strip() for part in value.split(",", _MAX_LENGTHS)}
    if len(parts) != 1 or _LENGTH.fullmatch(only := parts.pop()) is None:
        raise Refusal(400, "Content-Length is not one number", close=True)
    return int(only)


def _check_coding(coding: str, length: str) -> None:
    if length:
        raise Refusal(400, "Transfer-Encoding and Content-Length are both given", close=True)
    if coding.strip(" \t").lower() != "chunked":
        raise Refusal(501, "the Transfer-Encoding is not chunked alone", close=True)
