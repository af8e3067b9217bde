"""What the commands say of a pool that cannot be reached, says nothing, or is none."""

from __future__ import annotations

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cli.conftest import SCRIPTS, RunCommand, StartCommand, wait_until

# what a peer does with a connection
Behaviour = Callable[[socket.socket], object]
Serve = Callable[[Behaviour], str]

BUSY, WRONG = "workers are busy", "not a FastCGI server"


def is_silent(connection: socket.socket) -> None:
    """Read, and say nothing."""
    while connection.recv(65536):
        pass


def speaks_http(connection: socket.socket) -> None:
    """Answer as an HTTP server does."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n")


def greets(connection: socket.socket) -> None:
    """Speak first, as an SSH server does."""
    connection.sendall(b"SSH-2.0-OpenSSH_9.2p1\r\n")
    is_silent(connection)


def closes(connection: socket.socket) -> None:
    """Close at once."""


def resets(connection: socket.socket) -> None:
    """Reset at once."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Serve connections of a free port until the test ends."""
    listeners: list[socket.socket] = []

    def handle(connection: socket.socket, behave: Behaviour) -> None:
        # an OSError: the command has ended
        with connection, suppress(OSError):
            behave(connection)

    def accept(listener: socket.socket, behave: Behaviour) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                # closed at the end
                return
            threading.Thread(target=handle, args=(connection, behave), daemon=True).start()

    def start(behave: Behaviour) -> str:
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        threading.Thread(target=accept, args=(listener, behave), daemon=True).start()
        return f"tcp://127.0.0.1:{listener.getsockname()[1]}"

    yield start
    for listener in listeners:
        # wakes accept()
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@pytest.mark.parametrize(
    ("behave", "said"),
    [
        (speaks_http, "what listens there is not PHP-FPM"),
        (greets, "what listens there is not PHP-FPM"),
        (closes, "listen.allowed_clients"),
        (resets, "listen.allowed_clients"),
    ],
)
def test_wrong_peer(command: RunCommand, serve: Serve, behave: Behaviour, said: str) -> None:
    """A peer that does not speak FastCGI is told from one that refuses us; both say what to check, in one line."""
    address = serve(behave)
    for arguments in (
        ["ping", address],
        ["status", address],
        ["run", "/a.php", "--fpm", address, "--max-children", "1"],
    ):
        result = command(*arguments)
        assert (result.code, result.out) == (1, b"")
        result.assert_one_line()
        assert address in result.err
        # the status page is asked without a probe, and says the same of both
        assert said in result.err or (arguments[0] == "status" and "the address is one of FPM's" in result.err)


@pytest.mark.parametrize("name", ["ping", "status", "run"])
def test_host_that_is_not_known(command: RunCommand, name: str) -> None:
    """A host that has no address is said to be one."""
    address = "tcp://no-such-host.invalid:9000"
    pool = ["/a.php", "--fpm", address, "--max-children", "1"] if name == "run" else [address]
    result = command(name, *pool)
    assert (result.code, result.out) == (1, b"")
    result.assert_one_line()
    assert "check that the host's name is right" in result.err


def test_ping_of_a_silent_peer(command: RunCommand, serve: Serve) -> None:
    """A ping without an answer names both that it may be, and what to look at."""
    address = serve(is_silent)
    result = command("ping", address, "--timeout", "0.1")
    assert (result.code, result.out) == (1, b"")
    result.assert_one_line()
    for part in (address, BUSY, "fcgi-async status", WRONG, "`listen`"):
        assert part in result.err


def test_deadline_at_a_silent_peer(command: RunCommand, serve: Serve) -> None:
    """A job whose deadline passes before a worker answers says how to see whether one would."""
    address = serve(is_silent)
    result = command("run", "/a.php", "--fpm", address, "--max-children", "1", "--timeout", "0.1")
    assert (result.code, result.out) == (1, b"")
    result.assert_one_line()
    assert f"`fcgi-async ping {address}`" in result.err


def test_deadline_on_a_private_fpm(command: RunCommand, tmp_path: Path) -> None:
    """There it is not said: who started the pool knows that it is one."""
    result = command("run", SCRIPTS / "echo.php", "--timeout", "0.000001")
    assert result.code == 1
    result.assert_one_line()
    assert "fcgi-async ping" not in result.err


@pytest.mark.parametrize("name", ["run", pytest.param("map", marks=pytest.mark.long)])
def test_silent_peer_is_not_waited_for_without_a_word(
    start: StartCommand, serve: Serve, tmp_path: Path, name: str
) -> None:
    """While a peer accepts and is silent, a line says what it may be and how to find out; and then nothing more."""
    address = serve(is_silent)
    started = start(name, "/a.php", "--fpm", address, "--max-children", "1")
    assert started.process.stdin is not None
    started.process.stdin.write(b"1\n")
    started.process.stdin.close()
    started.process.stdin = None
    said = bytearray()
    reader = threading.Thread(target=read_all, args=(started.process.stderr, said), daemon=True)
    reader.start()
    wait_until(lambda: b"\n" in said)
    assert started.process.poll() is None
    started.process.kill()
    reader.join()
    line = said.decode()
    assert line.startswith("fcgi-async: ")
    assert line.count("\n") == 1
    for part in (address, BUSY, WRONG, "`listen`"):
        assert part in line


def read_all(stream: object, into: bytearray) -> None:
    """Read a pipe as it is written."""
    while data := stream.read1():  # type: ignore[attr-defined]
        into += data
