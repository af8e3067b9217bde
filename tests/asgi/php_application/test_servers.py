"""Under uvicorn, hypercorn (asyncio, trio, HTTP/2) and granian, on a real PHP-FPM: what they hand over differs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from fcgi_async import LocalFPM
from tests.asgi.php_application.serving import SERVERS, connect, exchange, get, read_reply, site_under
from tests.asgi.server import Service


@pytest.fixture(scope="module", params=SERVERS)
def service(
    request: pytest.FixtureRequest, fpm: LocalFPM, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """The site under each of them."""
    with site_under(request.param, fpm, tmp_path_factory.mktemp("site")) as found:
        yield found


def posted(body: bytes, *headers: str, target: str = "/page.php") -> bytes:
    """A request with a body."""
    lines = [f"POST {target} HTTP/1.1", "Host: site.test", "Connection: close", *headers]
    return "".join(f"{line}\r\n" for line in [*lines, ""]).encode("latin-1") + body


CHUNKED = b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"

# a request, and the statuses that are right; some servers refuse by themselves
STATUSES: dict[str, tuple[bytes, set[int]]] = {
    "script": (get("/page.php"), {200}),
    "front": (get("/nowhere"), {200}),
    "path info": (get("/page.php/a%20b"), {200}),
    "file": (get("/style.css"), {200}),
    "folder": (get("/blog?a=1"), {301}),
    "head": (get("/page.php", method="HEAD"), {200}),
    "options": (get("*", method="OPTIONS"), {204, 400}),
    "trace": (get("/page.php", method="TRACE"), {405}),
    "missing script": (get("/nowhere.php"), {404}),
    "hidden": (get("/.env"), {404}),
    "encoded hidden": (get("/%2eenv"), {404}),
    "git": (get("/.git/config"), {404}),
    "source": (get("/UPPER.PHP"), {404}),
    "backup": (get("/page.php.bak"), {404}),
    "uploads": (get("/uploads/evil.php"), {404}),
    "image": (get("/uploads/evil.jpg/x.php"), {404}),
    "fifo": (get("/fifo"), {200}),
    "fifo script": (get("/fifo.php"), {404}),
    "parent": (get("/../x"), {400}),
    "encoded parent": (get("/%2e%2e/x"), {400}),
    "encoded slash": (get("/..%2fx"), {400}),
    "backslash": (get("/..%5cx"), {400}),
    "percent": (get("/%"), {400}),
    "bad escape": (get("/%zz"), {400}),
    "nul": (get("/page.php%00"), {400}),
    "line break": (get("/page.php%0a"), {400}),
    "two hosts": (get("/page.php", "Host: evil.test"), {400}),
    "no host": (get("/page.php", host=None), {400}),
    "odd host": (get("/page.php", host="pl ain<>.test"), {400}),
    "absolute": (get("http://other.test/page.php"), {200, 400}),
    "both framings": (posted(b"0\r\n\r\n", "Content-Length: 5", "Transfer-Encoding: chunked"), {400}),
    "odd coding": (posted(CHUNKED, "Transfer-Encoding: gzip, chunked"), {400, 501}),
    "no coding": (posted(b"", "Transfer-Encoding: identity"), {400, 501}),
    "too long": (posted(b"", "Content-Length: 99999999999"), {413}),
    "long header": (get("/page.php", f"X-Long: {'x' * 20_000}"), {200, 400, 431}),
    "fatal": (get("/fatal.php"), {500}),
    "killed": (get("/killed.php"), {502}),
    "1xx": (get("/status.php?status=103"), {502}),
    "600": (get("/status.php?status=600"), {502}),
    "599": (get("/status.php?status=599"), {599}),
    "204": (get("/status.php?status=204"), {204}),
    "304": (get("/status.php?status=304"), {304}),
    "418": (get("/status.php?status=418"), {418}),
    "not modified": (get("/style.css", "If-None-Match: *"), {304}),
    "changed": (get("/style.css", 'If-Match: "x"'), {412}),
    "range": (get("/style.css", "Range: bytes=0-3"), {206}),
    "beyond": (get("/style.css", "Range: bytes=1000-"), {416}),
    "unit": (get("/style.css", "Range: lines=0-1"), {200}),
}


@pytest.mark.parametrize("name", STATUSES)
def test_status(service: Service, name: str) -> None:
    """The same under each server; where a server drops the connection of a request that is no HTTP, nothing ran."""
    request, statuses = STATUSES[name]
    reply = exchange(service, request)
    if reply is None:
        assert 400 in statuses
        return
    if name == "both framings" and "granian" in str(service.process.args):
        # it takes the chunks, and shows the application no length
        statuses = {200}
    assert reply.status in statuses, reply
    # an answer of uvicorn's own ends with the connection
    assert reply.complete or reply.body == b"Invalid HTTP request received."
    if request.startswith(b"HEAD") or reply.status in (204, 304):
        assert reply.body == b""
    assert b"secret" not in reply.body


def test_parameters(service: Service) -> None:
    """What PHP sees of one request, however its server hands it over."""
    request = get(
        "/page.php/a%20b?x=%2F&y",
        "X-Foo: 1",
        "X_Foo: 2",
        "X.Bar: 4",
        "X-Foo: 3",
        "Cookie: a=1",
        "Cookie: b=2",
        "Proxy: http://evil.test",
        "Accept: */*",
        host="site.test:8443",
    )
    reply = exchange(service, request)
    assert reply is not None
    params = reply.json()["params"]
    expected = {
        "REQUEST_URI": "/page.php/a%20b?x=%2F&y",
        "QUERY_STRING": "x=%2F&y",
        "SCRIPT_NAME": "/page.php",
        "PATH_INFO": "/a b",
        "PHP_SELF": "/page.php/a b",
        "SERVER_NAME": "site.test",
        "SERVER_PORT": "8443",
        "HTTP_HOST": "site.test:8443",
        "HTTP_X_FOO": "1, 3",
        "HTTP_COOKIE": "a=1; b=2",
        "HTTP_ACCEPT": "*/*",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_ADDR": "127.0.0.1",
    }
    assert {name: params.get(name) for name in expected} == expected
    assert params.keys().isdisjoint({"HTTP_PROXY", "HTTPS", "REMOTE_USER", "HTTP_CONNECTION", "HTTP_X_BAR"})


def test_absolute_target(service: Service) -> None:
    """It never runs for the host of the header if another one stands in the target and is seen."""
    reply = exchange(service, get("http://other.test/page.php?a=1"))
    assert reply is not None
    if reply.status == 200:
        assert reply.json()["params"]["REQUEST_URI"] == "/page.php?a=1"


@pytest.mark.parametrize("size", [0, 3, 300_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_body(service: Service, size: int, chunked: bool) -> None:
    """Of any size, announced or not."""
    body = b"x" * size
    if chunked:
        body = (b"%x\r\n%b\r\n" % (size, body) if size else b"") + b"0\r\n\r\n"
        request = posted(body, "Transfer-Encoding: chunked", target="/sum.php")
    else:
        request = posted(body, f"Content-Length: {size}", target="/sum.php")
    reply = exchange(service, request)
    assert reply is not None
    assert reply.body == f"{size} {size}".encode()


# granian closes the connection when the answer is complete
@pytest.mark.parametrize("service", [server for server in SERVERS if server != "granian"], indirect=True)
def test_error_while_a_body_comes(service: Service) -> None:
    """A client that sends all of its body before it reads has the error, and no connection that was reset."""
    reply = exchange(service, posted(b"x" * (65 << 20), f"Content-Length: {65 << 20}"))
    assert reply is not None
    assert (reply.status, reply.complete) == (413, True)


def test_headers_of_php(service: Service) -> None:
    """Repeated ones stay apart, long ones pass, and there is one date."""
    reply = exchange(service, get("/cookies.php"))
    assert reply is not None
    assert [value.split(";")[0] for name, value in reply.headers if name == "set-cookie"] == ["a=1", "b=2"]
    assert len([name for name, _ in reply.headers if name == "date"]) <= 1
    long = exchange(service, get("/head.php"))
    assert long is not None
    assert long.header("x-long") == "x" * 5000


def test_lengths_of_php(service: Service) -> None:
    """Too long a body is cut, too short a one cuts the connection, and no number is none."""
    long, letters, short = (exchange(service, get(f"/{name}.php")) for name in ("long", "letters", "short"))
    assert long is not None
    assert letters is not None
    assert (long.status, long.body, long.complete) == (200, b"abc", True)
    assert (letters.status, letters.body, letters.complete) == (200, b"abc", True)
    assert short is None or (short.body, short.complete) == (b"abc", False)


def test_worker_killed_in_the_middle(service: Service) -> None:
    """The client can tell that the answer is not whole."""
    reply = exchange(service, get("/dies.php"))
    assert reply is None or not reply.complete


def test_two_requests_on_one_connection(service: Service) -> None:
    """Nothing of the first is left to the second."""
    with connect(service) as sock:
        for n in range(3):
            sock.sendall(f"GET /page.php?{n} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
            reply = read_reply(sock)
            assert reply is not None
            assert reply.json()["params"]["QUERY_STRING"] == str(n)


def test_answer_that_announces_a_body_and_has_none(service: Service) -> None:
    """304 with a length of PHP's: the connection goes on."""
    with connect(service) as sock:
        for target, status in (("/unchanged.php", 304), ("/page.php", 200)):
            sock.sendall(f"GET {target} HTTP/1.1\r\nHost: site.test\r\n\r\n".encode())
            reply = read_reply(sock)
            assert reply is not None
            assert (reply.status, reply.complete) == (status, True)


def test_long_answer(service: Service) -> None:
    """In many pieces."""
    reply = exchange(service, get("/flood.php?mib=5"))
    assert reply is not None
    assert (len(reply.body), reply.complete) == (5 * 1024 * 1024, True)


def test_long_file(service: Service, request: pytest.FixtureRequest) -> None:
    """By its path where the server offers that."""
    root = Path(str(exchange_json(service)["DOCUMENT_ROOT"]))
    data = bytes(range(256)) * 4000
    (root / "long.bin").write_bytes(data)
    reply = exchange(service, get("/long.bin"))
    assert reply is not None
    assert (reply.body, reply.complete) == (data, True)
    part = exchange(service, get("/long.bin", "Range: bytes=1000-900000"))
    assert part is not None
    assert part.body == data[1000:900001]


def exchange_json(service: Service) -> dict[str, object]:
    """The parameters of a page."""
    reply = exchange(service, get("/page.php"))
    assert reply is not None
    found: dict[str, object] = reply.json()["params"]
    return found


def test_websocket(service: Service) -> None:
    """403."""
    upgrade = ["Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version: 13"]
    lines = ["GET /page.php HTTP/1.1", "Host: site.test", "Connection: Upgrade", *upgrade]
    with connect(service) as sock:
        sock.sendall("".join(f"{line}\r\n" for line in [*lines, ""]).encode())
        reply = read_reply(sock)
    assert reply is not None
    # without a websocket library uvicorn takes it for a plain request
    assert reply.status in (403, 200)
    assert reply.status == 403 or "HTTP_UPGRADE" not in reply.json()["params"]


@pytest.mark.parametrize("server", ["hypercorn", "hypercorn-trio", "granian"])
def test_http_2(fpm: LocalFPM, tmp_path: Path, server: str) -> None:
    """Cookies come in crumbs, bodies without a length, and there is no Connection header."""
    with site_under(server, fpm, tmp_path) as service:
        with httpx.Client(base_url=service.url, http1=False, http2=True, timeout=60) as client:
            reply = client.get("/page.php?a=1", headers=[("cookie", "a=1"), ("cookie", "b=2"), ("x_foo", "2")])
            params = reply.json()["params"]
            assert (reply.http_version, params["SERVER_PROTOCOL"]) == ("HTTP/2", "HTTP/2.0")
            assert (params["HTTP_COOKIE"], params["REQUEST_URI"]) == ("a=1; b=2", "/page.php?a=1")
            assert "HTTP_X_FOO" not in params
            assert "CONTENT_LENGTH" not in params
            assert client.post("/sum.php", content=iter([b"ab", b"c" * 400_000])).text == "400002 400002"
            assert client.post("/sum.php", content=b"x" * 100).text == "100 100"
            assert client.get("/.env").status_code == 404
            assert client.get("/style.css").status_code == 200
            assert len(client.get("/flood.php?mib=3").content) == 3 * 1024 * 1024
