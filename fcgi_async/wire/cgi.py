"""The head of a CGI response: Status and headers, incrementally (RFC 3875, section 6)."""

from __future__ import annotations

import re
from typing import Final

import attrs

from fcgi_async.errors import RemoteProtocolError

__all__ = ("CGIHead", "HeadParser", "HeadTooLarge")


# the name of a header is a token (RFC 3875, 6.3)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIRST_LINE_EMPTY = re.compile(rb"\r?\n")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_FOLD = re.compile(r"(?:\n[ \t]+)+")
# most scripts send the same few lines every time; what is longer is not worth its memory
_REMEMBERED_LENGTH: Final = 512
_REMEMBERED_HEADS: Final = 256
# headers that say nothing of who asked: a head with any other, such as Set-Cookie, is forgotten with its response
_IMPERSONAL: Final = frozenset(
    {
        "cache-control",
        "content-language",
        "content-length",
        "content-type",
        "expires",
        "pragma",
        "referrer-policy",
        "strict-transport-security",
        "vary",
        "x-content-type-options",
        "x-frame-options",
        "x-powered-by",
    }
)


class HeadTooLarge(Exception):
    """The head is longer than its limit."""


@attrs.frozen
class CGIHead:
    """Status and headers of a response.

    Attributes:
        status: from the `Status` header; without one 302 where a `Location` is given (RFC 3875, 6.2.3), else 200.
        headers: names and values in their order, `Status` left out, repeated names kept apart.
    """

    status: int
    headers: tuple[tuple[str, str], ...]


@attrs.define(eq=False)
class HeadParser:
    """Finds the end of the head in the parts of a response and parses it.

    Lines may end in CRLF or LF, a folded line continues the one before it, and `Status` may stand anywhere. A NUL or a
    lone CR is refused.

    Args:
        limit: how many bytes the head may have.
    """

    limit: int = 65536
    _buffer: bytes = attrs.field(default=b"", init=False)

    def feed(self, data: bytes) -> tuple[CGIHead, bytes] | None:
        """Take a part of the response; return the head and the beginning of the body once the head is complete.

        Raises:
            RemoteProtocolError: what came is not a CGI head.
            HeadTooLarge: the head is longer than its limit.
        """
        held = len(self._buffer)
        if held:
            data = self._buffer + data
        end, body_start = _find_end(data, max(0, held - 2))
        if end > self.limit:
            raise HeadTooLarge
        if end >= 0:
            self._buffer = b""
            head = data[:end]
            return _remembered.get(head) or _parse_and_remember(head), data[body_start:]
        # one more byte is the CR of the empty line
        if len(data) > self.limit + 1:
            raise HeadTooLarge
        self._buffer = data
        return None

    @property
    def pending(self) -> bytes:
        """What came of a head that is not complete."""
        return self._buffer


def _find_end(data: bytes, start: int) -> tuple[int, int]:
    # an empty line: LF, then LF or CRLF; also as the very first line, which is an empty head
    first = _FIRST_LINE_EMPTY.match(data)
    if first is not None:
        return 0, first.end()
    found = _EMPTY_LINE.search(data, start)
    return (-1, -1) if found is None else (found.start() + 1, found.end())


def _parse_head(head: bytes) -> CGIHead:
    status: int | None = None
    location = False
    headers: list[tuple[str, str]] = []
    # headers are bytes to PHP; latin-1 keeps every one of them
    text = head.decode("latin-1").replace("\r\n", "\n")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    # behind the last line end there is one more, empty
    for line in text.split("\n")[:-1]:
        name, colon, value = line.partition(":")
        # a lone CR or a NUL in a value would split or cut it for whoever passes it on (RFC 9110, 5.5)
        if not colon or _TOKEN.fullmatch(name) is None or "\r" in value or "\0" in value:
            raise RemoteProtocolError(f"the response's head has a line that is no header: {line[:200]!r}")
        value = value.strip(" \t")
        lowered = name.lower()
        if lowered == "status":
            before, status = status, _parse_status(value)
            # no CGI field may be repeated (RFC 3875, 6.3); the same once more does no harm
            if before not in (None, status):
                raise RemoteProtocolError(f"the response's head has two Status headers, {before} and {status}")
            continue
        if lowered == "location":
            location = True
        headers.append((name, value))
    if status is None:
        status = 302 if location else 200
    return CGIHead(status, tuple(headers))


_remembered: dict[bytes, CGIHead] = {}


def _parse_and_remember(head: bytes) -> CGIHead:
    parsed = _parse_head(head)
    if len(head) <= _REMEMBERED_LENGTH and all(name.lower() in _IMPERSONAL for name, _ in parsed.headers):
        if len(_remembered) >= _REMEMBERED_HEADS:
            _remembered.clear()
        _remembered[head] = parsed
    return parsed


def _parse_status(value: str) -> int:
    code = value[:3]
    if not (code.isascii() and code.isdigit()) or int(code) < 100 or value[3:4] not in ("", " "):
        raise RemoteProtocolError(f"the response's Status is not a status code: {value[:200]!r}")
    return int(code)
