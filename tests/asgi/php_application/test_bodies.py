"""Bodies of requests: how much, how fast, where they wait, and that they can be sent again."""

from __future__ import annotations

import errno
from collections.abc import Callable

import anyio
import anyio.lowlevel
import attrs
import pytest

from fcgi_async.asgi.php_application import watch
from fcgi_async.asgi.protocol import Message
from fcgi_async.spool.room import SpoolRoom
from fcgi_async.spool.spool_file import SpoolFile
from fcgi_async.testing import Reject
from fcgi_async.wire.spec import ProtocolStatus
from tests.asgi.client import Client
from tests.asgi.php_application.site import HOST, Answer, Headers, Site, ask, collected

pytestmark = pytest.mark.anyio

KIB = 1024


def sized(size: int) -> list[tuple[str, str]]:
    """Headers of a body of this size."""
    return [*HOST, ("content-length", str(size))]


@pytest.mark.parametrize("buffer", [0, 1, 10, 256 * KIB])
@pytest.mark.parametrize("size", [0, 1, 10, 11, 100_000, 600_000])
@pytest.mark.parametrize("chunked", [False, True])
async def test_body(site: Site, buffer: int, size: int, chunked: bool) -> None:
    """It arrives whole, wherever it waited, and PHP knows its length."""
    body = bytes(range(256)) * (size // 256 + 1)
    parts = [body[start : min(start + 70_000, size)] for start in range(0, size, 70_000)]
    headers = [*HOST, ("transfer-encoding", "chunked")] if chunked else sized(size)
    answer = await site.ask("/page.php", method="POST", headers=headers, body=parts, request_buffer=buffer)
    assert answer.received() == body[:size].decode("latin-1")
    assert answer.params()["CONTENT_LENGTH"] == str(size)


@pytest.mark.parametrize(("body", "length"), [([b"abc"], "3"), ([b""], None), ([b"ab", b"c"], "3")])
async def test_body_of_http_2(site: Site, body: list[bytes], length: str | None) -> None:
    """Its head need not say whether there is one."""
    answer = await site.ask("/page.php", method="POST", version="2", body=body)
    assert answer.received() == b"".join(body).decode()
    assert answer.params().get("CONTENT_LENGTH") == length


@attrs.define(eq=False)
class NotingClient(Client):
    """Notes how much of the answer it had when the application asked for the body."""

    answered: list[int] = attrs.field(factory=list, init=False)

    async def _receive(self) -> Message:
        self.answered.append(sum(len(message.get("body", b"")) for message in self.sent))
        return await Client._receive(self)


@pytest.mark.parametrize(("version", "connection"), [("1.1", "close"), ("2", None)])
async def test_announced_body_that_is_too_long(site: Site, version: str, connection: str | None) -> None:
    """413, before a byte of it is read; HTTP/2 has no header to end a connection by."""
    client = NotingClient()
    headers = [(name.encode(), value.encode()) for name, value in sized(11)]
    await client.request(site.app(max_body=10), method="POST", headers=headers, http_version=version)
    answer = collected(client)
    assert (answer.status, answer.header("connection")) == (413, connection)
    assert 0 not in client.answered


@pytest.mark.parametrize("target", ["/page.php", "/style.css", "/.env", "/%zz", "/sub"])
async def test_rest_of_a_body_after_an_error(site: Site, target: str) -> None:
    """It is taken and dropped once the client has the whole answer, and only then the connection may be closed."""
    parts: list[Message] = [{"type": "http.request", "body": b"x" * 10, "more_body": n < 3} for n in range(4)]
    client = NotingClient(parts)
    headers = [(name.encode(), value.encode()) for name, value in sized(40)]
    path = target.encode()
    app = site.app(max_body=10)
    await client.request(app, method="POST", path=target, raw_path=path, headers=headers, http_version="1.1")
    answer = collected(client)
    assert answer.status >= 300
    assert answer.complete
    assert client.answered == [len(answer.body)] * 4


@pytest.mark.parametrize(
    "headers",
    [[("content-length", "40"), ("expect", "100-continue")], [("content-length", "0")], []],
    ids=["expecting", "empty", "none"],
)
async def test_error_without_a_body_on_its_way(site: Site, headers: Headers) -> None:
    """Nothing is waited for if the client sends nothing, or nothing yet."""
    client = NotingClient([])
    pairs = [(name.encode(), value.encode()) for name, value in [*HOST, *headers]]
    await client.request(site.app(), method="POST", path="/.env", headers=pairs, http_version="1.1")
    assert (collected(client).status, client.answered) == (404, [])


@pytest.mark.parametrize("limit", ["_DISCARD_SECONDS", "_DISCARD_PAUSE_SECONDS"])
async def test_rest_of_a_body_that_does_not_end(site: Site, monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    """It is waited for so long, and no longer."""
    monkeypatch.setattr(watch, limit, 0.02)
    client = Client([])
    headers = [(name.encode(), value.encode()) for name, value in sized(40)]
    with anyio.fail_after(20):
        await client.request(site.app(), method="POST", path="/.env", headers=headers, http_version="1.1")
    assert collected(client).complete


async def test_body_that_turns_out_too_long(site: Site) -> None:
    """The same while it comes; no worker was asked for."""
    answer = await site.ask(
        "/page.php",
        method="POST",
        headers=[*HOST, ("transfer-encoding", "chunked")],
        body=[b"x" * 10, b"x", b""],
        max_body=10,
    )
    assert answer.status == 413
    assert not site.responder.connections


@pytest.mark.parametrize("buffer", [0, KIB])
async def test_body_that_stops_coming(site: Site, buffer: int) -> None:
    """408 after `body_timeout` between two pieces."""
    client = Client([{"type": "http.request", "body": b"ab", "more_body": True}])
    headers = [(name.encode(), value.encode()) for name, value in sized(4)]
    app = site.app(body_timeout=0.05, request_buffer=buffer)
    await client.request(app, method="POST", headers=headers, http_version="1.1")
    answer = collected(client)
    assert (answer.status, answer.header("connection")) == (408, "close")


@pytest.mark.parametrize("buffer", [0, KIB])
async def test_client_that_leaves_in_its_body(site: Site, buffer: int) -> None:
    """Nobody is answered, and PHP does not run."""
    client = Client([{"type": "http.request", "body": b"ab", "more_body": True}])
    client.disconnect()
    headers = [(name.encode(), value.encode()) for name, value in sized(4)]
    await client.request(site.app(request_buffer=buffer), method="POST", headers=headers, http_version="1.1")
    assert client.sent == []


async def test_room_for_all_bodies(site: Site) -> None:
    """503 where the temporary files of all requests would be more than `max_spooled`; it is there again after them."""
    app = site.app(request_buffer=10, max_spooled=1000)

    async def post(size: int) -> Answer:
        return await ask(app, "/page.php", method="POST", headers=sized(size), body=[b"x" * size])

    for _ in range(3):
        answer = await post(1001)
        assert (answer.status, answer.header("retry-after")) == (503, "1")
        assert (await post(1000)).status == 200
        assert (await post(10)).status == 200
    assert app._answering.room.used == 0


async def test_disk_that_is_full(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """503, as nothing is wrong with the request."""

    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.pwrite", full)
    answer = await site.ask("/page.php", method="POST", headers=sized(100), body=[b"x" * 100], request_buffer=10)
    assert answer.status == 503


@pytest.mark.parametrize("size", [10, 100_000])
async def test_body_is_sent_again(site: Site, size: int) -> None:
    """A worker that did not take the job costs nothing, though the body was sent to it."""
    site.responder.fault = {1: Reject(ProtocolStatus.OVERLOADED)}
    answer = await site.ask("/page.php", method="POST", headers=sized(size), body=[b"x" * size], request_buffer=100)
    assert answer.received() == "x" * size
    assert len(site.responder.requests) == 2


async def test_upload_holds_no_worker(site: Site) -> None:
    """PHP is asked for when the body is there, and not before."""
    client = Client([{"type": "http.request", "body": b"ab", "more_body": True}])
    headers = [(name.encode(), value.encode()) for name, value in sized(4)]
    async with anyio.create_task_group() as group:
        group.start_soon(
            lambda: client.request(site.app(), method="POST", path="/page.php", headers=headers, http_version="1.1")
        )
        with anyio.fail_after(20):
            while client.asked < 2:
                await anyio.lowlevel.checkpoint()
        assert not site.responder.connections
        client.say({"type": "http.request", "body": b"cd", "more_body": False})
    assert collected(client).received() == "abcd"


async def test_file_closed_while_a_thread_uses_it() -> None:
    """The thread closes it: its number may be another file's by then."""
    room = SpoolRoom(1_000_000)
    file = SpoolFile(room)
    assert await file.write(0, b"x" * 1000)
    file._lock.acquire()
    file.close()
    assert not file._file.closed
    file._lock.release()
    assert await file.read(0, 10) == b"x" * 10
    assert file._file.closed
    assert await file.read(0, 10) == b""
    assert room.used == 0


async def test_temporary_files_are_closed(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """After the request, whatever became of it."""
    files = watch_files(monkeypatch)

    await site.ask("/page.php", method="POST", headers=sized(100), body=[b"x" * 100], request_buffer=10)
    await site.ask(
        "/page.php", method="POST", headers=sized(100), body=[b"x" * 50] * 3, request_buffer=10, max_body=100
    )
    assert len(files) == 2
    assert all(file._file.closed for file in files)


def watch_files(monkeypatch: pytest.MonkeyPatch) -> list[SpoolFile]:
    """The temporary files that are made from now on."""
    files: list[SpoolFile] = []
    init: Callable[[SpoolFile, SpoolRoom], None] = SpoolFile.__init__

    def noted(self: SpoolFile, room: SpoolRoom) -> None:
        init(self, room)
        files.append(self)

    monkeypatch.setattr(SpoolFile, "__init__", noted)
    return files
