"""Parse the head of a CGI response, Status and headers, incrementally (RFC 3875, section 6)."""

from __future__ import annotations

import re
from typing import Final

import attrs

from fcgi_async.errors import RemoteProtocolError

__all__ = ("CGIHead", "HeadParser", "HeadTooLarge", "whole_head")


# the name of a header is a token (RFC 3875, 6.3)
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_FIRST_LINE_EMPTY = re.compile(rb"\r?\n")
_EMPTY_LINE = re.compile(rb"\n\r?\n")
_FOLD = re.compile(r"(?:\n[ \t]+)+")
# what FPM writes instead of Status under cgi.rfc2616_headers=1
_STATUS_LINE = re.compile(r"HTTP/\d(?:\.\d)? +(.*)")
_LENGTH = re.compile(r"\d{1,18}")
# most scripts send the same few lines every time; longer heads are not worth the memory
_REMEMBERED_LENGTH: Final = 512
_REMEMBERED_HEADS: Final = 256
# headers that say nothing about the client; a head with any other, such as Set-Cookie, is not remembered
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
        status: 200 to 599, from the `Status` header or a status line; if there is neither, 302 with a `Location` (RFC
            3875, 6.2.3), otherwise 200.
        headers: names and values in order, without `Status`; repeated names are kept separate.
        length: the number in `Content-Length`, or None if there is none.
        dropped: lines that are not headers.
    """

    status: int
    headers: tuple[tuple[str, str], ...]
    length: int | None = None
    dropped: tuple[str, ...] = ()


@attrs.define(eq=False)
class HeadParser:
    """Finds the end of the head in the parts of a response and parses it.

    Lines may end in CRLF or LF, a folded line continues the line before it, and `Status` may be anywhere; instead of
    it, the first line may be an HTTP status line. A line that is not a header is dropped if other lines are headers. A
    NUL or a lone CR in a value is refused.

    Args:
        limit: most bytes that the head may have.
    """

    limit: int = 65536
    _buffer: bytes = attrs.field(default=b"", init=False)

    def feed(self, data: bytes) -> tuple[CGIHead, bytes] | None:
        """Take a part of the response. Once the head is complete, return it and the beginning of the body.

        Raises:
            RemoteProtocolError: this is not a CGI head; the error has the headers, and the beginning of the body.
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
            head, body = data[:end], data[body_start:]
            try:
                return _remembered.get(head) or _parse_and_remember(head), body
            except RemoteProtocolError as error:
                error.content = body
                raise
        # one byte more, for the CR of the empty line
        if len(data) > self.limit + 1:
            raise HeadTooLarge
        self._buffer = data
        return None

    @property
    def pending(self) -> bytes:
        """The bytes of a head that is not complete."""
        return self._buffer


def whole_head(data: bytes, limit: int) -> tuple[CGIHead, bytes] | None:
    """Return the head and the body of a whole response, if the same head was seen recently.

    Use the parser for anything else; for this, it would give the same result.
    """
    end = data.find(b"\r\n\r\n") + 2
    head = _remembered.get(data[:end])
    return None if head is None or end > limit else (head, data[end + 2 :])


def _find_end(data: bytes, start: int) -> tuple[int, int]:
    # an empty line: LF, then LF or CRLF; also as the very first line, which is an empty head
    first = _FIRST_LINE_EMPTY.match(data)
    if first is not None:
        return 0, first.end()
    found = _EMPTY_LINE.search(data, start)
    return (-1, -1) if found is None else (found.start() + 1, found.end())


def _parse_head(head: bytes) -> CGIHead:
    statuses: list[str] = []
    headers: list[tuple[str, str]] = []
    dropped: list[str] = []
    location, length = False, None
    # headers are bytes in PHP; latin-1 keeps every byte
    text = head.decode("latin-1").replace("\r\n", "\n")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    # there is one more line, an empty one, after the last line end
    for number, line in enumerate(text.split("\n")[:-1]):
        name, colon, value = line.partition(":")
        if not colon or _TOKEN.fullmatch(name) is None:
            status_line = None if number else _STATUS_LINE.fullmatch(line)
            if status_line is None:
                dropped.append(line)
            else:
                statuses.append(status_line[1])
            continue
        value = value.strip(" \t")
        lowered = name.lower()
        if lowered == "status":
            statuses.append(value)
            continue
        headers.append((name, value))
        if lowered == "location":
            location = True
        elif lowered == "content-length" and _LENGTH.fullmatch(value):
            length = int(value)
    status = _judge(statuses, headers, dropped)
    if status is None:
        status = 302 if location else 200
    return CGIHead(status, tuple(headers), length, tuple(dropped))


def _judge(statuses: list[str], headers: list[tuple[str, str]], dropped: list[str]) -> int | None:
    """Return the status in a head, if there is one; raise RemoteProtocolError if it is not a CGI head."""

    def malformed(what: str) -> RemoteProtocolError:
        error = RemoteProtocolError(what)
        error.headers = tuple(headers)
        return error

    if dropped and not headers and not statuses:
        raise malformed(f"the response's head has a line that is not a header, and no other: {dropped[0][:200]!r}")
    for name, value in headers:
        # it would split or truncate the value if it were passed on (RFC 9110, 5.5)
        if "\r" in value or "\0" in value:
            line = f"{name}: {value}"[:200]
            raise malformed(f"the response's head has a line that is not a header, with a NUL or a lone CR: {line!r}")
    status: int | None = None
    for text in statuses:
        code = _parse_status(text)
        if code is None:
            raise malformed(f"the response's Status is not a status code from 200 to 599: {text[:200]!r}")
        # no CGI field may be repeated (RFC 3875, 6.3); an equal one does no harm
        if status not in (None, code):
            raise malformed(f"the response's head has two Status headers, {status} and {code}")
        status = code
    return status


_remembered: dict[bytes, CGIHead] = {}


def _parse_and_remember(head: bytes) -> CGIHead:
    parsed = _parse_head(head)
    if (
        len(head) <= _REMEMBERED_LENGTH
        and not parsed.dropped
        and all(name.lower() in _IMPERSONAL for name, _ in parsed.headers)
    ):
        if len(_remembered) >= _REMEMBERED_HEADS:
            _remembered.clear()
        _remembered[head] = parsed
    return parsed


def _parse_status(value: str) -> int | None:
    code = value[:3]
    if not (code.isascii() and code.isdigit()) or value[3:4] not in ("", " ") or not 200 <= int(code) <= 599:
        return None
    return int(code)
