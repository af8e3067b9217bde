"""What a caller can ask of a response."""

from __future__ import annotations

import pytest

from fcgi_async.dispatch.job import Job
from fcgi_async.dispatch.response import Headers, Response, Timing
from fcgi_async.errors import JobFailed

JOB = Job("/a.php", tag="nightly")


def response(
    content: bytes = b"",
    *,
    status: int = 200,
    content_type: str | None = None,
    app_status: int = 0,
    stderr: bytes = b"",
) -> Response:
    """A response."""
    headers = () if content_type is None else (("Content-type", content_type),)
    timing = Timing(0.0, 0.0, 0.0, 0.0)
    return Response(
        JOB, status, Headers(headers), content, stderr, False, app_status, timing, "unix:///run/php.sock", 1
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
        (b"", None, ""),
    ],
)
def test_text(content: bytes, content_type: str | None, text: str) -> None:
    """The charset that PHP named decodes, UTF-8 otherwise; what cannot be decoded never raises."""
    assert response(content, content_type=content_type).text == text


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
    assert "secret" not in repr(response(b"secret"))
