"""What a Job refuses before anything is sent, and what it says then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import PurePosixPath
from typing import Any

import pytest

from fcgi_async.errors import FastCGIError, InvalidJob
from fcgi_async.job.body import BodyStream
from fcgi_async.job.job import Job
from fcgi_async.wire.spec import Role
from tests.ids import readable

# a PARAMS record holds 65535 bytes, of which the name takes one and the two lengths up to eight
LONGEST = 65535 - 1 - 8


async def parts() -> AsyncIterator[bytes]:
    """A body in parts."""
    yield b"part"


REFUSED: list[tuple[dict[str, Any], str]] = [
    # the script
    ({"script": ""}, "script= is empty; name the PHP file to run"),
    ({"script": "/a\0.php"}, "script has a NUL, and PHP would cut it off there"),
    ({"script": None}, "script must be a string, not NoneType"),
    ({"script": b"/a.php"}, "script must be a string, not bytes"),
    ({"script": "/\ud800.php"}, "script .*cannot be encoded"),
    # the target
    ({"uri": "/a?x=1", "query": {"y": "2"}}, "uri= and query= are both given; write the query into the uri"),
    ({"uri": "orders/7"}, "must start with / and have no whitespace, as in /orders/7"),
    ({"uri": "https://example.com/"}, "must start with / and have no whitespace, as in /orders/7"),
    ({"uri": "/a b"}, "must start with / and have no whitespace, as in /orders/7"),
    ({"uri": "/a\r\nX: y"}, "must start with / and have no whitespace, as in /orders/7"),
    ({"uri": ""}, "must start with /"),
    ({"uri": "/a\0b"}, "uri has a NUL"),
    ({"uri": "/a%00b"}, "uri's path has a NUL"),
    ({"uri": 7}, "uri must be a string, not int"),
    ({"uri": "/" + "a" * 65536}, "REQUEST_URI.* is longer than the 64 KiB that PHP-FPM takes"),
    ({"query": "a\0b"}, "query has a NUL"),
    ({"query": 7}, "query= must be a mapping, a sequence of pairs or an encoded string"),
    ({"query": b"a=1"}, "query= must be a mapping, a sequence of pairs or an encoded string, not bytes"),
    ({"query": [("a", "b", "c")]}, r"query= must have pairs of \(name, value\), not tuple"),
    ({"query": ["ab"]}, r"query= must have pairs of \(name, value\), not str"),
    ({"query": {"a": "b" * 65536}}, "QUERY_STRING.* is longer than the 64 KiB that PHP-FPM takes; send it in the body"),
    # the method
    ({"method": "GET /"}, "'GET /' is not a request method"),
    ({"method": ""}, "'' is not a request method"),
    ({"method": 7}, "method must be a string, not int"),
    # bodies
    ({"content": b"a", "json": {}}, "content= and json= are both bodies; give one"),
    ({"json": {}, "form": {}}, "json= and form= are both bodies; give one"),
    ({"content": b"", "files": {}}, "content= and files= are both bodies; give one"),
    ({"content": 7}, "content= must be bytes, str or an async iterable of bytes, not int; for data use json= or form="),
    ({"content": {"a": "b"}}, "not dict; for data use json= or form="),
    ({"content": [b"a"]}, "not list"),
    ({"content": "\ud800"}, "content= .*cannot be encoded"),
    ({"content": parts()}, "needs content_length=: PHP-FPM takes no body of unknown length"),
    ({"content": parts(), "content_length": -1}, "needs content_length="),
    ({"content": parts(), "content_length": "4"}, "needs content_length="),
    ({"content": parts(), "content_length": True}, "needs content_length="),
    ({"content": b"a", "content_length": 1}, "content_length= is only for an async iterable in content=; leave it out"),
    ({"content_length": 1}, "content_length= is only for an async iterable in content=; leave it out"),
    ({"json": {1, 2}}, "json= cannot be expressed in JSON: .*set"),
    ({"json": float("nan")}, "json= cannot be expressed in JSON"),
    ({"json": "\ud800"}, "json= cannot be expressed in JSON"),
    ({"form": "\ud800"}, "form= cannot be encoded"),
    ({"form": 7}, "form= must be a mapping, a sequence of pairs or an encoded string"),
    (
        {"files": {"f": ("a", 7, "text/plain")}},
        "the content must be bytes, str, a path, a file opened in binary mode, or an async iterable",
    ),
    # headers
    ({"headers": {"Content-Length": "7"}}, "do not set Content-Length; it is computed"),
    ({"headers": {"content_length": "7"}}, "do not set Content-Length; it is computed"),
    ({"headers": {"X-A": "1", "X_A": "2"}}, "the headers 'X-A' and 'X_A' become the same parameter HTTP_X_A"),
    ({"headers": {"X-A": "1", "x-a": "2"}}, "the headers 'X-A' and 'x-a' become the same parameter HTTP_X_A"),
    ({"headers": {"X A": "1"}}, "'X A' is not the name of a header"),
    ({"headers": {"": "1"}}, "'' is not the name of a header"),
    ({"headers": {7: "1"}}, "the header name 7 must be a string, not int"),
    ({"headers": {"X-A": 7}}, r"headers\['X-A'\] must be a string, not int"),
    ({"headers": {"X-A": "a\0"}}, r"headers\['X-A'\] has a NUL, and PHP would cut it off there"),
    ({"headers": {"X-A": "a\r\nX-B: b"}}, r"headers\['X-A'\] has a line break"),
    ({"headers": {"X-A": "a\nX-B: b"}}, r"headers\['X-A'\] has a line break"),
    ({"headers": {"X-A": "a" * 65536}}, "'HTTP_X_A' is longer than the 64 KiB that PHP-FPM takes"),
    ({"headers": {"X-A": "\ud800"}}, r"headers\['X-A'\] .*cannot be encoded"),
    ({"headers": "x"}, r"headers must be a mapping or a sequence of \(name, value\), not str"),
    ({"headers": 7}, r"headers must be a mapping or a sequence of \(name, value\), not int"),
    ({"headers": ["X-A: 1"]}, r"headers must have pairs of \(name, value\), not str"),
    ({"headers": [("X-A", "1", "2")]}, r"headers must have pairs of \(name, value\), not tuple"),
    ({"headers": [("Content-Type", "a/b"), ("content-type", "a/b")]}, "'content-type' is given twice; give it once"),
    ({"headers": [("Host", "a"), ("Host", "a")]}, "the header 'Host' is given twice; give it once"),
    ({"headers": [("Content-Length", "1"), ("Content-Length", "1")]}, "do not set Content-Length; it is computed"),
    ({"headers": [("X-A", "1"), ("X_A", "2")]}, "the headers 'X-A' and 'X_A' become the same parameter HTTP_X_A"),
    ({"headers": [("X-A", "a" * 40000)] * 2}, "'HTTP_X_A' is longer than the 64 KiB that PHP-FPM takes"),
    # parameters
    ({"params": "A=1"}, "params must be a mapping of names to values, not str"),
    ({"params": [("A", "1")]}, "params must be a mapping of names to values, not list"),
    ({"params": {"A": "a\0b"}}, r"params\['A'\] has a NUL, and PHP would cut it off there"),
    ({"params": {"A\0B": "a"}}, "has a NUL, and PHP would cut it off there"),
    ({"params": {"A": 7}}, r"params\['A'\] must be a string, not int"),
    ({"params": {b"A": "a"}}, "the name b'A' in params must be a string, not bytes"),
    ({"params": {"": "a"}}, "params has an empty name, and PHP drops such a parameter"),
    ({"params": {"A": "a" * (LONGEST + 1)}}, "'A' is longer than the 64 KiB that PHP-FPM takes; send it in the body"),
    ({"params": {"A": "é" * 32764}}, "'A' is longer than the 64 KiB that PHP-FPM takes"),
    ({"params": {"A": "\ud800"}}, r"params\['A'\] .*cannot be encoded"),
    ({"params": {"SCRIPT_FILENAME": "/b.php"}}, r"would be sent twice; set it with script="),
    ({"params": {"REQUEST_METHOD": "GET"}}, r"would be sent twice; set it with method="),
    ({"params": {"CONTENT_TYPE": "a/b"}}, r"would be sent twice; set it with a Content-Type header"),
    ({"uri": "/", "params": {"REQUEST_URI": "/x"}}, "uri= sets REQUEST_URI and QUERY_STRING; params must not"),
    ({"uri": "/", "params": {"QUERY_STRING": "x"}}, "uri= sets REQUEST_URI and QUERY_STRING; params must not"),
    ({"query": "a=1", "params": {"QUERY_STRING": "x"}}, "query= sets QUERY_STRING; params must not set it again"),
    (
        {"headers": {"X-A": "1"}, "params": {"HTTP_X_A": "2"}},
        r"a header becomes HTTP_X_A, and params\['HTTP_X_A'\] is the same; give one of them",
    ),
    # the rest
    ({"priority": "high"}, "priority must be a whole number, not 'high'"),
    ({"priority": 1.5}, "priority must be a whole number, not 1.5"),
    ({"timeout": -1}, "timeout must be a number of seconds of at least 0, or None for no limit; not -1"),
    ({"queue_timeout": "1"}, "queue_timeout must be a number of seconds of at least 0"),
    ({"run_timeout": float("nan")}, "run_timeout must be a number of seconds of at least 0"),
    ({"timeout": True}, "timeout must be a number of seconds of at least 0"),
    ({"success_mark": "\n"}, "success_mark= is blank; name what the script prints last of all"),
    ({"success_mark": b"done"}, "success_mark must be a string, not bytes"),
    ({"idempotent": "no"}, "idempotent must be True or False, not 'no'"),
    ({"finishes_early": None}, "finishes_early must be True or False, not None"),
    ({"role": "responder"}, "role must be a fcgi_async.Role, such as Role.RESPONDER, not 'responder'"),
    ({"role": Role.FILTER}, "role=Role.FILTER needs a second stream"),
    ({"role": Role.AUTHORIZER, "content": b"x"}, "role=Role.AUTHORIZER takes no body"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED, ids=[message[:60] for _, message in REFUSED])
def test_refused(arguments: dict[str, Any], message: str) -> None:
    """What could never be sent is refused where the job is made, with what was wrong and what to do."""
    with pytest.raises(InvalidJob, match=message) as caught:
        Job(**({"script": "/srv/app/job.php"} | arguments))
    assert isinstance(caught.value, FastCGIError)
    assert isinstance(caught.value, ValueError)
    assert not caught.value.may_have_run


ACCEPTED: list[dict[str, Any]] = [
    {"script": "relative/is/for/the/endpoint.php"},
    {"script": "/with space/ünïcode.php"},
    {"script": "/\udcff.php"},
    {"uri": "/"},
    {"uri": "/a%20b?x=1&x=2"},
    {"uri": "//double//slash"},
    {"uri": "//[not-an-address"},
    {"method": "PROPFIND"},
    {"content": bytearray(b"a")},
    {"content": memoryview(b"a")},
    {"content": parts(), "content_length": 0},
    {"json": None},
    {"json": False},
    {"form": {}, "files": {}},
    {"headers": {}},
    {"headers": {"X-A": "", "X-B": "\udcff"}},
    {"params": {"A": "a" * LONGEST}},
    {"params": {"A": "é" * 32763}},
    {"params": {"PHP_SELF": "/", "HTTP_X_A": "1"}},
    {"uri": "/", "params": {"PATH_INFO": "/x"}},
    {"headers": ()},
    {"priority": -3},
    {"timeout": 0, "queue_timeout": None, "run_timeout": 1.5},
    {"role": Role.AUTHORIZER},
]


@pytest.mark.parametrize("arguments", ACCEPTED, ids=[readable(arguments)[:60] for arguments in ACCEPTED])
def test_accepted(arguments: dict[str, Any]) -> None:
    """What looks odd and can be sent is not refused."""
    Job(**({"script": "/srv/app/job.php"} | arguments))


@pytest.mark.parametrize(
    ("arguments", "body", "content_type", "has_body"),
    [
        ({}, b"", None, False),
        ({"content": b""}, b"", None, True),
        ({"content": b"0"}, b"0", None, True),
        ({"content": "é"}, b"\xc3\xa9", None, True),
        ({"json": {"a": [1, "é"]}}, '{"a":[1,"é"]}'.encode(), "application/json", True),
        ({"json": 0}, b"0", "application/json", True),
        (
            {"form": {"a": "1 2", "b": ["x", "y"]}},
            b"a=1+2&b%5B0%5D=x&b%5B1%5D=y",
            FORM := "application/x-www-form-urlencoded",
            True,
        ),
        ({"form": [("a", 1), ("a", 2)]}, b"a=1&a=2", FORM, True),
        ({"form": "a=%31"}, b"a=%31", FORM, True),
        ({"form": {}}, b"", FORM, True),
    ],
    ids=str,
)
def test_body(arguments: dict[str, Any], body: bytes, content_type: str | None, has_body: bool) -> None:
    """Each kind of body becomes its bytes and its content type; an empty one is a body too."""
    job = Job("/a.php", **arguments)
    assert (job.body, job.content_type, job.has_body) == (body, content_type, has_body)


def test_iterable_body() -> None:
    """An iterable is kept as it is, with the length that it came with."""
    job = Job("/a.php", content=parts(), content_length=4)
    assert isinstance(job.body, BodyStream)
    assert (job.body.length, job.body.replayable) == (4, False)


@pytest.mark.parametrize(
    ("arguments", "query_string", "path"),
    [
        ({}, "", None),
        ({"query": "a=1&b"}, "a=1&b", None),
        ({"query": {"a": "1 2", "b": [3, 4]}}, "a=1+2&b%5B0%5D=3&b%5B1%5D=4", None),
        ({"query": [("a", "1"), ("a", "2")]}, "a=1&a=2", None),
        ({"uri": "/orders/7"}, "", "/orders/7"),
        ({"uri": "/orders/7?x=1?y"}, "x=1?y", "/orders/7"),
        ({"uri": "/a%20b%2Fc+d?x=%20"}, "x=%20", "/a b/c+d"),
        ({"uri": "//double/slash?x"}, "x", "//double/slash"),
        ({"uri": "/caf%C3%A9"}, "", "/café"),
        ({"uri": "/latin-%E9"}, "", "/latin-\udce9"),
    ],
    ids=str,
)
def test_target(arguments: dict[str, Any], query_string: str, path: str | None) -> None:
    """The request target is taken apart as a web server does: the path decoded, byte for byte, the query left as it
    is.
    """
    job = Job("/a.php", **arguments)
    assert (job.query_string, job.path) == (query_string, path)


def test_script_as_a_path() -> None:
    """A path is as good as its name."""
    assert Job(PurePosixPath("/srv/a.php")).script == "/srv/a.php"


@pytest.mark.parametrize("method", ["post", "Post", "POST"])
def test_method_is_upper_cased(method: str) -> None:
    """PHP compares the method as it is, with POST."""
    assert Job("/a.php", method=method).method == "POST"


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"X-A": "1", "x-b": "2"}, {"HTTP_X_A": "1", "HTTP_X_B": "2"}),
        ([("X-A", "1"), ["X-B", "2"]], {"HTTP_X_A": "1", "HTTP_X_B": "2"}),
        ([("Accept", "a/b"), ("accept", "c/d"), ("ACCEPT", "e/f")], {"HTTP_ACCEPT": "a/b, c/d, e/f"}),
        ([("Cookie", "a=1"), ("X-A", "1"), ("cookie", "b=2")], {"HTTP_COOKIE": "a=1; b=2", "HTTP_X_A": "1"}),
        ([("content-type", "a/b")], {"CONTENT_TYPE": "a/b"}),
    ],
    ids=str,
)
def test_headers(headers: Any, params: dict[str, str]) -> None:
    """Headers are a mapping or pairs; what pairs repeat is joined, a cookie as cookies are."""
    assert Job("/a.php", headers=headers).header_params == params


def test_repr_keeps_bodies_to_itself() -> None:
    """A job in a log does not bring its body along."""
    assert "secret" not in repr(Job("/a.php", content=b"secret"))
    assert "secret" not in repr(Job("/a.php", json="secret"))
    assert "secret" not in repr(Job("/a.php", form={"a": "secret"}))
