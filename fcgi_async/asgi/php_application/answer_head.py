"""The headers of PHP's answer: those passed to the client, and those for the server."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable
from typing import Final

import attrs

__all__ = ("AnswerHead", "read_answer_head")

logger = logging.getLogger("fcgi_async.asgi")

# about the connection to FPM, set by the server itself, or meant for the server; so is X-Accel-*
_OWN: Final = frozenset(
    {
        "connection",
        "content-length",
        "date",
        "keep-alive",
        "proxy-connection",
        "status",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-litespeed-location",
        "x-sendfile",
    }
)
_NAMES_KEPT: Final = 256
_names: dict[str, bytes] = {}
_LENGTH = re.compile(r"[0-9]{1,18}")
# 204 must not have a length, and some servers wait for the body that a length in 304 announces
_BODILESS: Final = frozenset({204, 304})
# servers refuse to send these, or send them unchanged
_CONTROLS = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")


@attrs.define
class AnswerHead:
    """The part of the head for the client, and the part for the server.

    Attributes:
        status: from 200 to 599.
        headers: lower-case names and values; without Content-Length.
        length: the number in Content-Length, or None if there is none that can be trusted.
        accel: the value of X-Accel-Redirect.
        sendfile: the value of X-Sendfile.
        buffered: False if PHP said `X-Accel-Buffering: no`.
    """

    status: int
    headers: list[tuple[bytes, bytes]]
    length: int | None
    accel: str | None
    sendfile: str | None
    buffered: bool


def read_answer_head(status: int, raw: Iterable[tuple[str, str]]) -> AnswerHead:
    """Return the parts of a head; faulty headers are dropped and logged."""
    headers: list[tuple[bytes, bytes]] = []
    lengths: list[str] = []
    accel = sendfile = None
    buffered = True
    for name, value in raw:
        passed = _names.get(name)
        if passed is None:
            passed = _remember(name)
        if passed:
            if _CONTROLS.search(value) is None:
                headers.append((passed, value.encode("latin-1")))
            else:
                logger.warning("dropping a header of PHP's answer, whose value has control characters: %.200r", name)
            continue
        lowered = name.lower()
        if lowered == "content-length":
            lengths.append(value)
        elif lowered == "x-accel-redirect":
            accel = value
        elif lowered == "x-accel-buffering":
            buffered = value.strip().lower() != "no"
        elif lowered == "x-sendfile":
            sendfile = value
    length = _length(lengths) if lengths and status not in _BODILESS else None
    return AnswerHead(status, headers, length, accel, sendfile, buffered)


def _remember(name: str) -> bytes:
    """Return a header's name as it is passed on; empty if the header is not passed on."""
    lowered = name.lower()
    own = lowered in _OWN or lowered.startswith("x-accel-")
    if len(_names) >= _NAMES_KEPT:
        _names.clear()
    passed = _names[name] = b"" if own else lowered.encode("latin-1")
    return passed


def _length(values: list[str]) -> int | None:
    first = values[0]
    if any(value != first for value in values) or _LENGTH.fullmatch(first) is None:
        logger.warning("dropping PHP's Content-Length, because it is not one number: %.200r", values)
        return None
    return int(first)
