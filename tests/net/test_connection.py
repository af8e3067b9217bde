"""One connection between its owner and its transport, linked to a responder's state machine in memory: what is
written, who is told what.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from typing import cast

import anyio
import attrs
import pytest

from fcgi_async.errors import ConnectionLost, FastCGIError, RemoteProtocolError
from fcgi_async.net.address import Address
from fcgi_async.net.backend import Backend
from fcgi_async.net.connection import Connection, EncodedRequest
from fcgi_async.net.current import current_backend
from fcgi_async.net.transport import Transport
from fcgi_async.wire.events import ParamsReceived, RequestBegun, ServerEvent, Stdin, StdinEnded, ValuesRequested
from fcgi_async.wire.records import encode_pair, encode_record
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import FCGI_MPXS_CONNS, RecordType, Role
from tests.eventually import eventually

pytestmark = pytest.mark.anyio

UNIX = Address.parse("unix:///run/php.sock")
TCP = Address.parse("tcp://127.0.0.1:9000")
PARAMS = [encode_pair(b"SCRIPT_FILENAME", b"/a.php")]


@attrs.define(eq=False)
class Wire:
    """A transport that hands every byte to a responder's state machine; it takes what it is told to take."""

    server: ServerConnection = attrs.field(factory=ServerConnection, init=False)
    events: list[ServerEvent] = attrs.field(factory=list, init=False)
    writes: int = attrs.field(default=0, init=False)
    peer_gone: bool = attrs.field(default=False, init=False)
    unsent: int = attrs.field(default=0, init=False)
    unread: int = attrs.field(default=0, init=False)
    aborted: bool = attrs.field(default=False, init=False)
    reading: bool = attrs.field(default=True, init=False)
    reading_shut: bool = attrs.field(default=False, init=False)
    acknowledged: int = attrs.field(default=0, init=False)
    on_write: Callable[[], None] | None = attrs.field(default=None, init=False)

    def write(self, data: bytes) -> bool:
        assert data
        assert not self.aborted
        if self.peer_gone:
            return False
        self.writes += 1
        self.events += self.server.receive_data(data)
        if self.on_write is not None:
            self.on_write()
        return True

    def acknowledge(self) -> None:
        self.acknowledged += 1

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def shut_reading(self) -> None:
        self.reading_shut = True

    def abort(self) -> None:
        self.aborted = True

    def body(self) -> bytes:
        """What has come of the body."""
        return b"".join(event.data for event in self.events if isinstance(event, Stdin))


@attrs.define(eq=False)
class Owner:
    """Writes down what a connection tells its owner."""

    calls: list[str] = attrs.field(factory=list, init=False)
    dropped: int = attrs.field(default=0, init=False)

    def connection_answered(self, connection: Connection) -> None:
        self.calls.append("answered")

    def request_ended(self, connection: Connection, request_id: int) -> None:
        self.calls.append("ended")

    def worker_free(self, connection: Connection) -> None:
        self.calls.append("free")

    def output_dropped(self, connection: Connection, request_id: int, size: int) -> None:
        self.dropped += size

    def stray_received(self, connection: Connection) -> None:
        self.calls.append("stray")

    def tail_left_unread(self, connection: Connection) -> None:
        self.calls.append("left unread")

    def tail_dropped(self, connection: Connection) -> None:
        self.calls.append("dropped")

    def readers_caught_up(self, connection: Connection) -> None:
        self.calls.append("caught up")

    def connection_closed(self, connection: Connection) -> None:
        self.calls.append("closed")


@attrs.define(eq=False)
class Caller:
    """Writes down what becomes of an exchange."""

    stdout: bytes = attrs.field(default=b"", init=False)
    stderr: bytes = attrs.field(default=b"", init=False)
    end: tuple[int, int] | None = attrs.field(default=None, init=False)
    failures: list[tuple[FastCGIError, bool]] = attrs.field(factory=list, init=False)
    on_stdout: Callable[[], None] | None = attrs.field(default=None, init=False)

    def receive_stdout(self, data: bytes) -> None:
        self.stdout += data
        if self.on_stdout is not None:
            self.on_stdout()

    def receive_stderr(self, data: bytes) -> None:
        self.stderr += data

    def receive_end(self, app_status: int, protocol_status: int) -> None:
        assert self.end is None
        self.end = (app_status, protocol_status)

    def receive_failure(self, error: FastCGIError, *, may_have_run: bool) -> None:
        self.failures.append((error, may_have_run))


@attrs.define(eq=False)
class Link:
    """A connection that is up, and everything around it."""

    address: Address = UNIX
    backend: Backend = attrs.field(factory=current_backend, init=False)
    wire: Wire = attrs.field(factory=Wire, init=False)
    owner: Owner = attrs.field(factory=Owner, init=False)
    caller: Caller = attrs.field(factory=Caller, init=False)
    connection: Connection = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.connection = Connection(self.address, self.backend, self.owner)
        self.connection.transport = cast(Transport, self.wire)

    def respond(self) -> None:
        """Deliver what the responder's machine has to say."""
        self.connection.data_received(self.wire.server.data_to_send())

    def greet(self) -> Link:
        """Send and answer the head probe."""
        self.connection.send_head_probe()
        self.answer(FCGI_MPXS_CONNS)
        return self

    def answer(self, *names: bytes) -> None:
        """Answer every GET_VALUES that was asked."""
        for event in self.wire.events:
            if isinstance(event, ValuesRequested):
                self.wire.server.send_values(dict.fromkeys(names, b"0") if event.names else {})
        self.wire.events.clear()
        self.respond()

    def begin(self, body: bytes | None = b"", role: Role = Role.RESPONDER, **options: bool) -> int:
        """Begin a request that is taken."""
        request_id = self.connection.begin(self.caller, EncodedRequest(role, PARAMS, body), **options)
        assert request_id is not None
        return request_id


async def test_head_probe() -> None:
    """The answer to the head probe makes the worker ours, keeps the values, and the owner learns both in that order."""
    link = Link()
    link.connection.send_head_probe()
    assert link.wire.writes == 1
    assert link.owner.calls == []
    link.answer(FCGI_MPXS_CONNS)
    assert link.owner.calls == ["answered", "free"]
    assert link.connection.values == {FCGI_MPXS_CONNS: b"0"}
    assert link.connection.answered


async def test_worker_that_has_not_read_on() -> None:
    """A worker that has answered is free once it has read the byte behind the probe, as one that leaves never does."""
    link = Link()
    await link.backend.open()
    try:
        link.wire.unread = 1
        link.greet()
        await anyio.sleep(0.01)
        assert link.owner.calls == ["answered"]
        link.wire.unread = 0
        await eventually(lambda: link.owner.calls == ["answered", "free"])
    finally:
        await link.backend.aclose()


async def test_worker_that_leaves_instead_of_reading_on() -> None:
    """One that closes between its answer and the next record is never free."""
    link = Link()
    await link.backend.open()
    try:
        link.wire.unread = 1
        link.greet()
        link.connection.connection_lost(ConnectionResetError())
        link.wire.unread = 0
        await anyio.sleep(0.01)
        assert link.owner.calls == ["answered", "closed"]
    finally:
        await link.backend.aclose()


async def test_request_goes_out_in_one_write() -> None:
    """A request, its small body and the tail probe are one write."""
    link = Link().greet()
    writes = link.wire.writes
    request_id = link.begin(b"body")
    assert link.wire.writes == writes + 1
    assert link.wire.events == [
        RequestBegun(request_id, Role.RESPONDER, True),
        ParamsReceived(request_id, [(b"SCRIPT_FILENAME", b"/a.php")]),
        Stdin(request_id, b"body"),
        StdinEnded(request_id),
        ValuesRequested([]),
    ]


async def test_response() -> None:
    """STDOUT and STDERR arrive apart; END_REQUEST ends the exchange, the tail's answer frees the worker."""
    link = Link().greet()
    request_id = link.begin()
    server = link.wire.server
    server.send_stdout(request_id, b"out")
    server.send_stderr(request_id, b"err")
    server.send_stdout(request_id, b"put")
    server.end_request(request_id, 7)
    link.respond()
    assert (link.caller.stdout, link.caller.stderr, link.caller.end) == (b"output", b"err", (7, 0))
    assert link.owner.calls[2:] == ["ended"]
    link.answer()
    assert link.owner.calls[2:] == ["ended", "free"]
    assert (link.connection.requests, link.connection.responses) == (1, 1)


async def test_without_keep_conn_and_tail() -> None:
    """A request can be the connection's last, with nothing behind it."""
    link = Link()
    request_id = link.begin(b"", keep_conn=False, tail=False)
    assert link.wire.events[0] == RequestBegun(request_id, Role.RESPONDER, False)
    assert link.wire.events[-1] == StdinEnded(request_id)


async def test_authorizer() -> None:
    """An Authorizer's request ends with its parameters, and its worker becomes free."""
    link = Link().greet()
    request_id = link.begin(b"", Role.AUTHORIZER)
    link.wire.server.end_request(request_id)
    link.answer()
    assert link.owner.calls[2:] == ["ended", "free"]


async def test_stray_is_told_and_dropped() -> None:
    """Output behind END_REQUEST reaches nobody."""
    link = Link().greet()
    request_id = link.begin()
    link.wire.server.end_request(request_id)
    link.respond()
    link.connection.data_received(encode_record(RecordType.STDOUT, request_id, b"SECRET"))
    assert link.owner.calls[2:] == ["ended", "stray"]
    assert link.caller.stdout == b""


async def test_stray_behind_the_answer_is_a_fault() -> None:
    """Bytes that come behind the tail's answer in the same read mean that the worker is not free: no job is given
    to it.
    """
    link = Link().greet()
    request_id = link.begin()
    server = link.wire.server
    server.end_request(request_id)
    server.send_values({})
    data = server.data_to_send() + encode_record(RecordType.STDOUT, request_id, b"SECRET")
    link.connection.data_received(data)
    assert link.owner.calls[2:] == ["ended", "closed"]


async def test_abandoned_output_is_counted() -> None:
    """What comes for a caller who is gone is dropped and counted; the end still counts as the end."""
    link = Link().greet()
    request_id = link.begin()
    server = link.wire.server
    server.send_stdout(request_id, b"seen")
    link.respond()
    link.connection.abandon(request_id)
    server.send_stdout(request_id, b"12345")
    server.send_stderr(request_id, b"678")
    server.end_request(request_id)
    link.respond()
    assert link.owner.dropped == 8
    assert (link.caller.stdout, link.caller.stderr, link.caller.end) == (b"seen", b"", None)
    assert link.owner.calls[2:] == ["ended"]


async def test_large_body_waits_where_the_socket_does() -> None:
    """A large body is written record by record, not while the transport is paused, with the tail behind its last
    byte.
    """
    link = Link().greet()
    body = bytes(range(256)) * 4096
    connection = link.connection

    def fill_up() -> None:
        if len(link.wire.body()) >= 200_000:
            connection.pause_writing()

    link.wire.on_write = fill_up
    request_id = link.begin(body)
    assert 200_000 <= len(link.wire.body()) < 300_000
    assert connection.bodies.incomplete(request_id)
    link.wire.on_write = None
    connection.resume_writing()
    assert link.wire.body() == body
    assert not connection.bodies.incomplete(request_id)
    assert link.wire.events[-2:] == [StdinEnded(request_id), ValuesRequested([])]


async def test_body_of_an_abandoned_request_is_still_written() -> None:
    """The rest of a body goes out although the caller has gone: without it the request would never end."""
    link = Link().greet()
    connection = link.connection
    connection.pause_writing()
    request_id = link.begin(bytes(300_000))
    assert len(link.wire.body()) < 100_000
    connection.abandon(request_id)
    connection.resume_writing()
    assert len(link.wire.body()) == 300_000


async def test_response_before_the_body_is_through() -> None:
    """A script that answers without reading its body has its answer delivered; the worker is free only behind the
    rest of the body.
    """
    link = Link().greet()
    link.connection.pause_writing()
    request_id = link.begin(bytes(300_000))
    server = link.wire.server
    server.send_stdout(request_id, b"early")
    server.end_request(request_id)
    link.respond()
    assert link.caller.end == (0, 0)
    assert link.owner.calls[2:] == ["ended"]
    link.connection.resume_writing()
    link.answer()
    assert link.owner.calls[2:] == ["ended", "free"]


async def test_body_in_parts() -> None:
    """A body that the caller brings is written part by part; nothing ends it but bodies.end()."""
    link = Link().greet()
    request_id = link.begin(None)
    connection = link.connection
    assert connection.bodies.needs_caller(request_id)
    assert not any(isinstance(event, StdinEnded) for event in link.wire.events)
    assert await connection.bodies.send(request_id, b"one")
    assert await connection.bodies.send(request_id, b"two")
    assert connection.bodies.incomplete(request_id)
    connection.bodies.end(request_id)
    assert link.wire.body() == b"onetwo"
    assert link.wire.events[-2:] == [StdinEnded(request_id), ValuesRequested([])]
    assert not connection.bodies.needs_caller(request_id)
    assert not await connection.bodies.send(request_id, b"three")
    connection.bodies.end(request_id)
    assert link.wire.body() == b"onetwo"


async def test_parts_wait_while_the_transport_is_paused() -> None:
    """bodies.send() waits where the socket takes no more, and goes on when it does."""
    link = Link().greet()
    request_id = link.begin(None)
    connection, results = link.connection, []
    connection.pause_writing()

    async def send() -> None:
        results.append(await connection.bodies.send(request_id, b"part"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert link.wire.body() == b""
        connection.resume_writing()
    assert results == [True]
    assert link.wire.body() == b"part"


async def test_closing_wakes_who_waits_to_write() -> None:
    """A bodies.send() that waits learns of the connection's end."""
    link = Link().greet()
    request_id = link.begin(None)
    connection, results = link.connection, []
    connection.pause_writing()

    async def send() -> None:
        results.append(await connection.bodies.send(request_id, b"part"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        connection.close()
    assert results == [False]


async def test_request_to_a_peer_that_has_gone() -> None:
    """Where not one byte was taken, begin() says so, and the exchange hears nothing: it was never begun."""
    for body in (b"", bytes(300_000), None):
        link = Link().greet()
        link.wire.peer_gone = True
        assert link.connection.begin(link.caller, EncodedRequest(Role.RESPONDER, PARAMS, body)) is None
        link.connection.close()
        assert link.caller.failures == []


async def test_request_on_a_closed_connection() -> None:
    """A connection that is over takes no request."""
    link = Link().greet()
    link.connection.close()
    assert link.connection.begin(link.caller, EncodedRequest(Role.RESPONDER, PARAMS, b"")) is None


Ending = Callable[[Connection], None]


def eof(connection: Connection) -> None:
    """The peer closes in good order."""
    connection.eof_received()
    connection.connection_lost(None)


def reset(connection: Connection) -> None:
    """The peer's socket is closed under unread data."""
    connection.connection_lost(ConnectionResetError())


def garbage(connection: Connection) -> None:
    """The peer speaks something else."""
    connection.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def closed(connection: Connection) -> None:
    """We close."""
    connection.close()


async def written(link: Link) -> int:
    """A request that is written whole."""
    return link.begin(b"body")


async def responding(link: Link) -> int:
    """A request of which a byte of response has come."""
    request_id = link.begin(b"body")
    link.wire.server.send_stderr(request_id, b"x")
    link.respond()
    return request_id


async def unsent(link: Link) -> int:
    """A request of which a part waits in our buffer."""
    request_id = link.begin(b"body")
    link.wire.unsent = 1
    return request_id


async def unwritten(link: Link) -> int:
    """A request whose large body is not written to its end."""
    link.connection.pause_writing()
    return link.begin(bytes(300_000))


async def refused(link: Link) -> int:
    """A request whose large body the peer did not live to take."""
    request_id = await unwritten(link)
    link.wire.peer_gone = True
    link.connection.resume_writing()
    return request_id


async def unfinished(link: Link) -> int:
    """A request whose body the caller has not completed."""
    return link.begin(None)


async def unfinished_and_refused(link: Link) -> int:
    """A request whose body's end the peer did not live to take."""
    request_id = link.begin(None)
    await link.connection.bodies.send(request_id, b"part")
    link.wire.peer_gone = True
    link.connection.bodies.end(request_id)
    return request_id


SITUATIONS = [written, responding, unsent, unwritten, refused, unfinished, unfinished_and_refused]


@pytest.mark.parametrize(
    ("situation", "ending", "leaves_unread"),
    list(product(SITUATIONS, [eof, reset, garbage, closed], [True, False])),
    ids=lambda value: value.__name__ if callable(value) else "fpm" if value else "unknown",
)
async def test_whether_it_may_have_run(
    situation: Callable[[Link], Awaitable[int]], ending: Ending, leaves_unread: bool
) -> None:
    """Only a clean EOF, without a byte of response, after a request that was taken whole, by a peer that is known to
    leave unread what follows it, proves that nothing ran.
    """
    link = Link().greet()
    link.connection.leaves_unread = leaves_unread
    request_id = await situation(link)
    ending(link.connection)
    ((error, may_have_run),) = link.caller.failures
    assert may_have_run is not (situation is written and ending is eof and leaves_unread)
    assert isinstance(error, RemoteProtocolError if ending is garbage else ConnectionLost)
    assert isinstance(error.__cause__, ConnectionResetError) is (ending is reset)
    assert link.owner.calls.count("closed") == 1
    assert link.wire.aborted
    assert link.connection.closed
    assert link.connection.worker_left is (ending in (eof, reset))
    assert not link.connection.bodies.needs_caller(request_id)


async def test_output_before_a_fault_is_delivered() -> None:
    """What came in the same read before a malformed record is not lost."""
    link = Link().greet()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"before")
    link.connection.data_received(link.wire.server.data_to_send() + b"\xff" * 8)
    assert link.caller.stdout == b"before"
    assert isinstance(link.caller.failures[0][0], RemoteProtocolError)


async def test_nothing_is_delivered_after_the_end() -> None:
    """Whatever the transport still says of a connection that is over changes nothing."""
    link = Link().greet()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"late")
    late = link.wire.server.data_to_send()
    link.connection.close()
    link.connection.data_received(late)
    link.connection.eof_received()
    link.connection.connection_lost(None)
    link.connection.close()
    assert link.caller.stdout == b""
    assert len(link.caller.failures) == 1
    assert link.owner.calls[2:] == ["closed"]


async def test_owner_that_closes_in_a_callback() -> None:
    """A connection closed while a read is being told has nothing more of that read told."""
    link = Link().greet()
    request_id = link.begin()
    server = link.wire.server
    server.send_stdout(request_id, b"enough")
    server.send_stdout(request_id, b" and more")
    server.end_request(request_id)

    def leave() -> None:
        link.connection.abandon(request_id)
        link.connection.close()

    link.caller.on_stdout = leave
    link.respond()
    assert link.caller.stdout == b"enough"
    assert link.caller.end is None
    assert link.caller.failures == []


async def test_reading_is_paused_on_the_transport() -> None:
    """Pausing and resuming are the transport's; on a connection that is over they are nothing."""
    link = Link().greet()
    link.connection.pause_reading(1)
    assert not link.wire.reading
    link.connection.resume_reading(1)
    assert link.wire.reading
    link.connection.close()
    link.connection.pause_reading(1)
    assert link.wire.reading


async def test_slow_reader_beside_others() -> None:
    """On a shared connection a slow reader is given 16 MiB before its neighbours are held up with it."""
    link = Link().greet()
    link.connection.multiplex()
    slow, _ = link.begin(tail=False), link.begin(tail=False)
    link.connection.pause_reading(slow)
    mebibyte = bytes(1024 * 1024)
    for _ in range(16):
        assert link.wire.reading
        link.wire.server.send_stdout(slow, mebibyte)
        link.respond()
    assert link.wire.reading
    link.wire.server.send_stdout(slow, b"one byte more")
    link.respond()
    assert not link.wire.reading
    link.connection.resume_reading(slow)
    assert link.wire.reading


async def test_slow_reader_alone() -> None:
    """A slow reader that has the connection to itself holds it up at once, and no longer when a neighbour comes."""
    link = Link().greet()
    link.connection.multiplex()
    slow = link.begin(tail=False)
    link.connection.pause_reading(slow)
    assert not link.wire.reading
    link.begin(tail=False)
    assert link.wire.reading


async def test_answer_among_those_of_requests() -> None:
    """On a shared connection a probe is answered whatever comes behind its answer."""
    link = Link().greet()
    link.connection.multiplex()
    request_id = link.begin(tail=False)
    link.connection.send_tail_probe()
    link.owner.calls.clear()
    link.wire.server.send_values({FCGI_MPXS_CONNS: b"1"})
    link.wire.server.send_stdout(request_id, b"x")
    link.respond()
    assert (link.owner.calls, link.caller.stdout) == (["free"], b"x")


async def test_answer_before_the_body_was_written() -> None:
    """A multiplexing peer that has ended a request in the middle of its body gets no more of it."""
    link = Link().greet()
    link.connection.multiplex()
    link.wire.on_write = link.connection.pause_writing
    request_id = link.begin(bytes(200_000), tail=False)
    link.wire.server.end_request(request_id)
    link.respond()
    assert link.caller.end == (0, 0)
    link.wire.events.clear()
    link.connection.resume_writing()
    assert link.wire.events == []


@pytest.mark.parametrize("address", [UNIX, TCP], ids=["unix", "tcp"])
async def test_acknowledged_where_an_answer_waits_for_it(address: Address) -> None:
    """On TCP the end of a response is acknowledged at once where the tail's answer has not come with it: FPM sends
    that only then. Output in the middle of a response, and an answer that has come, hold up nothing.
    """
    link = Link(address).greet()
    request_id = link.begin()
    before = link.wire.acknowledged
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    assert link.wire.acknowledged == before
    link.wire.server.end_request(request_id)
    link.respond()
    assert link.wire.acknowledged == before + (address is TCP)
    link.answer()
    assert link.owner.calls[-1] == "free"
    assert link.wire.acknowledged == before + (address is TCP)


@pytest.fixture
async def open_link() -> AsyncIterator[Link]:
    """A connection whose event loop has timers."""
    link = Link()
    await link.backend.open()
    try:
        yield link
    finally:
        await link.backend.aclose()


async def test_leaving_until_the_worker_has_read_on(open_link: Link) -> None:
    """A response that is refused keeps its connection until the peer has read what stands behind the request."""
    link = open_link.greet()
    link.connection.leaves_unread = True
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    link.connection.abandon(request_id)
    link.wire.unread = 1
    link.connection.leave()
    assert link.wire.reading_shut
    assert link.owner.calls.count("closed") == 0
    link.wire.unread = 0
    await eventually(lambda: "closed" in link.owner.calls)
    assert link.connection.worker_left
    assert link.wire.aborted


async def test_leaving_a_script_that_has_written_nothing(open_link: Link) -> None:
    """It is not refused its end: after that only the tail's answer says that the worker has left it."""
    link = open_link.greet()
    link.connection.leaves_unread = True
    request_id = link.begin()
    link.connection.abandon(request_id)
    link.wire.unread = 1
    link.connection.leave()
    link.wire.server.send_stdout(request_id, b"all of it")
    link.wire.server.end_request(request_id)
    link.respond()
    assert not link.wire.reading_shut
    assert not link.connection.closed
    link.answer()
    assert link.connection.closed
    assert link.connection.worker_left


async def test_leaving_a_silent_script_whose_peer_reads_on(open_link: Link) -> None:
    """A peer that reads on without a word has left the script: nothing more is waited for."""
    link = open_link.greet()
    link.connection.leaves_unread = True
    link.connection.abandon(link.begin())
    link.wire.unread = 1
    link.connection.leave()
    assert not link.connection.closed
    link.wire.unread = 0
    await eventually(lambda: link.connection.closed)
    assert link.connection.worker_left


async def test_leaving_a_script_that_begins_to_write(open_link: Link) -> None:
    """It is refused once it has written something that is not its end."""
    link = open_link.greet()
    link.connection.leaves_unread = True
    request_id = link.begin()
    link.connection.abandon(request_id)
    link.wire.unread = 1
    link.connection.leave()
    assert not link.wire.reading_shut
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    assert link.wire.reading_shut
    assert not link.connection.closed
    link.connection.close()


async def test_leaving_tells_nothing_of_an_unknown_peer(open_link: Link) -> None:
    """A peer that may read ahead is not known to have left its script because it has read everything."""
    link = open_link.greet()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    link.connection.abandon(request_id)
    link.connection.leave()
    assert link.connection.closed
    assert not link.connection.worker_left


async def test_leaving_delivers_nothing_more(open_link: Link) -> None:
    """What comes of a refused response reaches nobody, whatever it is."""
    link = open_link.greet()
    link.connection.leaves_unread = True
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    link.connection.abandon(request_id)
    link.wire.unread = 1
    link.connection.leave()
    calls = list(link.owner.calls)
    link.wire.server.send_stdout(request_id, b"late")
    link.wire.server.end_request(request_id)
    link.respond()
    assert link.owner.calls == calls
    link.connection.close()


async def test_fault_of_ours_ends_one_connection(caplog: pytest.LogCaptureFixture, open_link: Link) -> None:
    """An exception under a read is logged and fails what runs on this connection; it goes no further."""
    link = open_link.greet()
    request_id = link.begin()

    def bug() -> None:
        raise ZeroDivisionError("ours")

    link.caller.on_stdout = bug
    link.wire.server.send_stdout(request_id, b"x")
    link.respond()
    ((error, may_have_run),) = link.caller.failures
    assert isinstance(error.__cause__, ZeroDivisionError)
    assert may_have_run
    assert link.connection.closed
    (record,) = caplog.records
    assert "fault in fcgi_async" in record.message
    assert record.exc_info is not None


async def test_peer_that_drops_the_tail_is_told(open_link: Link) -> None:
    """A tail probe that is not answered soon is followed by another one, whose answer shows that it was dropped."""
    link = open_link.greet()
    request_id = link.begin()
    link.wire.events.clear()
    link.wire.server.end_request(request_id)
    link.respond()
    link.connection.expect_tail()
    await eventually(lambda: ValuesRequested([FCGI_MPXS_CONNS]) in link.wire.events)
    assert "dropped" not in link.owner.calls
    link.answer(FCGI_MPXS_CONNS)
    assert link.owner.calls.count("dropped") == 1
    assert link.owner.calls[-1] == "free"
    assert not link.connection.client.probes_outstanding
