"""Request headers, and the FastCGI parameters that carry them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from fcgi_async.errors import InvalidJob
from fcgi_async.job.param_text import check_pair, check_text

__all__ = ("TOKEN", "RequestHeaders", "header_param", "header_params")

# the types of `headers`
RequestHeaders = Mapping[str, str] | Sequence[tuple[str, str]]

TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")

# headers that must not have a second value
_SINGLE = frozenset({"CONTENT_TYPE", "HTTP_HOST"})


def header_param(name: str) -> str:
    """Return the parameter that carries a request header (RFC 3875, 4.1.18)."""
    param = name.upper().replace("-", "_")
    return param if param in ("CONTENT_TYPE", "CONTENT_LENGTH") else f"HTTP_{param}"


def header_params(headers: object) -> dict[str, str]:
    """Return the parameters that carry these headers; values of a repeated name are joined (RFC 9110, 5.3).

    Raises:
        InvalidJob: a name or a value cannot be sent, or two headers contradict each other.
    """
    params: dict[str, str] = {}
    names: dict[str, str] = {}
    ignore_case = not isinstance(headers, Mapping)
    for name, value in _pairs(headers):
        if not TOKEN.match(check_text(f"the header name {name!r}", name)):
            raise InvalidJob(f"{name!r} is not the name of a header, such as Accept-Language")
        if "\r" in check_text(f"headers[{name!r}]", value) or "\n" in value:
            raise InvalidJob(f"headers[{name!r}] has a line break; remove it")
        param = header_param(name)
        if param == "CONTENT_LENGTH":
            raise InvalidJob("do not set Content-Length; it is computed from the body")
        before = names.setdefault(param, name)
        if param in params:
            if before != name and not (ignore_case and before.lower() == name.lower()):
                raise InvalidJob(
                    f"the headers {before!r} and {name!r} become the same parameter {param}; give one of them"
                )
            if param in _SINGLE:
                raise InvalidJob(f"the header {name!r} is given twice; give it once")
            # cookies have their own separator (RFC 9113, 8.2.3)
            value = f"{params[param]}{'; ' if param == 'HTTP_COOKIE' else ', '}{value}"
        check_pair(param, value)
        params[param] = value
    return params


def _pairs(headers: object) -> Iterable[tuple[str, str]]:
    if isinstance(headers, Mapping):
        return headers.items()
    if not isinstance(headers, Sequence) or isinstance(headers, str | bytes):
        raise InvalidJob(f"headers must be a mapping or a sequence of (name, value), not {type(headers).__name__}")
    for pair in headers:
        if not isinstance(pair, tuple | list) or len(pair) != 2:
            raise InvalidJob(f"headers must have pairs of (name, value), not {type(pair).__name__}")
    return headers
