"""The head of a CGI response."""

from __future__ import annotations

import pytest

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire import cgi
from fcgi_async.wire.cgi import CGIHead, HeadParser, HeadTooLarge


def parse(head: bytes) -> CGIHead:
    """Parse a whole head and expect it to be one."""
    result = HeadParser().feed(head)
    assert result is not None
    assert result[1] == b""
    return result[0]


def test_head_of_php() -> None:
    """Headers come in their order and as they were written; 200 is the status where none is named."""
    parser = HeadParser()
    assert parser.feed(b"X-Powered-By: PHP/8.2\r\nContent-type: text/html; charset=UTF-8\r\n\r\nhello\r\n\r\n") == (
        CGIHead(200, (("X-Powered-By", "PHP/8.2"), ("Content-type", "text/html; charset=UTF-8"))),
        b"hello\r\n\r\n",
    )


@pytest.mark.parametrize(
    "head",
    [
        b"Status: 404 Not Found\r\nA: 1\r\nB: 2\r\n\r\n",
        b"A: 1\r\nstatus:404\r\nB: 2\r\n\r\n",
        b"A: 1\nB: 2\nSTATUS: \t404 \n\n",
    ],
)
def test_status_anywhere(head: bytes) -> None:
    """`Status` may stand anywhere in the head, in any case, and is no header."""
    assert parse(head) == CGIHead(404, (("A", "1"), ("B", "2")))


@pytest.mark.parametrize(
    "status", [b"", b"20", b"abc", b"2000", b"099", b"42", b"100", b"199", b"600", b"999", b"-20", b"20\xb9", b"200OK"]
)
def test_status_that_is_none(status: bytes) -> None:
    """A status is three digits from 200 to 599, with a space after them if there is more."""
    with pytest.raises(RemoteProtocolError, match="is not a status code"):
        parse(b"Status: " + status + b"\r\n\r\n")


def test_two_statuses() -> None:
    """Two statuses that contradict each other are refused; the same once more does no harm."""
    assert parse(b"Status: 404 Not Found\r\nStatus: 404\r\n\r\n").status == 404
    with pytest.raises(RemoteProtocolError, match="two Status headers, 200 and 500"):
        parse(b"Status: 200\r\nStatus: 500\r\n\r\n")


@pytest.mark.parametrize("head", [b"A: b\0c\r\n\r\n", b"A: b\rC: d\r\n\r\n", b"A: b\r\r\n\r\n"])
def test_value_that_would_split(head: bytes) -> None:
    """A NUL or a lone CR in a value is refused: who passes the header on would pass on two."""
    with pytest.raises(RemoteProtocolError, match=r"lone CR|not a status code"):
        parse(head)


def test_location() -> None:
    """`Location` means 302 where no status is named (RFC 3875, 6.2.3)."""
    assert parse(b"location: /there\r\n\r\n") == CGIHead(302, (("location", "/there"),))
    assert parse(b"Location: /there\r\nStatus: 201\r\n\r\n").status == 201


def test_repeated_headers() -> None:
    """Repeated names stay apart: a second cookie is not the first one's continuation."""
    assert parse(b"Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n").headers == (
        ("Set-Cookie", "a=1"),
        ("Set-Cookie", "b=2"),
    )


@pytest.mark.parametrize("fold", [b"\r\n ", b"\n\t", b"\r\n \t ", b"\r\n \r\n "])
def test_folded_line(fold: bytes) -> None:
    """A line that begins with blanks continues the one before it, with one blank between."""
    assert parse(b"A: one" + fold + b"two\r\nB: 3\r\n\r\n").headers == (("A", "one two"), ("B", "3"))


@pytest.mark.parametrize(
    ("line_end", "head_end"), [(b"\r\n", b"\r\n"), (b"\n", b"\n"), (b"\r\n", b"\n"), (b"\n", b"\r\n")]
)
def test_line_ends(line_end: bytes, head_end: bytes) -> None:
    """Lines may end in CRLF or LF, each for itself; the first empty line ends the head."""
    result = HeadParser().feed(b"A: 1" + line_end + b"B: 2" + line_end + head_end + b"\r\nbody\n\n")
    assert result == (CGIHead(200, (("A", "1"), ("B", "2"))), b"\r\nbody\n\n")


@pytest.mark.parametrize("head", [b"\r\n", b"\n"])
def test_empty_head(head: bytes) -> None:
    """A response may begin with an empty line: it has no headers."""
    assert HeadParser().feed(head + b"body") == (CGIHead(200, ()), b"body")


@pytest.mark.parametrize(
    "line",
    [b"hello world", b": value", b"na me: value", b"name : value", b" A: 1", b"<a href=http://x>", b"N\xe4me: 1"],
)
def test_head_of_no_header(line: bytes) -> None:
    """A head that has a line and no header is refused, so that a body without a head does not lose its first lines."""
    with pytest.raises(RemoteProtocolError, match="that is not a header") as caught:
        HeadParser().feed(line + b"\r\n\r\nbody")
    assert caught.value.content == b"body"


@pytest.mark.parametrize("line", [b"foo", b": value", b"na me: value", b"name : value", b"N\xe4me: 1"])
@pytest.mark.parametrize("place", [0, 1, 2])
def test_line_that_is_no_header(line: bytes, place: int) -> None:
    """A line without a name and a colon is dropped beside lines that have them, as nginx does, and is told."""
    lines = [b"A: 1", b"Status: 404"]
    lines.insert(place, line)
    head = parse(b"".join(line + b"\r\n" for line in lines) + b"\r\n")
    assert (head.status, head.headers, head.dropped) == (404, (("A", "1"),), (line.decode("latin-1"),))


@pytest.mark.parametrize("line", [b"HTTP/1.1 404 Not Found", b"HTTP/1.0 404", b"HTTP/2 404 "])
def test_status_line(line: bytes) -> None:
    """A status line of HTTP is understood as the first line: FPM writes it under cgi.rfc2616_headers=1."""
    assert parse(line + b"\r\nA: 1\r\n\r\n") == CGIHead(404, (("A", "1"),))
    assert parse(b"A: 1\r\n" + line + b"\r\n\r\n").status == 200


def test_fault_keeps_what_is_right() -> None:
    """A head with a wrong status is refused, and its headers and the beginning of the body go with the error."""
    with pytest.raises(RemoteProtocolError) as caught:
        HeadParser().feed(b"Status: 42\r\nX-A: 1\r\nX-B: 2\r\n\r\nbody")
    assert caught.value.headers == (("X-A", "1"), ("X-B", "2"))
    assert caught.value.content == b"body"


@pytest.mark.parametrize(
    ("value", "length"),
    [(b"5", 5), (b" 0 ", 0), (b"", None), (b"5, 5", None), (b"-1", None), (b"abc", None), (b"9" * 40, None)],
)
def test_length(value: bytes, length: int | None) -> None:
    """Content-Length is read where it is a number; any other is a header like the rest."""
    assert parse(b"Content-Length: " + value + b"\r\n\r\n").length == length


def test_values_are_bytes() -> None:
    """Every byte of a value is kept as the character of the same number; blanks around it are not."""
    assert parse(b"A: \t\x80\xff: b\x01\xa0 \r\n\r\n").headers == (("A", "\x80\xff: b\x01\xa0"),)


def test_head_in_parts() -> None:
    """A head split over parts is complete with its empty line, and what is there of it can be seen until then."""
    parser = HeadParser()
    assert parser.feed(b"A: 1\r") is None
    assert parser.feed(b"\n\r") is None
    assert parser.pending == b"A: 1\r\n\r"
    assert parser.feed(b"\nbody") == (CGIHead(200, (("A", "1"),)), b"body")
    assert parser.pending == b""


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_limit(end: bytes) -> None:
    """A head may be as long as the limit, and not longer, however it comes."""
    head = b"A: 34567\r\n" + end
    for limit, fits in ((10, True), (9, False)):
        whole, parts = HeadParser(limit), HeadParser(limit)
        if fits:
            assert whole.feed(head) is not None
            assert [parts.feed(head[i : i + 1]) is not None for i in range(len(head))][-1]
        else:
            with pytest.raises(HeadTooLarge):
                whole.feed(head)
            with pytest.raises(HeadTooLarge):
                [parts.feed(head[i : i + 1]) for i in range(len(head))]


def test_head_without_end() -> None:
    """A head that does not end is refused when it outgrows the limit, not when memory ends."""
    parser = HeadParser(100)
    for _ in range(10):
        assert parser.feed(b"A: 45678\r\n") is None
    with pytest.raises(HeadTooLarge):
        parser.feed(b"A: 45678\r\n")
    assert len(parser.pending) == 100


@pytest.fixture
def forgetful(monkeypatch: pytest.MonkeyPatch) -> dict[bytes, CGIHead]:
    """What is remembered of heads, nothing at first."""
    remembered: dict[bytes, CGIHead] = {}
    monkeypatch.setattr(cgi, "_remembered", remembered)
    return remembered


def test_equal_heads_are_parsed_once(forgetful: dict[bytes, CGIHead]) -> None:
    """The head that most scripts send is the same object each time."""
    head = b"X-Powered-By: PHP/8.2\r\nContent-type: text/html; charset=UTF-8\r\nStatus: 404 Not Found\r\n\r\n"
    assert parse(head) is parse(head)
    assert len(forgetful) == 1


@pytest.mark.parametrize(
    "line",
    [
        b"Set-Cookie: session=secret",
        b"set-cookie: session=secret",
        b"Location: /reset?token=secret",
        b"X-User: secret",
        b"ETag: secret",
        b"Authentication-Info: secret",
    ],
)
def test_personal_heads_are_forgotten(line: bytes, forgetful: dict[bytes, CGIHead]) -> None:
    """A head that may say who asked does not outlive its response."""
    head = b"Content-type: text/html\r\n" + line + b"\r\n\r\n"
    assert parse(head) == parse(head)
    assert forgetful == {}


def test_few_heads_are_remembered(forgetful: dict[bytes, CGIHead]) -> None:
    """Neither many heads nor long ones take memory."""
    for number in range(1000):
        parse(b"Content-Length: %d\r\n\r\n" % number)
    assert len(forgetful) <= 256
    forgetful.clear()
    parse(b"Content-Type: " + b"x" * 600 + b"\r\n\r\n")
    assert forgetful == {}


def test_a_fault_is_not_remembered(forgetful: dict[bytes, CGIHead]) -> None:
    """What is refused is refused each time."""
    for _ in range(2):
        with pytest.raises(RemoteProtocolError):
            parse(b"no header\r\n\r\n")
    assert forgetful == {}
