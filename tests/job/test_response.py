"""What a caller can ask of a response."""

from __future__ import annotations

import gzip
import zlib

import pytest

from fcgi_async.dispatch.truncation import is_truncated
from fcgi_async.errors import ContentEncodingError, JobFailed, ResponseTooLarge
from fcgi_async.job.charset import _CODECS
from fcgi_async.job.job import Job
from fcgi_async.job.response import Headers, Response, Timing
from fcgi_async.wire.cgi import CGIHead

JOB = Job("/a.php", tag="nightly")


def response(
    content: bytes = b"",
    *,
    status: int = 200,
    content_type: str | None = None,
    app_status: int = 0,
    stderr: bytes = b"",
    encodings: tuple[str, ...] = (),
    limit: int = 10_000,
    truncated: bool = False,
) -> Response:
    """A response."""
    headers: tuple[tuple[str, str], ...] = () if content_type is None else (("Content-type", content_type),)
    headers += tuple(("Content-Encoding", encoding) for encoding in encodings)
    timing = Timing(0.0, 0.0, 0.0, 0.0)
    address = "unix:///run/php.sock"
    return Response(
        JOB, status, Headers(headers), content, stderr, False, app_status, timing, address, 1, truncated, limit
    )


def test_headers() -> None:
    """Names are found whatever their case; the first of several wins, and all can be had, in their order."""
    raw = (("Content-Type", "text/html"), ("Set-Cookie", "a=1"), ("X-A", ""), ("set-cookie", "b=2"))
    headers = Headers(raw)
    assert headers["content-TYPE"] == "text/html"
    assert headers["Set-Cookie"] == "a=1"
    assert headers.get_list("SET-COOKIE") == ["a=1", "b=2"]
    assert headers.get_list("nothing") == []
    assert headers.get("nothing") is None
    assert "x-a" in headers
    number: object = 7
    assert number not in headers
    assert list(headers) == ["content-type", "set-cookie", "x-a"]
    assert len(headers) == 3
    assert headers.raw == raw
    assert "Set-Cookie" in repr(headers)
    with pytest.raises(KeyError):
        headers["nothing"]


@pytest.mark.parametrize(
    ("content", "content_type", "text"),
    [
        ("é".encode(), None, "é"),
        ("é".encode(), "text/html", "é"),
        ("é".encode("latin-1"), "text/html; charset=ISO-8859-1", "é"),
        ("é".encode("utf-16"), 'text/html; Charset="utf-16"', "é"),
        (b"\xff", "text/html", "\ufffd"),
        ("é".encode(), "text/html; charset=no-such-thing", "é"),
        ("é".encode(), "text/html; charset=base64", "é"),
        ("é".encode(), "text/html; charset=idna", "é"),
        ("é".encode(), "text/html; charset=punycode", "é"),
        ("é".encode(), "text/html; charset=utf-7", "é"),
        ("é".encode(), "text/html; charset=unicode_escape", "é"),
        ("é".encode(), "text/html; charset=undefined", "é"),
        (b"", None, ""),
    ],
)
def test_text(content: bytes, content_type: str | None, text: str) -> None:
    """The charset that PHP named decodes, UTF-8 otherwise; what cannot be decoded never raises."""
    assert response(content, content_type=content_type).text == text


CHARSETS = {
    "é": "us-ascii utf-8 UTF8 utf_8 iso-8859-1 ISO_8859-1 latin1 windows-1252 cp1252 iso-8859-15 latin9 utf-16",
    "ж": "windows-1251 koi8-r koi8-u iso-8859-5 ibm866 cp866",
    "ب": "iso-8859-6 windows-1256",
    "中": "gb2312 gbk gb18030 big5 Big5-HKSCS euc-jp shift_jis Shift-JIS iso-2022-jp cp932 euc-kr",
}


@pytest.mark.parametrize(
    ("character", "charset"), [(character, name) for character, names in CHARSETS.items() for name in names.split()]
)
def test_charsets(character: str, charset: str) -> None:
    """Charsets that bodies come in are decoded, however they are spelt."""
    sent = "e" if charset == "us-ascii" else character
    assert response(sent.encode(charset), content_type=f"text/plain; charset={charset}").text == sent


@pytest.mark.parametrize("charset", [*_CODECS, "windows-31j"])
def test_text_never_raises(charset: str) -> None:
    """Whatever the bytes are, what cannot be decoded is replaced."""
    for content in (bytes(range(256)), b"\xff" * 99, b"\x1b$B\xff", b"\xd8"):
        assert isinstance(response(content, content_type=f"text/plain; charset={charset}").text, str)


@pytest.mark.parametrize(
    ("content", "encodings"),
    [
        (gzip.compress(b'{"a": "\xe9"}', mtime=0), ("gzip",)),
        (zlib.compress(b'{"a": "\xe9"}'), ("deflate",)),
        (gzip.compress(zlib.compress(b'{"a": "\xe9"}'), mtime=0), ("deflate", "x-gzip")),
    ],
)
def test_content_encoding(content: bytes, encodings: tuple[str, ...]) -> None:
    """The text is decoded from its Content-Encoding, and then from its charset; the content stays as it was sent."""
    answer = response(content, content_type="text/plain; charset=latin1", encodings=encodings)
    assert answer.text == '{"a": "é"}'
    assert answer.content == content
    assert response(gzip.compress(b"[1]", mtime=0), encodings=("gzip",)).json() == [1]


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip"])
def test_content_encoding_that_cannot_be_decoded(encoding: str) -> None:
    """What is not known, or not what it says, is an error that names Content-Encoding, the job and the endpoint."""
    answer = response(b"\x0b\x02\x80hello", encodings=(encoding,))
    for ask in (lambda: answer.text, answer.json):
        with pytest.raises(ContentEncodingError, match=f"Content-Encoding: {encoding} cannot be decoded") as caught:
            ask()
        assert isinstance(caught.value, ValueError)
        assert (caught.value.job, caught.value.endpoint) == (JOB, answer.endpoint)
        assert caught.value.may_have_run
    assert answer.ok


def test_content_encoding_beyond_the_limit() -> None:
    """A small body may not become a large text."""
    answer = response(gzip.compress(bytes(101), mtime=0), encodings=("gzip",), limit=100)
    with pytest.raises(ResponseTooLarge, match=r"without its Content-Encoding .* Limits.response, 100 bytes") as caught:
        _ = answer.text
    assert (caught.value.job, caught.value.may_have_run) == (JOB, True)
    assert len(response(gzip.compress(bytes(100), mtime=0), encodings=("gzip",), limit=100).text) == 100


def test_json() -> None:
    """JSON is parsed; what is none is a ValueError."""
    assert response(b'{"a": [1, null]}').json() == {"a": [1, None]}
    with pytest.raises(ValueError, match="Expecting value"):
        response(b"<html>").json()


@pytest.mark.parametrize(
    ("status", "app_status", "ok"), [(200, 0, True), (399, 0, True), (400, 0, False), (500, 0, False), (200, 1, False)]
)
def test_ok(status: int, app_status: int, ok: bool) -> None:
    """`ok` and raise_for_status() are the same question."""
    answer = response(status=status, app_status=app_status)
    assert answer.ok is ok
    if ok:
        assert answer.raise_for_status() is answer
    else:
        with pytest.raises(JobFailed):
            answer.raise_for_status()


def test_job_failed_says_what_happened() -> None:
    """JobFailed names status, app_status, what PHP logged, the job and the endpoint, and brings the response."""
    answer = response(status=500, app_status=3, stderr=b"PHP message: PHP Fatal error: \xff" + b"x" * 1000)
    with pytest.raises(JobFailed) as caught:
        answer.raise_for_status()
    error = caught.value
    assert "status 500 and app_status 3: PHP message: PHP Fatal error: \ufffd" in str(error)
    assert "job '/a.php' (tag 'nightly'), at unix:///run/php.sock, PHP may have run it" in str(error)
    assert len(str(error)) < 600
    assert (error.response, error.job, error.endpoint, error.may_have_run) == (answer, JOB, answer.endpoint, True)


def test_repr_is_short() -> None:
    """A response in a log does not bring its body along."""
    answer = response(b"secret", content_type="secret/type", stderr=b"secret log")
    assert repr(answer) == "<Response 200 of '/a.php', 6 bytes>"


def test_status_code() -> None:
    """The status goes by its other name too."""
    assert response(status=404).status_code == 404


def test_truncated() -> None:
    """A body that is shorter than its Content-Length is not ok, whatever the status."""
    assert response(b"half").ok
    assert not response(b"half", truncated=True).ok


@pytest.mark.parametrize(
    ("method", "status", "names", "size", "cut"),
    [
        ("GET", 200, (), 99, True),
        ("GET", 200, (), 0, True),
        ("GET", 500, (), 99, True),
        ("GET", 200, (), 100, False),
        ("GET", 200, (), 101, False),
        ("HEAD", 200, (), 0, False),
        ("GET", 204, (), 0, False),
        ("GET", 304, (), 0, False),
        ("GET", 200, ("X-Sendfile",), 0, False),
        ("GET", 200, ("x-accel-redirect",), 0, False),
        ("GET", 200, ("X-Sendfile",), 5, True),
    ],
)
def test_is_truncated(method: str, status: int, names: tuple[str, ...], size: int, cut: bool) -> None:
    """Fewer bytes than Content-Length says are a cut body, but where a response has none, or a web server sends it."""
    headers = (("Content-Length", "100"), *((name, "/file") for name in names))
    assert is_truncated(Job("/a.php", method=method), CGIHead(status, headers, 100), size) is cut


def test_without_a_length_nothing_is_truncated() -> None:
    """A body without a Content-Length is whole."""
    assert not is_truncated(Job("/a.php"), CGIHead(200, ()), 0)
