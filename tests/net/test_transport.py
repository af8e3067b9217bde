"""The Transport interface: one suite for both implementations, over real sockets; the peer is a plain socket."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from struct import pack

import anyio
import attrs
import pytest

from fcgi_async.net.current import current_backend
from fcgi_async.net.transport import WRITE_HIGH, Transport
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

# more than the socket's buffers and the high mark take together
LARGE = 16 * 1024 * 1024


@attrs.define(eq=False)
class Recorder:
    """A handler that writes down what it is told."""

    data: bytearray = attrs.field(factory=bytearray, init=False)
    calls: list[str] = attrs.field(factory=list, init=False)
    errors: list[Exception | None] = attrs.field(factory=list, init=False)

    def data_received(self, data: bytes | memoryview) -> bool:
        assert data
        self.data += data
        return False

    def eof_received(self) -> None:
        self.calls.append("eof")

    def connection_lost(self, error: Exception | None) -> None:
        self.calls.append("lost")
        self.errors.append(error)

    def pause_writing(self) -> None:
        self.calls.append("pause")

    def resume_writing(self) -> None:
        self.calls.append("resume")


@pytest.fixture(params=["unix", "tcp"])
def ends(request: pytest.FixtureRequest) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two ends of one connection, both non-blocking."""
    if request.param == "unix":
        ours, theirs = socket.socketpair()
    else:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = socket.create_connection(listener.getsockname())
            theirs, _ = listener.accept()
    ours.setblocking(False)
    theirs.setblocking(False)
    # the transport owns `ours`; closing it once more does no harm
    with ours, theirs:
        yield ours, theirs


@asynccontextmanager
async def attached(sock: socket.socket) -> AsyncIterator[tuple[Transport, Recorder]]:
    """A transport over a socket, with the backend that it needs."""
    backend, recorder = current_backend(), Recorder()
    await backend.open()
    try:
        transport = Transport(sock, recorder, backend)
        try:
            yield transport, recorder
        finally:
            transport.abort()
    finally:
        await backend.aclose()


async def receive(sock: socket.socket, size: int) -> bytes:
    """Read until `size` bytes, or the end, are there."""
    data = bytearray()
    while len(data) < size:
        await anyio.wait_readable(sock)
        with suppress(BlockingIOError):
            part = sock.recv(1 << 20)
            if not part:
                break
            data += part
    return bytes(data)


async def send(sock: socket.socket, data: bytes) -> None:
    """Write all of it."""
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[sock.send(rest) :]
        except BlockingIOError:
            await anyio.wait_writable(sock)


def pattern(size: int, seed: int) -> bytes:
    """Bytes in which a lost, doubled or misplaced part shows."""
    line = bytes((seed + i * 7) % 251 for i in range(8191))
    return (line * (size // len(line) + 1))[:size]


async def test_small_write_is_sent_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    """What the socket takes is sent before write() returns: the peer has it without a turn of the loop."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        assert transport.write(b"hello")
        theirs.setblocking(True)
        theirs.settimeout(10)
        assert theirs.recv(100) == b"hello"
        assert transport.unsent == 0
        assert recorder.calls == []


async def test_what_the_peer_has_not_read(ends: tuple[socket.socket, socket.socket]) -> None:
    """A unix socket tells how much the peer has left unread; TCP tells nothing."""
    ours, theirs = ends
    async with attached(ours) as (transport, _):
        assert transport.unread == 0
        transport.write(b"12")
        assert (transport.unread > 0) is (ours.family == socket.AF_UNIX)
        await eventually(lambda: readable(theirs))
        theirs.recv(1)
        assert (transport.unread > 0) is (ours.family == socket.AF_UNIX)
        theirs.recv(1)
        assert transport.unread == 0


def readable(sock: socket.socket) -> bool:
    """Whether there is something to be read."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK))
    except BlockingIOError:
        return False


async def test_acknowledges_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    """Where asked, TCP puts off no acknowledgement; to a unix socket it means nothing."""
    ours, _ = ends
    async with attached(ours) as (transport, _):
        if ours.family != socket.AF_UNIX:
            ours.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 0)
        transport.acknowledge()
        if ours.family != socket.AF_UNIX:
            assert ours.getsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK) == 1


async def test_reads(ends: tuple[socket.socket, socket.socket]) -> None:
    """What the peer sends is pushed into the handler, in order."""
    ours, theirs = ends
    async with attached(ours) as (_, recorder):
        for part in (b"a", b"bc", b"def"):
            theirs.send(part)
        await eventually(lambda: recorder.data == b"abcdef")


async def test_large_writes_both_ways_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    """16 MB each way at the same time arrive whole; neither side waits for the other to read first."""
    ours, theirs = ends
    there, back = pattern(LARGE, 1), pattern(LARGE, 2)
    received: list[bytes] = []

    async def read_it() -> None:
        received.append(await receive(theirs, LARGE))

    async with attached(ours) as (transport, recorder):
        assert transport.write(there)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(read_it)
            tasks.start_soon(send, theirs, back)
        await eventually(lambda: len(recorder.data) >= LARGE)
        assert bytes(recorder.data) == back
        assert received == [there]
        assert transport.unsent == 0


async def test_many_writes_keep_their_order(ends: tuple[socket.socket, socket.socket]) -> None:
    """Writes made while others wait go behind them."""
    ours, theirs = ends
    parts = [pattern(100_000, seed) for seed in range(40)]
    async with attached(ours) as (transport, _):
        for part in parts:
            assert transport.write(part)
        assert await receive(theirs, 4_000_000) == b"".join(parts)


async def test_peer_leaves_while_reading_is_shut(ends: tuple[socket.socket, socket.socket]) -> None:
    """A peer that goes with bytes still to be written to it is noticed, though nothing is read any more."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.write(bytes(LARGE))
        transport.shut_reading()
        assert transport.unsent
        theirs.close()
        await eventually(lambda: "lost" in recorder.calls)


async def test_writing_is_paused_and_resumed(ends: tuple[socket.socket, socket.socket]) -> None:
    """Over the high mark the handler is told to pause, once; when most of it is gone it is told to go on, once."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.write(bytes(LARGE))
        assert recorder.calls == ["pause"]
        assert transport.unsent > WRITE_HIGH
        transport.write(bytes(1000))
        assert recorder.calls == ["pause"]
        assert len(await receive(theirs, LARGE + 1000)) == LARGE + 1000
        await eventually(lambda: recorder.calls == ["pause", "resume"])
        transport.write(bytes(LARGE))
        assert recorder.calls == ["pause", "resume", "pause"]


async def test_below_the_high_mark_nothing_is_paused(ends: tuple[socket.socket, socket.socket]) -> None:
    """A little that waits to be written is no reason to pause."""
    ours, _ = ends
    async with attached(ours) as (transport, recorder):
        while not transport.unsent:
            transport.write(bytes(16 * 1024))
        assert 0 < transport.unsent <= WRITE_HIGH
        assert recorder.calls == []


async def test_reading_is_paused_and_resumed(ends: tuple[socket.socket, socket.socket]) -> None:
    """Paused, nothing is delivered and the peer is held up; resumed, everything is."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.pause_reading()
        transport.pause_reading()
        # more than the buffers take, so that the peer's writing stops where nobody reads
        sent = 0
        with suppress(BlockingIOError):
            while sent < LARGE * 4:
                sent += theirs.send(bytes(1 << 16))
        assert sent < LARGE * 4
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        await anyio.wait_all_tasks_blocked()
        assert not recorder.data
        transport.resume_reading()
        transport.resume_reading()
        await eventually(lambda: len(recorder.data) == sent)


async def test_paused_reading_does_not_see_the_end(ends: tuple[socket.socket, socket.socket]) -> None:
    """An EOF behind data that nobody wants yet waits its turn."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.pause_reading()
        theirs.send(b"last words")
        theirs.close()
        await anyio.wait_all_tasks_blocked()
        assert not recorder.data
        assert recorder.calls == []
        transport.resume_reading()
        await eventually(lambda: "lost" in recorder.calls)
        assert recorder.data == b"last words"
        assert recorder.calls == ["eof", "lost"]


async def test_eof(ends: tuple[socket.socket, socket.socket]) -> None:
    """A peer that closes in good order is an EOF, then a lost connection without an error, each once."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        theirs.send(b"bye")
        theirs.close()
        await eventually(lambda: "lost" in recorder.calls)
        assert recorder.data == b"bye"
        assert recorder.calls == ["eof", "lost"]
        assert recorder.errors == [None]
        assert not transport.write(b"too late")
    assert recorder.calls == ["eof", "lost"]


async def test_reset(ends: tuple[socket.socket, socket.socket]) -> None:
    """A peer that resets is a lost connection with its error, and no EOF."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.write(b"unread")
        await anyio.wait_readable(theirs)
        if theirs.family != socket.AF_UNIX:
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, pack("ii", 1, 0))
        theirs.close()
        await eventually(lambda: recorder.calls)
        assert recorder.calls == ["lost"]
        assert isinstance(recorder.errors[0], ConnectionResetError)


async def test_write_to_a_peer_that_has_gone() -> None:
    """On a unix socket a peer that has closed is known at once: write() says that not one byte was taken, and what
    came before is still read.
    """
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    async with attached(ours) as (transport, recorder):
        theirs.send(b"last words")
        theirs.close()
        assert not transport.write(b"hello")
        await eventually(lambda: "lost" in recorder.calls)
        assert recorder.data == b"last words"
        assert recorder.calls == ["eof", "lost"]


async def test_peer_that_goes_while_bytes_wait() -> None:
    """Bytes that a gone peer never took are not called sent."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    unsent_at_end: list[int] = []

    class Watcher(Recorder):
        def eof_received(self) -> None:
            unsent_at_end.append(transport.unsent)

    backend, watcher = current_backend(), Watcher()
    await backend.open()
    try:
        transport = Transport(ours, watcher, backend)
        transport.write(bytes(LARGE))
        # all that arrived is read, so that the end is an EOF and no reset
        with suppress(BlockingIOError):
            while theirs.recv(1 << 20):
                pass
        theirs.close()
        await eventually(lambda: "lost" in watcher.calls)
        transport.abort()
    finally:
        await backend.aclose()
    # either an error, or an EOF that comes with the truth
    assert watcher.errors[0] is not None or unsent_at_end[0] > 0


async def test_abort_is_seen_by_the_peer_at_once(ends: tuple[socket.socket, socket.socket]) -> None:
    """The peer reads the end before the loop has turned once more."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.write(b"sent")
        transport.abort()
        theirs.setblocking(True)
        theirs.settimeout(10)
        assert theirs.recv(100) == b"sent"
        assert theirs.recv(100) == b""
        # whoever aborts knows
        assert recorder.calls == []


async def test_abort_while_paused_both_ways(ends: tuple[socket.socket, socket.socket]) -> None:
    """A transport that waits in both directions is aborted all the same; the descriptor is closed."""
    ours, theirs = ends
    async with attached(ours) as (transport, recorder):
        transport.write(bytes(LARGE))
        theirs.send(b"unread")
        transport.pause_reading()
        transport.abort()
        transport.abort()
        assert not transport.write(b"more")
        assert recorder.calls == ["pause"]
    assert ours.fileno() == -1


async def test_no_descriptor_is_left(ends: tuple[socket.socket, socket.socket]) -> None:
    """A transport that is over has closed the socket it was given."""
    ours, theirs = ends
    async with attached(ours) as (transport, _):
        transport.abort()
    assert ours.fileno() == -1
    assert await receive(theirs, 1) == b""


async def test_reading_is_shut() -> None:
    """Once the reading side is shut the peer's next write fails, nothing is delivered, and what is written arrives."""
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        async with attached(ours) as (transport, recorder):
            theirs.send(b"before")
            await eventually(lambda: recorder.data == b"before")
            transport.shut_reading()
            with pytest.raises(BrokenPipeError):
                theirs.send(b"after")
            assert transport.write(b"still")
            assert await receive(theirs, 5) == b"still"
            await anyio.lowlevel.checkpoint()
            assert recorder.data == b"before"
            assert "lost" not in str(recorder.calls)


@attrs.define(eq=False)
class Eager(Recorder):
    """A handler to which more is due after its first read."""

    def data_received(self, data: bytes | memoryview) -> bool:
        super().data_received(data)
        if data == b"one":
            self.theirs.send(b"two")
        return data == b"one"

    theirs: socket.socket


async def test_reads_again_at_once_if_more_is_due() -> None:
    """What comes while the handler works is read in the same turn of the loop, if the handler says that it is due."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    backend, recorder = current_backend(), Eager(theirs)
    await backend.open()
    try:
        transport = Transport(ours, recorder, backend)
        theirs.send(b"one")
        turns: list[bytes] = []
        while not recorder.data:
            await anyio.lowlevel.checkpoint()
            turns.append(bytes(recorder.data))
        assert turns[-1] == b"onetwo"
        transport.abort()
    finally:
        await backend.aclose()
        theirs.close()


async def test_an_answer_before_a_broken_pipe_is_read() -> None:
    """What the peer sent before it closed is read though a part of a large write is still waiting."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.setblocking(False)
    async with attached(ours) as (transport, recorder):
        transport.write(bytes(LARGE))
        theirs.send(b"answer")
        theirs.close()
        await eventually(lambda: "lost" in recorder.calls)
        assert recorder.data == b"answer"
