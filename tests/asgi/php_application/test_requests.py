"""What a request may say, what is refused, and what PHP gets of it."""

from __future__ import annotations

import time

import pytest

from fcgi_async.asgi.php_application import request_head
from fcgi_async.asgi.php_application.request_head import read_head
from tests.asgi.php_application.site import HOST, Headers, Site

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("method", ["TRACE", "CONNECT"])
async def test_methods_that_are_refused(site: Site, method: str) -> None:
    """PHP sees neither."""
    answer = await site.ask("/page.php", method=method)
    assert answer.status == 405
    assert answer.header("allow")
    assert not site.responder.requests


async def test_options_of_the_server(site: Site) -> None:
    """`OPTIONS *` is for the server, and not for PHP."""
    answer = await site.ask("*", method="OPTIONS")
    assert (answer.status, answer.body) == (204, b"")
    assert answer.header("content-length") is None


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"])
async def test_methods_of_scripts(site: Site, method: str) -> None:
    """Any other method is PHP's to judge."""
    await site.ask("/page.php", method=method)
    assert site.responder.requests[0].method == method


async def test_method_that_is_none(site: Site) -> None:
    """What cannot be a method is the client's fault."""
    assert (await site.ask("/page.php", method="GE T")).status == 400


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_files_take_get_and_head(site: Site, method: str) -> None:
    """And say so."""
    answer = await site.ask("/style.css", method=method)
    assert (answer.status, answer.header("allow")) == (405, "GET, HEAD")


HOSTS: dict[str, tuple[str, str] | None] = {
    "site.test": ("site.test", "80"),
    "site.test:8080": ("site.test", "8080"),
    "site.test:": ("site.test", "80"),
    "SITE.test": ("SITE.test", "80"),
    "site.test.": ("site.test.", "80"),
    "site.test:65535": ("site.test", "65535"),
    "under_score.test": ("under_score.test", "80"),
    "192.0.2.1:81": ("192.0.2.1", "81"),
    "x" * 255: ("x" * 255, "80"),
    "x" * 262: None,
    "[2001:db8::1]:82": ("[2001:db8::1]", "82"),
    "": None,
    " ": None,
    "pl ain<>.test": None,
    "a/b": None,
    "a@b": None,
    "site.test:port": None,
    "site.test:123456": None,
    "site.test:65536": None,
    "site..test": None,
    ".site.test": None,
    ".": None,
    "site.test, other.test": None,
    "site.test\x00": None,
    "ümlaut.test": None,
    "[::1": None,
    "'\"><script>": None,
}


@pytest.mark.parametrize(("value", "expected"), HOSTS.items(), ids=[*map(ascii, HOSTS)])
async def test_host(site: Site, value: str, expected: tuple[str, str] | None) -> None:
    """What is no host is refused; the port is the one that the client used, and not that of an inner socket."""
    answer = await site.ask("/page.php", headers=[("host", value)])
    if expected is None:
        assert answer.status == 400
        assert not site.responder.requests
    else:
        params = answer.params()
        assert (params["SERVER_NAME"], params["SERVER_PORT"]) == expected
        assert params["HTTP_HOST"] == value


@pytest.mark.parametrize("other", ["site.test", "evil.test"])
async def test_two_hosts(site: Site, other: str) -> None:
    """Two Host headers are refused, equal ones too."""
    assert (await site.ask("/page.php", headers=[*HOST, ("host", other)])).status == 400


@pytest.mark.parametrize(("version", "status"), [("1.1", 400), ("1.0", 200), ("1", 200), ("2", 200)])
@pytest.mark.parametrize("headers", [[], [("host", "")]])
async def test_no_host(site: Site, version: str, status: int, headers: Headers) -> None:
    """HTTP/1.1 demands one; without it the server's own address stands in its place. granian adds an empty one."""
    answer = await site.ask("/page.php", headers=headers, version=version)
    assert answer.status == status
    if status == 200:
        assert answer.params()["SERVER_NAME"] == answer.params()["HTTP_HOST"] == "192.0.2.1"


@pytest.mark.parametrize("target", ["http://other.test/page.php?a=1", "HTTPS://other.test/page.php?a=1"])
async def test_absolute_target(site: Site, target: str) -> None:
    """A target in absolute form names the host, whatever the header says (RFC 9112, 3.2.2)."""
    params = (await site.ask(target)).params()
    assert (params["HTTP_HOST"], params["SERVER_NAME"]) == ("other.test", "other.test")
    assert (params["REQUEST_URI"], params["SCRIPT_NAME"]) == ("/page.php?a=1", "/page.php")


@pytest.mark.parametrize(
    ("target", "uri"), [("http://other.test", "/"), ("http://other.test?a=1", "/?a=1"), ("http://a.test:81/", "/")]
)
async def test_absolute_target_without_a_path(site: Site, target: str, uri: str) -> None:
    """It asks for the root."""
    assert (await site.ask(target)).params()["REQUEST_URI"] == uri


@pytest.mark.parametrize("target", ["http://user@site.test/", "http:///page.php", "http://a b/", "ftp:page.php"])
async def test_absolute_target_of_no_host(site: Site, target: str) -> None:
    """A target whose host is none is refused."""
    assert (await site.ask(target)).status == 400


@pytest.mark.parametrize(
    ("target", "uri", "query"),
    [
        ("/page.php#part", "/page.php", ""),
        ("/page.php?a=1#part", "/page.php?a=1", "a=1"),
        ("/page.php#part?a=1", "/page.php", ""),
    ],
)
async def test_fragment(site: Site, target: str, uri: str, query: str) -> None:
    """A fragment that a server has left in the target is no part of it."""
    params = (await site.ask(target)).params()
    assert (params["REQUEST_URI"], params["QUERY_STRING"]) == (uri, query)


@pytest.mark.parametrize("query", ["a=%0d%0a", "a[]=1&b=%zz", "x", "a=1?b=2", "a=\u00fc"])
async def test_query_as_it_came(site: Site, query: str) -> None:
    """PHP decodes it."""
    params = (await site.ask(f"/page.php?{query}")).params()
    assert (params["QUERY_STRING"], params["REQUEST_URI"]) == (query, f"/page.php?{query}")


async def test_query_with_a_line_break(site: Site) -> None:
    """It would break into the lines of logs and redirections."""
    assert (await site.ask(b"/sub?a=1\r\nSet-Cookie: a=b")).status == 400


FRAMINGS: dict[str, tuple[Headers, int]] = {
    "chunked": ([("transfer-encoding", "chunked")], 200),
    "Chunked": ([("transfer-encoding", "Chunked")], 200),
    "both": ([("transfer-encoding", "chunked"), ("content-length", "3")], 400),
    "gzip": ([("transfer-encoding", "gzip, chunked")], 501),
    "gzip apart": ([("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")], 501),
    "twice": ([("transfer-encoding", "chunked"), ("transfer-encoding", "chunked")], 501),
    "identity": ([("transfer-encoding", "identity")], 501),
    "odd": ([("transfer-encoding", "xchunked")], 501),
    "length": ([("content-length", "3")], 200),
    "equal lengths": ([("content-length", "3"), ("content-length", "3")], 200),
    "lengths": ([("content-length", "3"), ("content-length", "4")], 400),
    "signed": ([("content-length", "+3")], 400),
    "negative": ([("content-length", "-1")], 400),
    "hexadecimal": ([("content-length", "0x3")], 400),
    "words": ([("content-length", "abc")], 400),
    "nothing": ([("content-length", "")], 200),
}


@pytest.mark.parametrize("name", FRAMINGS)
async def test_framing(site: Site, name: str) -> None:
    """Two ways to tell a body's end are refused: a proxy may have taken the other one."""
    headers, status = FRAMINGS[name]
    answer = await site.ask("/page.php", method="POST", headers=[*HOST, *headers], body=[b"abc"])
    assert answer.status == status
    if status != 200:
        assert not site.responder.requests
        assert answer.header("connection") == "close"
    elif name != "nothing":
        assert answer.received() == "abc"
        assert answer.params()["CONTENT_LENGTH"] == "3"


PASSED: dict[str, tuple[Headers, dict[str, str | None]]] = {
    "plain": ([("x-foo", "1")], {"HTTP_X_FOO": "1"}),
    "joined": ([("x-foo", "1"), ("x-foo", "2")], {"HTTP_X_FOO": "1, 2"}),
    "cookies": ([("cookie", "a=1"), ("cookie", "b=2")], {"HTTP_COOKIE": "a=1; b=2"}),
    "underscore": ([("x_foo", "2")], {"HTTP_X_FOO": None}),
    "spoofed": ([("x-forwarded-for", "real"), ("x_forwarded_for", "evil")], {"HTTP_X_FORWARDED_FOR": "real"}),
    "dots": ([("x.forwarded.for", "evil")], {"HTTP_X.FORWARDED.FOR": None, "HTTP_X_FORWARDED_FOR": None}),
    "other letters": ([("x-\xdfl-verify", "evil")], {"HTTP_X_SSL_VERIFY": None}),
    "marks": ([("x~foo", "1"), ("x'foo", "2")], {"HTTP_X~FOO": None, "HTTP_X'FOO": None}),
    "spoofed before": ([("x_forwarded-for", "evil"), ("x-forwarded-for", "real")], {"HTTP_X_FORWARDED_FOR": "real"}),
    "httpoxy": ([("proxy", "http://evil.test")], {"HTTP_PROXY": None}),
    "Proxy": ([("Proxy", "http://evil.test")], {"HTTP_PROXY": None}),
    "ini": ([("php-value", "a=b"), ("php_value", "a=b")], {"PHP_VALUE": None, "HTTP_PHP_VALUE": "a=b"}),
    "ini admin": ([("php_admin_value", "auto_prepend_file=x")], {"PHP_ADMIN_VALUE": None}),
    "script": (
        [("script-filename", "/etc/passwd"), ("script_filename", "/etc")],
        {"HTTP_SCRIPT_FILENAME": "/etc/passwd"},
    ),
    "user": ([("remote-user", "root")], {"REMOTE_USER": None, "HTTP_REMOTE_USER": "root"}),
    "type": ([("content-type", "a/b")], {"CONTENT_TYPE": "a/b", "HTTP_CONTENT_TYPE": None}),
    "length": ([("content-length", "0")], {"CONTENT_LENGTH": "0", "HTTP_CONTENT_LENGTH": None}),
    "no length": ([], {"CONTENT_LENGTH": None, "CONTENT_TYPE": None}),
    "hop by hop": (
        [
            ("connection", "close"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("upgrade", "h2c"),
            ("expect", "100-continue"),
        ],
        {"HTTP_CONNECTION": None, "HTTP_KEEP_ALIVE": None, "HTTP_TE": None, "HTTP_UPGRADE": None, "HTTP_EXPECT": None},
    ),
    "authorization": ([("authorization", "Basic YQ==")], {"HTTP_AUTHORIZATION": "Basic YQ=="}),
    "forwarded": ([("forwarded", "for=1")], {"HTTP_FORWARDED": "for=1"}),
    "bytes": ([("x-foo", "\xfc\xff")], {"HTTP_X_FOO": "\udcfc\udcff"}),
    "empty": ([("x-foo", "")], {"HTTP_X_FOO": ""}),
    "https": ([("https", "on")], {"HTTPS": None, "HTTP_HTTPS": "on"}),
}


@pytest.mark.parametrize("name", PASSED)
async def test_header(site: Site, name: str) -> None:
    """Only HTTP_* and the content's type come from outside, and none twice."""
    headers, expected = PASSED[name]
    answer = await site.ask("/page.php", headers=[*HOST, *headers])
    assert answer.status == 200
    params = site.responder.requests[0].params
    assert {param: params.get(param) for param in expected} == expected


def test_many_headers_of_one_name() -> None:
    """What they cost grows with their number, and not with its square: a server may take a head of any length."""
    began = time.process_time()
    params = read_head([(b"a", b"")] * 600_000).params
    assert len(params["HTTP_A"]) == 2 * 599_999
    # joined one by one they take half a minute
    assert time.process_time() - began < 5


def test_long_names_are_not_kept() -> None:
    """Names are remembered, and clients choose them."""
    before = set(request_head._params_of)
    read_head([(b"x-short", b""), (b"x" * 60_000, b"")])
    assert set(request_head._params_of) - before == {b"x-short"}


@pytest.mark.parametrize("name", ["authorization", "content-type"])
async def test_header_that_is_there_twice(site: Site, name: str) -> None:
    """Of these no two can be joined."""
    assert (await site.ask("/page.php", headers=[*HOST, (name, "a"), (name, "b")])).status == 400


@pytest.mark.parametrize(
    ("asked", "status"),
    [
        ({"headers": [*HOST, ("x-long", "x" * 70_000)]}, 431),
        ({"headers": [*HOST, ("content-type", "x" * 70_000)]}, 431),
        ({"target": "/index.php?" + "x" * 70_000}, 414),
        ({"target": "/index.php/" + "x" * 70_000}, 414),
        ({"headers": [*HOST, ("x-nul", "a\x00b")]}, 400),
    ],
    ids=["header", "type", "query", "path", "nul"],
)
async def test_what_cannot_be_sent(site: Site, asked: dict[str, object], status: int) -> None:
    """FPM takes no longer parameter, and PHP would cut one at a NUL."""
    assert (await site.ask(**asked)).status == status  # type: ignore[arg-type]
    assert not site.responder.requests


async def test_parameters_of_a_request(site: Site) -> None:
    """Each of those that programs look for, as nginx sends it."""
    answer = await site.ask("/page.php/a%20b?x=1", headers=[("host", "site.test:8443")], scheme="https")
    params = answer.params()
    expected = {
        "SCRIPT_FILENAME": f"{site.root}/page.php",
        "SCRIPT_NAME": "/page.php",
        "PATH_INFO": "/a b",
        "REQUEST_URI": "/page.php/a%20b?x=1",
        "DOCUMENT_URI": "/page.php/a b",
        "QUERY_STRING": "x=1",
        "DOCUMENT_ROOT": str(site.root),
        "REQUEST_METHOD": "GET",
        "REQUEST_SCHEME": "https",
        "HTTPS": "on",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "SERVER_NAME": "site.test",
        "SERVER_PORT": "8443",
        "SERVER_ADDR": "192.0.2.1",
        "REMOTE_ADDR": "192.0.2.7",
        "REMOTE_PORT": "4711",
        "SERVER_SOFTWARE": "fcgi_async (like nginx)",
        "GATEWAY_INTERFACE": "CGI/1.1",
        "REDIRECT_STATUS": "200",
    }
    assert {name: params.get(name) for name in expected} == expected
    assert params.keys().isdisjoint({"PATH_TRANSLATED", "REMOTE_USER", "AUTH_TYPE"})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"version": "2"}, {"SERVER_PROTOCOL": "HTTP/2.0"}),
        ({"version": "3"}, {"SERVER_PROTOCOL": "HTTP/3.0"}),
        ({"version": "1.0"}, {"SERVER_PROTOCOL": "HTTP/1.0"}),
        # granian's
        ({"version": "1"}, {"SERVER_PROTOCOL": "HTTP/1.0"}),
        ({"scheme": "https"}, {"SERVER_PORT": "443", "HTTPS": "on", "REQUEST_SCHEME": "https"}),
        ({"scheme": "http"}, {"SERVER_PORT": "80", "HTTPS": None}),
        ({"client": None, "server": None}, {"REMOTE_ADDR": "127.0.0.1", "SERVER_ADDR": "127.0.0.1"}),
        ({"server": ("/run/site.sock", None)}, {"SERVER_ADDR": "127.0.0.1", "SERVER_NAME": "site.test"}),
        (
            {"server": ("/run/site.sock", None), "headers": [], "version": "1.0"},
            {"SERVER_NAME": "localhost", "HTTP_HOST": "localhost"},
        ),
        (
            {"server": ("2001:db8::1", 80), "headers": [], "version": "1.0"},
            {"SERVER_NAME": "[2001:db8::1]", "HTTP_HOST": "[2001:db8::1]", "SERVER_ADDR": "2001:db8::1"},
        ),
    ],
)
async def test_parameters_of_a_scope(site: Site, asked: dict[str, object], expected: dict[str, str | None]) -> None:
    """What the server says of the connection."""
    params = (await site.ask("/page.php", **asked)).params()
    assert {name: params.get(name) for name in expected} == expected


@pytest.mark.parametrize(
    ("root_path", "target", "script", "uri"),
    [
        ("/blog", "/blog/page.php/x", "/blog/page.php", "/blog/page.php/x"),
        ("/blog/", "/blog/page.php/x", "/blog/page.php", "/blog/page.php/x"),
        ("/blog", "/blog/", "/blog/index.php", "/blog/"),
        ("/b%6cog", "/page.php/x", "/b%6cog/page.php", "/b%256cog/page.php/x"),
        ("/blog", "/page.php/x", "/blog/page.php", "/blog/page.php/x"),
        ("/blog", "/blogger/x", "/blog/index.php", "/blog/blogger/x"),
    ],
)
async def test_mounted(site: Site, root_path: str, target: str, script: str, uri: str) -> None:
    """The mount is in front of SCRIPT_NAME and REQUEST_URI, whether or not the server has taken it off."""
    params = (await site.ask(target, root_path=root_path)).params()
    assert (params["SCRIPT_NAME"], params["REQUEST_URI"]) == (script, uri)
    assert params["DOCUMENT_ROOT"] == str(site.root)


async def test_leaving_the_mount(site: Site) -> None:
    """A path that was routed here stays here."""
    assert (await site.ask("/blog/../page.php", root_path="/blog")).status == 400


@pytest.mark.parametrize(
    ("target", "location"),
    [
        ("/blog", "/blog/"),
        ("/blog?a=1&b=%20", "/blog/?a=1&b=%20"),
        ("//blog", "/blog/"),
        ("//evil.test/%2e%2e/blog", "/blog/"),
        ("/bl%6fg", "/blog/"),
        ("/bare", "/bare/"),
    ],
)
async def test_folder_without_a_slash(site: Site, target: str, location: str) -> None:
    """It is sent to the folder, with its query, and never to another host."""
    answer = await site.ask(target)
    assert (answer.status, answer.header("location")) == (301, location)


async def test_mount_without_a_slash(site: Site) -> None:
    """The mount is a folder too."""
    answer = await site.ask("/blog?a=1", root_path="/blog")
    assert (answer.status, answer.header("location")) == (301, "/blog/?a=1")


async def test_server_without_a_raw_path(site: Site) -> None:
    """ASGI does not demand one."""
    from tests.asgi.client import Client
    from tests.asgi.php_application.site import collected

    client = Client()
    await client.request(site.app(), path="/a b/ü", headers=[(b"host", b"site.test")], http_version="1.1")
    assert collected(client).params()["REQUEST_URI"] == "/a%20b/%C3%BC"


class User:
    """As Starlette's authentication has one."""

    def __init__(self, name: str, known: bool) -> None:
        self.display_name, self.is_authenticated = name, known


@pytest.mark.parametrize(
    ("user", "expected"), [(User("ann", True), "ann"), (User("ann", False), None), ("bob", "bob"), (None, None)]
)
async def test_user(site: Site, user: object, expected: str | None) -> None:
    """REMOTE_USER is who a middleware says is logged in, and nobody else."""
    answer = await site.ask("/page.php", user=user, headers=[*HOST, ("remote-user", "root")])
    assert answer.params().get("REMOTE_USER") == expected
