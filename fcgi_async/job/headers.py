"""Request headers, and the parameters that carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fcgi_async.errors import InvalidJob
from fcgi_async.job.param_text import check_pair, check_text

__all__ = ("TOKEN", "RequestHeaders", "header_param", "header_params")

# what `headers` may be
RequestHeaders = Mapping[str, str] | Sequence[tuple[str, str]]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

# a second value of these would contradict the first
_SINGLE = frozenset({"CONTENT_TYPE", "HTTP_HOST"})


def header_param(name: str) -> str:
    """Return the parameter that carries a request header (RFC 3875, 4.1.18)."""
    param = name.upper().replace("-", "_")
    return param if param in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{param}"


def header_params(headers: object) -> dict[str, str]:
    """Return the parameters that carry these headers; what pairs repeat is joined (RFC 9110, 5.3).

    Raises:
        InvalidJob: a name or a value that cannot be sent, or two that contradict each other.
    """
    params: dict[str, str] = {}
    names: dict[str, str] = {}
    ignore_case = not isinstance(headers, Mapping)
    for name, value in _pairs(headers):
        if not TOKEN.match(check_text(f"the header name {name!r}", name)):
            raise InvalidJob(f"{name!r} is not the name of a header")
        if "\r" in check_text(f"headers[{name!r}]", value) or "\n" in value:
            raise InvalidJob(f"headers[{name!r}] has a line break")
        param = header_param(name)
        if param == "CONTENT_LENGTH":
            raise InvalidJob("a Content-Length header is not yours to give; it is counted")
        before = names.setdefault(param, name)
        if param in params:
            if before != name and not (ignore_case and before.lower() == name.lower()):
                raise InvalidJob(f"the headers {before!r} and {name!r} become the same parameter {param}")
            if param in _SINGLE:
                raise InvalidJob(f"the header {name!r} is given twice; it has one value")
            # cookies are a list of their own (RFC 9113, 8.2.3)
            value = f"{params[param]}{'; ' if param == 'HTTP_COOKIE' else ', '}{value}"
        check_pair(param, value)
        params[param] = value
    return params


def _pairs(headers: object) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Mapping):
        return headers.items()
    if not isinstance(headers, Sequence) or isinstance(headers, str | bytes):
        raise InvalidJob(f"headers is a mapping or a sequence of pairs of name and value, not {type(headers).__name__}")
    for pair in headers:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidJob(f"headers has {type(pair).__name__} in place of a pair of name and value")
    return headers
