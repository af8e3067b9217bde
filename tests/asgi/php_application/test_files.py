"""Files: types, conditional and range requests, and what is done for their speed."""

from __future__ import annotations

import errno
import os
import time
from pathlib import Path

import pytest

from fcgi_async.asgi.php_application import watch
from fcgi_async.asgi.php_application.conditions import Validators, decide, names_this
from fcgi_async.asgi.php_application.media_types import media_type
from fcgi_async.asgi.php_application.ranges import parse_range
from fcgi_async.asgi.protocol import Receive, Scope, Send
from tests.asgi.client import Client
from tests.asgi.php_application.site import HOST, Headers, Site

OLD = 1_700_000_000
DATE = "Tue, 14 Nov 2023 22:13:20 GMT"
EARLIER, LATER = "Tue, 14 Nov 2023 22:13:19 GMT", "Tue, 14 Nov 2023 22:13:21 GMT"
SIZE = 100
TAG = f'"{OLD:x}-{SIZE:x}"'
STRONG = Validators.of(OLD, SIZE, OLD + 100)
WEAK = Validators.of(OLD, SIZE, OLD)

# headers of a request, and what they come to for a file that is the same for long, or was changed just now
CONDITIONS: list[tuple[dict[str, str], int, int]] = [
    ({}, 200, 200),
    ({"if-none-match": TAG}, 304, 304),
    ({"if-none-match": f"W/{TAG}"}, 304, 304),
    ({"if-none-match": f'"a", W/"b" , {TAG}'}, 304, 304),
    ({"if-none-match": "*"}, 304, 304),
    ({"if-none-match": '"other"'}, 200, 200),
    ({"if-none-match": TAG.strip('"')}, 200, 200),
    ({"if-none-match": ""}, 200, 200),
    ({"if-none-match": '"other"', "if-modified-since": DATE}, 200, 200),
    ({"if-modified-since": DATE}, 304, 304),
    ({"if-modified-since": LATER}, 304, 304),
    ({"if-modified-since": EARLIER}, 200, 200),
    ({"if-modified-since": "yesterday"}, 200, 200),
    ({"if-modified-since": "\xff"}, 200, 200),
    ({"if-match": TAG}, 200, 412),
    ({"if-match": f"W/{TAG}"}, 412, 412),
    ({"if-match": "*"}, 200, 200),
    ({"if-match": '"other"'}, 412, 412),
    ({"if-match": f'"other", {TAG}'}, 200, 412),
    ({"if-match": "*", "if-unmodified-since": EARLIER}, 200, 200),
    ({"if-unmodified-since": DATE}, 200, 200),
    ({"if-unmodified-since": EARLIER}, 412, 412),
    ({"if-unmodified-since": "never"}, 200, 200),
    ({"if-match": "*", "if-none-match": "*"}, 304, 304),
]


@pytest.mark.parametrize(("headers", "strong", "weak"), CONDITIONS)
def test_condition(headers: dict[str, str], strong: int, weak: int) -> None:
    """RFC 9110, 13.2.2, in its order."""
    given = {name.encode(): value.encode("latin-1") for name, value in headers.items()}
    assert (decide(given, STRONG), decide(given, WEAK)) == (strong, weak)


RANGES: list[tuple[str | None, tuple[int, int] | bool | None]] = [
    (None, None),
    ("bytes=0-0", (0, 1)),
    ("bytes=0-", (0, 100)),
    ("bytes=10-19", (10, 10)),
    ("bytes=90-1000", (90, 10)),
    ("bytes=99-", (99, 1)),
    ("bytes=100-", False),
    ("bytes=-1", (99, 1)),
    ("bytes=-1000", (0, 100)),
    ("bytes=-0", False),
    ("bytes=-", None),
    ("bytes=2-1", None),
    ("bytes=0-1,5-6", None),
    ("bytes=a-b", None),
    ("lines=0-1", None),
    ("nonsense", None),
    ("bytes=99999999999999999999-", None),
    ("BYTES = 0-0", (0, 1)),
]


@pytest.mark.parametrize(("value", "expected"), RANGES)
def test_range(value: str | None, expected: tuple[int, int] | bool | None) -> None:
    """One range of bytes; what is not understood is the whole file."""
    assert parse_range(None if value is None else value.encode(), SIZE) == expected


def test_change_in_a_year_that_no_date_can_tell() -> None:
    """A file system may have such a time."""
    assert Validators.of(1e12, SIZE, OLD).last_modified == b"Fri, 31 Dec 9999 23:59:59 GMT"
    assert Validators.of(-1e12, SIZE, OLD).last_modified == b"Thu, 01 Jan 1970 00:00:00 GMT"


def test_range_of_an_empty_file() -> None:
    """No byte of it can be asked for."""
    assert parse_range(b"bytes=0-", 0) is False
    assert parse_range(b"bytes=-5", 0) is False


@pytest.mark.parametrize(
    ("value", "same"), [(TAG, True), (f"W/{TAG}", False), ('"x"', False), (DATE, True), (EARLIER, False), ("x", False)]
)
def test_if_range(value: str, same: bool) -> None:
    """A part is sent only of the file that the client has a part of."""
    assert names_this(value.encode(), STRONG) is same
    assert names_this(value.encode(), WEAK) is False


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a.css", "text/css"),
        ("a.CSS", "text/css"),
        ("a.js", "text/javascript"),
        ("a.html", "text/html"),
        ("a.svg", "image/svg+xml"),
        ("a.woff2", "font/woff2"),
        ("a.tar.gz", "application/gzip"),
        ("a", "application/octet-stream"),
        ("a.unknown", "application/octet-stream"),
    ],
)
def test_type(name: str, expected: str) -> None:
    """By the name's end, without a charset."""
    assert media_type(b"/" + name.encode()) == expected.encode()


@pytest.fixture
def old(site: Site) -> Path:
    """A file of 100 bytes that was changed long ago."""
    path = site.root / "plain.txt"
    os.utime(path, (OLD, OLD))
    return path


ANSWERS: dict[str, tuple[str, Headers, int, int, dict[str, str | None]]] = {
    "whole": (
        "GET",
        [],
        200,
        100,
        {"content-length": "100", "etag": TAG, "last-modified": DATE, "accept-ranges": "bytes"},
    ),
    "head": ("HEAD", [], 200, 0, {"content-length": "100", "etag": TAG, "content-type": "text/plain"}),
    "range": ("GET", [("range", "bytes=10-19")], 206, 10, {"content-length": "10", "content-range": "bytes 10-19/100"}),
    "range of a head": ("HEAD", [("range", "bytes=10-19")], 200, 0, {"content-length": "100", "content-range": None}),
    "ranges": ("GET", [("range", "bytes=0-1,3-4")], 200, 100, {"content-range": None}),
    "beyond": ("GET", [("range", "bytes=100-")], 416, 0, {"content-range": "bytes */100"}),
    "unit": ("GET", [("range", "lines=0-1")], 200, 100, {"content-range": None}),
    "not modified": (
        "GET",
        [("if-none-match", TAG)],
        304,
        0,
        {"etag": TAG, "content-length": None, "content-type": None},
    ),
    "not modified range": ("GET", [("if-none-match", TAG), ("range", "bytes=0-1")], 304, 0, {"content-range": None}),
    "changed": ("GET", [("if-match", '"x"')], 412, 0, {"etag": None}),
    "if-range": ("GET", [("if-range", TAG), ("range", "bytes=0-1")], 206, 2, {}),
    "if-range changed": ("GET", [("if-range", '"x"'), ("range", "bytes=0-1")], 200, 100, {}),
}


@pytest.mark.anyio
@pytest.mark.parametrize("name", ANSWERS)
async def test_answer(site: Site, old: Path, name: str) -> None:
    """The status, the bytes and the headers of each kind of request."""
    method, headers, status, size, expected = ANSWERS[name]
    answer = await site.ask("/plain.txt", method=method, headers=[*HOST, *headers])
    assert (answer.status, len(answer.body), answer.complete) == (status, size, True)
    assert {header: answer.header(header) for header in expected} == expected


@pytest.mark.anyio
async def test_file_that_was_changed_just_now(site: Site) -> None:
    """Its tag is weak: within the same second it may change once more."""
    os.utime(site.root / "plain.txt", (time.time(), time.time()))
    assert str((await site.ask("/plain.txt")).header("etag")).startswith("W/")


@pytest.mark.anyio
@pytest.mark.parametrize("size", [64 * 1024, 64 * 1024 + 1, 300_000, 1_000_000])
async def test_longer_file(site: Site, size: int) -> None:
    """In pieces, of which one alone is read in the event loop."""
    data = os.urandom(size)
    (site.root / "long.bin").write_bytes(data)
    assert (await site.ask("/long.bin")).body == data
    part = await site.ask("/long.bin", headers=[*HOST, ("range", f"bytes={size // 2}-")])
    assert (part.status, part.body) == (206, data[size // 2 :])


async def test_client_that_leaves(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """A long file is not read on, though the server says nothing when it cannot send any more."""
    with (site.root / "long.bin").open("wb") as file:
        file.truncate(100 * 256 * 1024)
    reads = 0
    read = os.pread

    def counted(descriptor: int, length: int, offset: int) -> bytes:
        nonlocal reads
        reads += 1
        return read(descriptor, length, offset)

    monkeypatch.setattr(os, "pread", counted)
    monkeypatch.setattr(watch, "_WATCH_AFTER_SECONDS", 0.0)
    client = Client()
    client.disconnect()
    await client.request(site.app(), path="/long.bin", headers=[(b"host", b"site.test")], http_version="1.1")
    assert client.status == 200
    assert 1 <= reads < 50


@pytest.mark.anyio
async def test_pathsend(site: Site) -> None:
    """A server that can send a file itself is told its path, for the whole of a long one."""
    from tests.asgi.client import Client

    (site.root / "long.bin").write_bytes(bytes(100_000))
    for target, kinds in {"/long.bin": "pathsend", "/style.css": "body"}.items():
        client = Client()
        await client.request(
            site.app(),
            path=target,
            headers=[(b"host", b"a")],
            http_version="1.1",
            extensions={"http.response.pathsend": {}},
        )
        assert [message["type"] for message in client.sent] == ["http.response.start", f"http.response.{kinds}"]
        if kinds == "pathsend":
            assert client.sent[1]["path"] == str(site.root / "long.bin")


@pytest.mark.anyio
async def test_compressed_neighbour(site: Site) -> None:
    """It is sent to who takes its coding, and the answer varies."""
    (site.root / "style.css.br").write_bytes(b"brotli")
    (site.root / "style.css.gz").write_bytes(b"gzip")
    options = {"precompressed": ["br", "gz"]}
    for accepted, body, coding in [
        ("gzip, br", b"brotli", "br"),
        ("gzip", b"gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", b"gzip", "gzip"),
        ("identity", b"body { color: red }\n", None),
    ]:
        answer = await site.ask("/style.css", headers=[*HOST, ("accept-encoding", accepted)], **options)
        assert (answer.body, answer.header("content-encoding")) == (body, coding)
        assert (answer.header("content-type"), answer.header("vary")) == ("text/css", "Accept-Encoding")
    plain = await site.ask("/style.css", headers=[*HOST, ("accept-encoding", "br")])
    assert (plain.header("content-encoding"), plain.header("vary")) == (None, None)


@pytest.mark.anyio
async def test_compressed_neighbour_that_is_a_link(site: Site) -> None:
    """It may lead out of the root, and is not sent in the file's place."""
    (site.root / "style.css.gz").symlink_to(site.root.parent / "outside" / "secret.txt")
    gzip = [*HOST, ("accept-encoding", "gzip")]
    answer = await site.ask("/style.css", headers=gzip, precompressed=["gz"], follow_symlinks=False)
    assert (answer.body, answer.header("content-encoding")) == (b"body { color: red }\n", None)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("error", "status"), [(errno.EACCES, 403), (errno.ENOENT, 404), (errno.EMFILE, 503), (errno.EIO, 503)]
)
@pytest.mark.parametrize("call", ["open", "stat"])
async def test_file_that_cannot_be_read(
    site: Site, monkeypatch: pytest.MonkeyPatch, call: str, error: int, status: int
) -> None:
    """404 is for what is not there; whoever remembers that would also do so when there are too many open files."""
    does = getattr(os, call)

    def refuse(path: object, *rest: object, **named: object) -> object:
        if isinstance(path, bytes) and path.endswith(b"style.css"):
            raise OSError(error, os.strerror(error))
        return does(path, *rest, **named)

    monkeypatch.setattr(os, call, refuse)
    answer = await site.ask("/style.css", front=None)
    assert answer.status == status
    assert (answer.header("retry-after") is None) == (status != 503)


@pytest.mark.anyio
async def test_file_that_became_a_fifo(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened is looked at once more, and opening does not wait for a writer."""
    from fcgi_async.asgi.php_application import lookup

    real = os.stat(site.root / "style.css")
    monkeypatch.setattr(lookup.Site, "_stat", lambda *_: real)
    assert (await site.ask("/fifo")).status == 404


@pytest.mark.anyio
async def test_static_application(site: Site) -> None:
    """It gets what may be seen, under the name that was found, and nothing else."""
    seen = []

    async def static(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append((scope["path"], scope["raw_path"]))
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"static"})

    for target in ("/style.css", "/blog/../with%20blank.txt", "/sub/"):
        assert (await site.ask(target, static=static)).body == b"static"
    for target in ("/.env", "/page.php.bak", "/UPPER.PHP"):
        assert (await site.ask(target, static=static)).status == 404
    assert seen == [
        ("/style.css", b"/style.css"),
        ("/with blank.txt", b"/with%20blank.txt"),
        ("/sub/index.html", b"/sub/index.html"),
    ]


@pytest.mark.anyio
async def test_no_files(site: Site) -> None:
    """static=False leaves scripts alone."""
    assert (await site.ask("/style.css", static=False)).status == 404
    assert (await site.ask("/page.php", static=False)).status == 200
    assert (await site.ask("/sub/", static=False)).params()["SCRIPT_NAME"] == "/index.php"
