"""CGI heads that are none, that are odd, or that are too large; and bodies that are not what their head says."""

from __future__ import annotations

from typing import Final

from fcgi_async import Limits, RemoteProtocolError, ResponseTooLarge
from tests.dispatch.hostile.case import Answers, Case, Fails, head, says, says_for_ever
from tests.handlers import HEAD
from tests.wire import frames

__all__ = ("CASES",)

NO_HEADER: Final = Fails(RemoteProtocolError, message="a line that is not a header")
INCOMPLETE: Final = Fails(RemoteProtocolError, message="before its head was complete")
BAD_STATUS: Final = Fails(RemoteProtocolError, message="is not a status code")
TOO_LARGE: Final = Fails(ResponseTooLarge, message="Limits.head")


def _refused(name: str, peer: str, text: bytes, expected: Fails = NO_HEADER) -> Case:
    return Case(name, peer, expected, at_requests=says(lambda n: head(n, text)))


def _taken(name: str, peer: str, text: bytes, expected: Answers = Answers(), body: bytes = b"ok") -> Case:  # noqa: B008
    return Case(name, peer, expected, at_requests=says(lambda n: head(n, text, body)))


_REFUSED = (
    _refused("CR for line ends", "ends the lines of its head with CR", b"Content-type: text/plain\r\r", INCOMPLETE),
    _refused("no end of the head", "never sends the empty line", b"Content-type: text/plain\r\n", INCOMPLETE),
    _refused("HTML without a head", "sends a page and no head", b"<html>\n\n"),
    _refused("no colon", "sends one line, without a colon", b"nonsense\r\n\r\n"),
    _refused("no name", "sends a header without a name", b": value\r\n\r\n"),
    _refused("space in a name", "sends a blank before the colon", b"X-A : b\r\n\r\n"),
    _refused("UTF-8 in a name", "sends a name that is not ASCII", "X-É: b\r\n\r\n".encode()),
    _refused("NUL in a name", "sends a NUL in a header's name", b"X-\0: b\r\n\r\n"),
    _refused("NUL in a value", "sends a NUL in a header's value", b"X-A: b\0c\r\n\r\n"),
    _refused("CR in a value", "hides a second header behind a lone CR", b"X-A: b\rSet-Cookie: c\r\n\r\n"),
    _refused("folded first line", "begins its head with a continuation", b" X-A: b\r\n\r\n"),
    _refused("status 999", "sends `Status: 999`", b"Status: 999 Odd\r\n\r\n", BAD_STATUS),
    _refused("status 199", "sends `Status: 199`", b"Status: 199\r\n\r\n", BAD_STATUS),
    _refused("status that is a word", "sends `Status: fine`", b"Status: fine\r\n\r\n", BAD_STATUS),
    _refused("status that is empty", "sends `Status:`", b"Status:\r\n\r\n", BAD_STATUS),
    _refused("status 99", "sends `Status: 99`", b"Status: 99\r\n\r\n", BAD_STATUS),
    _refused("status 000", "sends `Status: 000`", b"Status: 000\r\n\r\n", BAD_STATUS),
    _refused("status 1000", "sends `Status: 1000`", b"Status: 1000\r\n\r\n", BAD_STATUS),
    _refused("status -200", "sends `Status: -200`", b"Status: -200\r\n\r\n", BAD_STATUS),
    _refused("status in other digits", "sends the Status in superscript", "Status: ²00\r\n\r\n".encode(), BAD_STATUS),
    _refused(
        "two statuses",
        "sends two Status headers that contradict each other",
        b"Status: 200\r\nStatus: 500\r\n\r\n",
        Fails(RemoteProtocolError, message="Status"),
    ),
    Case(
        "no response at all",
        "sends END_REQUEST and nothing else",
        INCOMPLETE,
        at_requests=says(frames.end),
    ),
    Case(
        "nothing but STDERR",
        "logs something and ends the request",
        INCOMPLETE,
        at_requests=says(lambda n: frames.stderr(n, b"log") + frames.end(n)),
    ),
)

_TAKEN = (
    _taken(
        "LF for line ends", "ends the lines of its head with LF", b"X-A: b\nX-C: d\n\n", Answers(headers={"x-c": "d"})
    ),
    _taken(
        "folded lines",
        "folds a header over three lines",
        b"X-A: b\r\n c\r\n\td\r\n\r\n",
        Answers(headers={"x-a": "b c d"}),
    ),
    _taken("empty head", "begins with the empty line", b"\r\n", Answers(header_count=0)),
    _taken(
        "HTTP status line",
        "begins its head as an HTTP server does",
        b"HTTP/1.1 404 Not Found\r\nX-A: b\r\n\r\n",
        Answers(status=404, headers={"x-a": "b"}),
    ),
    _taken(
        "a line that is not a header",
        "has a line without a colon among its headers",
        b"X-A: b\r\nfoo\r\n\r\n",
        Answers(headers={"x-a": "b"}, header_count=1),
    ),
    _taken(
        "UTF-8 in a value",
        "sends a value that is not ASCII: its bytes are kept as latin-1",
        "X-A: é\r\n\r\n".encode(),
        Answers(headers={"x-a": "Ã©"}),
    ),
    _taken(
        "4000 headers",
        "sends 4000 headers, within the limit of the head",
        b"".join(b"X-%d: a\r\n" % number for number in range(4000)) + b"\r\n",
        Answers(header_count=4000, headers={"x-3999": "a"}),
    ),
    _taken(
        "chunked body",
        "says `Transfer-Encoding: chunked`, and its body looks like it: it is left as it came",
        b"Transfer-Encoding: chunked\r\n\r\n",
        Answers(content=b"5\r\nhello\r\n0\r\n\r\n"),
        b"5\r\nhello\r\n0\r\n\r\n",
    ),
    _taken("Content-Length too small", "sends more than its Content-Length", b"Content-Length: 1\r\n\r\n"),
    _taken(
        "Content-Length too large",
        "sends less than its Content-Length",
        b"Content-Length: 999\r\n\r\n",
        Answers(truncated=True),
    ),
    _taken("Content-Length that is not a number", "sends a Content-Length of -1e9", b"Content-Length: -1e9\r\n\r\n"),
)

_LIMITS = (
    Case(
        "head of 1 MB",
        "sends a head of one megabyte",
        TOO_LARGE,
        at_requests=says(
            lambda n: b"".join(frames.stdout(n, b"X-A: " + b"b" * 60_000 + b"\r\n") for _ in range(17)) + frames.end(n)
        ),
    ),
    Case(
        "head without end",
        "sends headers and never stops",
        TOO_LARGE,
        at_requests=says_for_ever(lambda n: b"", lambda n: frames.stdout(n, b"X-A: b\r\n" * 1000)),
    ),
    Case(
        "line without end",
        "sends the name of a header and never stops",
        TOO_LARGE,
        at_requests=says_for_ever(lambda n: b"", lambda n: frames.stdout(n, b"x" * 10_000)),
    ),
    Case(
        "body over its limit",
        "sends one byte more than Limits.response, and ends",
        Fails(ResponseTooLarge, message="Limits.response"),
        limits=Limits(response=1000),
        at_requests=says(lambda n: head(n, HEAD, bytes(1001))),
    ),
    Case(
        "body at its limit",
        "sends exactly Limits.response",
        Answers(content=bytes(1000)),
        limits=Limits(response=1000),
        at_requests=says(lambda n: head(n, HEAD, bytes(1000))),
    ),
    Case(
        "body without end",
        "sends its body and never stops",
        Fails(ResponseTooLarge, message="Limits.response"),
        limits=Limits(response=1_000_000),
        at_requests=says_for_ever(lambda n: frames.stdout(n, HEAD), lambda n: frames.stdout(n, bytes(60_000))),
    ),
)

CASES: Final = (*_REFUSED, *_TAKEN, *_LIMITS)
