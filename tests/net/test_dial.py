"""Connecting, and the ways in which it does not work."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio
import pytest

from fcgi_async.net.address import Address
from fcgi_async.net.dial import dial
from tests.eventually import eventually
from tests.listening import bound_address, listening, unix_address

pytestmark = pytest.mark.anyio


def descriptors() -> set[int]:
    """The file descriptors of this process."""
    return {int(name) for name in os.listdir("/proc/self/fd")}


async def dialled(address: str, connect_timeout: float = 5.0) -> socket.socket:
    """Dial an address given as text."""
    return await dial(Address.parse(address), connect_timeout=connect_timeout)


@pytest.fixture
def full(tmp_path: Path) -> Iterator[tuple[str, socket.socket]]:
    """A unix socket whose backlog is full, with its address."""
    address = unix_address(tmp_path)
    with ExitStack() as stack:
        listener = stack.enter_context(listening(address, 1))
        with suppress(BlockingIOError):
            while True:
                waiting = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
                waiting.connect(Address.parse(address).path)
        yield address, listener


@pytest.mark.parametrize("kind", ["unix", "abstract", "tcp v4", "tcp v6", "tcp by name"])
async def test_connects(tmp_path: Path, kind: str) -> None:
    """Every kind of address is connected to, without blocking afterwards, and bytes pass both ways."""
    asked = {
        "unix": unix_address(tmp_path),
        "abstract": f"unix://@fcgi-async-test-{os.getpid()}",
        "tcp v4": "tcp://127.0.0.1:1",
        "tcp v6": "tcp://[::1]:1",
        "tcp by name": "tcp://127.0.0.1:1",
    }[kind]
    with listening(asked) as listener:
        address = bound_address(listener, asked)
        if kind == "tcp by name":
            address = address.replace("127.0.0.1", "localhost")
        with await dialled(address) as sock:
            assert not sock.getblocking()
            if sock.family != socket.AF_UNIX:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            with listener.accept()[0] as peer:
                peer.settimeout(10)
                sock.send(b"ping")
                assert peer.recv(4) == b"ping"
                peer.send(b"pong")
                await anyio.wait_readable(sock)
                assert sock.recv(4) == b"pong"


async def test_missing_socket(tmp_path: Path) -> None:
    """A path that is not there is ENOENT, and no descriptor is left."""
    before = descriptors()
    with pytest.raises(FileNotFoundError):
        await dialled(unix_address(tmp_path))
    assert descriptors() == before


async def test_refused_unix(tmp_path: Path) -> None:
    """A socket that nobody listens on any more is ECONNREFUSED."""
    address = unix_address(tmp_path)
    listening(address).close()
    with pytest.raises(ConnectionRefusedError):
        await dialled(address)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
async def test_refused_tcp(host: str) -> None:
    """A port that nobody listens on is ECONNREFUSED, and no descriptor is left."""
    with listening("tcp://127.0.0.1:1") as listener:
        port = listener.getsockname()[1]
    # the resolver's thread may open descriptors of its own
    with suppress(OSError):
        await dialled(f"tcp://{host}:{port}")
    before = descriptors()
    with pytest.raises(ConnectionRefusedError):
        await dialled(f"tcp://{host}:{port}")
    assert descriptors() == before


async def test_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A socket that may not be opened is EACCES, told at once; root is refused nothing, so the kernel's answer is
    given for it.
    """

    def connect(self: socket.socket, address: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    before = descriptors()
    with listening(unix_address(tmp_path)), monkeypatch.context() as patched:
        patched.setattr(socket.socket, "connect", connect)
        with pytest.raises(PermissionError):
            await dialled(unix_address(tmp_path))
    assert descriptors() == before


async def test_unknown_host(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that the resolver does not know is the resolver's own OSError."""

    async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
    with pytest.raises(socket.gaierror, match="not known"):
        await dialled("tcp://nowhere.invalid:9000")


async def test_second_address_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a name has several addresses and the first refuses, the next is taken."""
    with listening("tcp://127.0.0.1:1") as listener, listening("tcp://127.0.0.1:1") as other:
        dead, alive = other.getsockname(), listener.getsockname()
        other.close()

        async def getaddrinfo(*args: object, **kwargs: object) -> list[object]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", place) for place in (dead, alive)]

        monkeypatch.setattr(anyio, "getaddrinfo", getaddrinfo)
        with await dialled("tcp://php.invalid:9000") as sock:
            assert sock.getpeername() == alive


async def test_tcp_handshake_has_a_limit() -> None:
    """A handshake that is never completed, as where the backlog is full, is a TimeoutError after connect_timeout."""
    with listening("tcp://127.0.0.1:1", 0) as listener, ExitStack() as stack:
        place = listener.getsockname()
        for _ in range(3):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            sock.connect_ex(place)
        before = descriptors()
        with pytest.raises(TimeoutError):
            await dialled(bound_address(listener, ""), connect_timeout=0.05)
        assert descriptors() == before


async def test_full_backlog_is_waited_for(full: tuple[str, socket.socket]) -> None:
    """A unix socket whose backlog is full is no failure: dialling ends when there is room, however long that takes."""
    address, listener = full
    connected: list[socket.socket] = []
    attempts = 0
    original = socket.socket.connect

    def connect(self: socket.socket, place: str) -> None:
        nonlocal attempts
        attempts += 1
        original(self, place)

    async def dial_it() -> None:
        connected.append(await dialled(address, connect_timeout=0.001))

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(socket.socket, "connect", connect)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dial_it)
            await eventually(lambda: attempts >= 5)
            assert not connected
            listener.accept()[0].close()
            await eventually(lambda: connected)
    with connected[0] as sock:
        assert sock.getpeername() == Address.parse(address).path


async def test_cancelled_while_the_backlog_is_full(full: tuple[str, socket.socket]) -> None:
    """Cancelling a dial that waits leaves no descriptor."""
    address, _ = full
    before = descriptors()
    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(dialled, address)
            await anyio.wait_all_tasks_blocked()
            scope.cancel()
    assert scope.cancelled_caught
    assert descriptors() == before


async def test_cancelled_in_a_handshake() -> None:
    """Cancelling a TCP dial that is under way closes its socket."""
    with listening("tcp://127.0.0.1:1", 0) as listener, ExitStack() as stack:
        place = listener.getsockname()
        for _ in range(3):
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM | socket.SOCK_NONBLOCK))
            sock.connect_ex(place)
        address = bound_address(listener, "")
        with anyio.CancelScope() as scope:
            async with anyio.create_task_group() as tasks:
                before = descriptors()
                tasks.start_soon(dialled, address)
                await eventually(lambda: len(descriptors()) > len(before))
                scope.cancel()
        assert scope.cancelled_caught
        await eventually(lambda: descriptors() == before)
