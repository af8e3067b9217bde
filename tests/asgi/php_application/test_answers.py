"""What a client gets of PHP's answer, and what becomes of one that cannot be passed on."""

from __future__ import annotations

import pytest

from fcgi_async import ConnectionLost, ResponseTruncated
from fcgi_async.testing import Close, Reply, Request
from fcgi_async.testing.request import Answer as Scripted
from tests.asgi.client import Client
from tests.asgi.php_application.site import Site, collected

pytestmark = pytest.mark.anyio

TYPE = "Content-Type: text/plain\r\n"


def says(site: Site, *parts: str | bytes) -> None:
    """Let PHP answer with these bytes, written one after the other."""

    async def handle(request: Request) -> Scripted:
        await request.body()
        for part in parts:
            await request.write_stdout(part)
        return None

    site.handle = handle


HEADS: dict[str, tuple[str, int, dict[str, str | None]]] = {
    "plain": (TYPE, 200, {"content-type": "text/plain", "content-length": "4"}),
    "status": ("Status: 418 Teapot\r\n" + TYPE, 418, {"status": None}),
    "redirection": ("Location: /x\r\n", 302, {"location": "/x"}),
    "hop by hop": (
        TYPE
        + "Connection: close\r\nTransfer-Encoding: chunked\r\nKeep-Alive: 1\r\nTrailer: x\r\nUpgrade: x\r\nTE: x\r\n",
        200,
        dict.fromkeys(["connection", "transfer-encoding", "keep-alive", "trailer", "upgrade", "te"]),
    ),
    "date": (TYPE + "Date: yesterday\r\n", 200, {"date": None}),
    "accel": (
        TYPE + "X-Accel-Redirect: /x\r\nX-Accel-Expires: 1\r\nX-Sendfile: /etc/passwd\r\nX-Accel-Buffering: no\r\n",
        200,
        dict.fromkeys(["x-accel-redirect", "x-accel-expires", "x-sendfile", "x-accel-buffering"]),
    ),
    "case": ("CONTENT-TYPE: a/b\r\nX-FOO: Bar\r\n", 200, {"content-type": "a/b", "x-foo": "Bar"}),
    "latin-1": (TYPE + "X-Foo: \u00fc\r\n", 200, {"x-foo": "\u00fc"}),
    "control": (TYPE + "X-Foo: a\x1bb\r\n", 200, {"x-foo": None}),
    "long": (TYPE + f"X-Foo: {'x' * 5000}\r\n", 200, {"x-foo": "x" * 5000}),
    "length": (TYPE + "Content-Length: 4\r\n", 200, {"content-length": "4"}),
    "length of letters": (TYPE + "Content-Length: abc\r\n", 200, {"content-length": "4"}),
    "negative length": (TYPE + "Content-Length: -1\r\n", 200, {"content-length": "4"}),
    "two lengths": (TYPE + "Content-Length: 2\r\nContent-Length: 9\r\n", 200, {"content-length": "4"}),
    "equal lengths": (TYPE + "Content-Length: 4\r\nContent-Length: 4\r\n", 200, {"content-length": "4"}),
    "1xx": ("Status: 103 Early Hints\r\n", 502, {}),
    "199": ("Status: 199\r\n", 502, {}),
    "099": ("Status: 099\r\n", 502, {}),
    "600": ("Status: 600\r\n", 502, {}),
    "999": ("Status: 999 x\r\n", 502, {}),
    "status of letters": ("Status: abc\r\n", 502, {}),
    "599": ("Status: 599\r\n" + TYPE, 599, {}),
    "NUL": (TYPE + "X-Foo: a\x00b\r\n", 502, {}),
    "lone CR": (TYPE + "X-Foo: a\rSet-Cookie: x\r\n", 502, {}),
    "no head": ("<p>no head at all\r\n", 502, {}),
    "error page": ("Status: 500 Internal Server Error\r\n" + TYPE, 500, {"content-length": "4"}),
}


@pytest.mark.parametrize("name", HEADS)
async def test_head(site: Site, name: str) -> None:
    """Each head that a script may send."""
    head, status, headers = HEADS[name]
    says(site, (head + "\r\nbody").encode("latin-1"))
    answer = await site.ask("/page.php")
    assert answer.status == status
    differ = {header: value for header in headers if (value := answer.header(header)) != headers[header]}
    # a length that PHP did not say is only told if the end had come with the head
    assert differ in ({}, {"content-length": None})
    assert not differ or name not in ("length", "equal lengths")
    assert answer.complete
    if status != 502:
        assert answer.body == b"body"


@pytest.mark.parametrize("name", HEADS)
async def test_head_that_comes_before_its_body(site: Site, name: str) -> None:
    """The same for an answer whose end is not at hand, which has no length unless PHP says one."""
    head, status, headers = HEADS[name]
    says(site, (head + "\r\nbo").encode("latin-1"), b"dy")
    answer = await site.ask("/page.php")
    assert answer.status == status
    assert {name: value for name in headers if (value := answer.header(name)) != headers[name]} in (
        {},
        {"content-length": None},
    )
    if status != 502:
        assert answer.body == b"body"


async def test_cookies_stay_apart(site: Site) -> None:
    """Set-Cookie cannot be joined."""
    says(site, TYPE + "Set-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\n")
    answer = await site.ask("/page.php")
    assert [value for name, value in answer.headers if name == b"set-cookie"] == [b"a=1", b"b=2"]


@pytest.mark.parametrize("parts", [["abcdef"], ["abc", "def"], ["", "abcdef"], ["abcd", "ef"]], ids=repr)
async def test_body_longer_than_its_length(site: Site, parts: list[str]) -> None:
    """It is cut: the rest would be taken for the next response."""
    says(site, TYPE + "Content-Length: 4\r\n\r\n" + parts[0], *parts[1:])
    answer = await site.ask("/page.php")
    assert (answer.body, answer.header("content-length"), answer.complete) == (b"abcd", "4", True)


async def test_body_where_none_is_announced(site: Site) -> None:
    """A length of 0 is kept to as well."""
    says(site, TYPE + "Content-Length: 0\r\n\r\n", "abc")
    answer = await site.ask("/page.php")
    assert (answer.body, answer.header("content-length"), answer.complete) == (b"", "0", True)


@pytest.mark.parametrize("parts", [["ab"], ["", "ab"], ["a", "b"]], ids=repr)
@pytest.mark.parametrize("buffer", [0, 1024])
async def test_body_shorter_than_its_length(site: Site, parts: list[str], buffer: int) -> None:
    """The connection is cut, so that the client does not take it for whole."""
    says(site, TYPE + "Content-Length: 4\r\n\r\n" + parts[0], *parts[1:])
    client = Client()
    with pytest.raises(ResponseTruncated):
        await client.request(
            site.app(response_buffer=buffer), path="/page.php", headers=[(b"host", b"a")], http_version="1.1"
        )
    answer = collected(client)
    assert (answer.body, answer.header("content-length"), answer.complete) == (b"ab", "4", False)


@pytest.mark.parametrize("buffer", [0, 1024])
async def test_worker_lost_in_the_middle(site: Site, buffer: int) -> None:
    """What came is passed on, and the connection cut."""
    says(site, TYPE + "\r\nab")
    site.responder.fault = Close(after=8 + len(TYPE) + 4)
    client = Client()
    with pytest.raises(ConnectionLost):
        await client.request(
            site.app(response_buffer=buffer), path="/page.php", headers=[(b"host", b"a")], http_version="1.1"
        )
    assert collected(client).complete is False


@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("flushed", [False, True])
async def test_answers_without_a_body(site: Site, status: int, flushed: bool) -> None:
    """HEAD, 204 and 304 have none, whatever the script prints."""
    head = f"Status: {status}\r\nETag: x\r\n\r\n"
    says(site, *([head, "body"] if flushed else [head + "body"]))
    answer = await site.ask("/page.php", method="HEAD" if status == 200 else "GET")
    assert (answer.status, answer.body, answer.header("etag"), answer.complete) == (status, b"", "x", True)


async def test_length_of_a_head(site: Site) -> None:
    """HEAD keeps the length that PHP says; 204 and 304 have none."""
    says(site, TYPE + "Content-Length: 10\r\n\r\n")
    assert (await site.ask("/page.php", method="HEAD")).header("content-length") == "10"
    for status in (204, 304):
        says(site, f"Status: {status}\r\nContent-Length: 10\r\n\r\n")
        assert (await site.ask("/page.php")).header("content-length") is None


@pytest.mark.parametrize("options", [{}, {"response_buffer": 0}, {"response_buffer": 1, "response_file": 0}])
async def test_parts_come_as_they_are_flushed(site: Site, options: dict[str, int]) -> None:
    """A spool keeps what the client has not taken, and never waits to be full."""
    import anyio

    seen = anyio.Event()

    async def handle(request: Request) -> Scripted:
        await request.write_stdout(TYPE + "\r\nfirst")
        with anyio.fail_after(20):
            await seen.wait()
        await request.write_stdout("second")
        return None

    site.handle = handle
    sent = []

    async def send(message: dict[str, object]) -> None:
        sent.append(message)
        if message.get("body") == b"first":
            seen.set()

    async def receive() -> dict[str, object]:
        await anyio.sleep_forever()
        raise AssertionError

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/page.php",
        "headers": [(b"host", b"a")],
        "query_string": b"",
        "http_version": "1.1",
    }
    await site.app(**options)(scope, receive, send)  # type: ignore[arg-type]
    assert b"".join(part["body"] for part in sent[1:]) == b"firstsecond"  # type: ignore[misc]


async def test_php_turns_the_spool_off(site: Site) -> None:
    """By X-Accel-Buffering, as with nginx."""
    says(site, TYPE + "X-Accel-Buffering: no\r\n\r\na", "b")
    answer = await site.ask("/page.php", max_spooled=0)
    assert answer.body == b"ab"


async def test_errors_of_php_are_passed_on(site: Site) -> None:
    """Its own error page is more than ours could say."""
    says(site, "Status: 503\r\n" + TYPE + "\r\nmaintenance")
    answer = await site.ask("/page.php", errors=lambda status, scope: "ours")
    assert (answer.status, answer.body) == (503, b"maintenance")


async def test_reply_without_anything(site: Site) -> None:
    """An empty body is whole, too."""

    async def handle(request: Request) -> Scripted:
        return Reply(body=b"")

    site.handle = handle
    answer = await site.ask("/page.php")
    assert (answer.status, answer.body, answer.complete) == (200, b"", True)
    assert answer.header("content-length") in (None, "0")
