"""One worker between its pool and its transport, linked to a responder's state machine in memory: what is written, who
is told what.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from itertools import product
from typing import cast

import anyio
import attrs
import pytest

from fcgi_async import Endpoint
from fcgi_async.errors import ConnectionLost, RemoteProtocolError
from fcgi_async.net.current import current_backend
from fcgi_async.net.transport import Transport
from fcgi_async.pool.attempt import Attempt
from fcgi_async.pool.manner import Fact, Manner
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.slots import SlotState
from fcgi_async.pool.sweep import Sweep
from fcgi_async.pool.worker import Worker
from fcgi_async.wire.events import ParamsReceived, RequestBegun, Stdin, StdinEnded, ValuesRequested
from fcgi_async.wire.records import encode_pair, encode_record
from fcgi_async.wire.request import encode_request
from fcgi_async.wire.spec import FCGI_MPXS_CONNS, RecordType, Role
from tests.eventually import eventually
from tests.pool.wire import Caller, Wire

pytestmark = pytest.mark.anyio

UNIX = "unix:///run/php.sock"
TCP = "tcp://127.0.0.1:9000"
PARAMS = [encode_pair(b"SCRIPT_FILENAME", b"/a.php")]


@attrs.define(eq=False)
class Link:
    """A worker that is connected, and everything around it."""

    address: str = UNIX
    calls: list[str] = attrs.field(factory=list, init=False)
    wire: Wire = attrs.field(factory=Wire, init=False)
    caller: Caller = attrs.field(factory=Caller, init=False)
    peer: Peer = attrs.field(init=False)
    worker: Worker = attrs.field(init=False)
    current: Attempt | None = attrs.field(default=None, init=False)

    def __attrs_post_init__(self) -> None:
        backend = current_backend()
        endpoint = Endpoint(self.address, max_children=2, reserve=1)
        self.peer = Peer(endpoint, backend, Sweep(backend, lambda now: None))
        # deadlines are the pool's, whose sweep has a timer
        self.peer.sweep.close()
        self.worker = Worker(
            self.peer,
            lambda worker: self.calls.append("answered"),
            self._free,
            lambda worker: self.calls.append("ended"),
        )
        self.peer.ledger.take(self.worker)
        self.worker._transport = cast(Transport, self.wire)

    def _free(self, worker: Worker) -> None:
        self.calls.append("free")
        if worker.state is not SlotState.IDLE:
            self.peer.ledger.move(worker, SlotState.IDLE)

    def is_fpm(self) -> None:
        """Let the peer be known as PHP-FPM."""
        self.peer.learn(Fact.TAIL_LEFT_UNREAD)
        assert self.peer.manner is Manner.FPM

    def respond(self) -> None:
        """Deliver what the responder's machine has to say."""
        self.worker.data_received(self.wire.server.data_to_send())

    def greet(self) -> Link:
        """Send and answer the head probe."""
        self.worker.send_head_probe()
        self.answer(FCGI_MPXS_CONNS)
        self.calls.clear()
        return self

    def answer(self, *names: bytes) -> None:
        """Answer every GET_VALUES that was asked."""
        for event in self.wire.events:
            if isinstance(event, ValuesRequested):
                self.wire.server.send_values(dict.fromkeys(names, b"0") if event.names else {})
        self.wire.events.clear()
        self.respond()

    def start(self, body: bytes | None = b"", role: Role = Role.RESPONDER, *, waits_for_worker: bool = False) -> bool:
        """Begin a request."""
        self.current = self.caller.attempt(self.worker, waits_for_worker=waits_for_worker)
        return self.worker.start(self.current, encode_request(PARAMS, body, role=role))

    def begin(self, body: bytes | None = b"", role: Role = Role.RESPONDER) -> int:
        """Begin a request that is taken, and return its id."""
        assert self.start(body, role)
        (begun,) = [event for event in self.wire.events if isinstance(event, RequestBegun)]
        return begun.request_id


async def test_head_probe() -> None:
    """The answer to the head probe makes the worker ours, keeps the values, and the owner learns both in that order."""
    link = Link()
    link.worker.send_head_probe()
    assert link.wire.writes == 1
    assert link.calls == []
    link.answer(FCGI_MPXS_CONNS)
    assert link.calls == ["answered", "free"]
    assert link.worker.values == {FCGI_MPXS_CONNS: b"0"}


async def test_worker_that_has_not_read_on() -> None:
    """A worker that has answered is free once it has read the byte behind the probe, as one that leaves never does."""
    link = Link()
    await link.peer.backend.open()
    try:
        link.wire.unread = 1
        link.worker.send_head_probe()
        link.answer(FCGI_MPXS_CONNS)
        await anyio.sleep(0.01)
        assert link.calls == ["answered"]
        link.wire.unread = 0
        await eventually(lambda: link.calls == ["answered", "free"])
    finally:
        await link.peer.backend.aclose()


async def test_worker_that_leaves_instead_of_reading_on() -> None:
    """One that closes between its answer and the next record is never free."""
    link = Link()
    await link.peer.backend.open()
    try:
        link.wire.unread = 1
        link.worker.send_head_probe()
        link.answer(FCGI_MPXS_CONNS)
        link.worker.connection_lost(ConnectionResetError())
        link.wire.unread = 0
        await anyio.sleep(0.01)
        assert link.calls == ["answered", "ended"]
    finally:
        await link.peer.backend.aclose()


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
    assert link.current is not None
    assert link.current.stderr is not None
    assert (link.caller.stdout, link.current.stderr.value(), link.caller.ends) == (b"output", b"err", [(7, 0)])
    assert (link.calls, link.worker.state) == ([], SlotState.FINISHING)
    link.answer()
    assert link.calls == ["free"]
    assert link.worker.requests == 1


async def test_response_in_one() -> None:
    """What FPM sends for most jobs, its answer to the probe included, completes the response and frees the worker."""
    link = Link().greet()
    link.is_fpm()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"all of it")
    link.wire.server.end_request(request_id, 3)
    link.answer()
    assert (link.caller.stdout, link.caller.ends) == (b"all of it", [(3, 0)])
    assert link.calls == ["free"]


async def test_without_keep_conn_and_tail() -> None:
    """Without handshake a request is the connection's last, with nothing after it; its end closes it."""
    link = Link()
    link.peer.endpoint = attrs.evolve(link.peer.endpoint, handshake=False)
    assert link.worker.start(link.caller.attempt(link.worker), encode_request(PARAMS, b"", keep_conn=False))
    begun = link.wire.events[0]
    assert isinstance(begun, RequestBegun)
    assert not begun.keep_conn
    assert link.wire.events[-1] == StdinEnded(begun.request_id)
    link.wire.server.end_request(begun.request_id)
    link.respond()
    assert (link.calls, link.caller.ends, link.worker.worker_left) == (["ended"], [(0, 0)], True)


async def test_authorizer() -> None:
    """An Authorizer's request ends with its parameters, and its worker becomes free."""
    link = Link().greet()
    request_id = link.begin(b"", Role.AUTHORIZER)
    link.wire.server.end_request(request_id)
    link.answer()
    assert (link.caller.ends, link.calls) == ([(0, 0)], ["free"])


async def test_stray_is_told_and_dropped() -> None:
    """Output behind END_REQUEST reaches nobody."""
    link = Link().greet()
    request_id = link.begin()
    link.wire.server.end_request(request_id)
    link.respond()
    link.worker.data_received(encode_record(RecordType.STDOUT, request_id, b"SECRET"))
    assert link.peer.stray_records == 1
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
    link.worker.data_received(data)
    assert (link.caller.ends, link.calls) == ([(0, 0)], ["ended"])


async def test_abandoned_output_is_counted() -> None:
    """What comes for a caller who is gone is dropped and counted; the end still counts as the end."""
    link = Link().greet()
    request_id = link.begin()
    server = link.wire.server
    server.send_stdout(request_id, b"seen")
    link.respond()
    link.worker.leave()
    server.send_stdout(request_id, b"12345")
    server.send_stderr(request_id, b"678")
    server.end_request(request_id)
    link.respond()
    assert link.worker.dropped == 8
    assert (link.caller.stdout, link.caller.ends, link.calls) == (b"seen", [], [])
    link.answer()
    assert (link.calls, link.worker.dropped) == (["free"], 0)


async def test_large_body_waits_where_the_socket_does() -> None:
    """A large body is written record by record, not while the transport is paused, with the tail behind its last
    byte.
    """
    link = Link().greet()
    body = bytes(range(256)) * 4096

    def fill_up() -> None:
        if len(link.wire.body()) >= 200_000:
            link.worker.pause_writing()

    link.wire.on_write = fill_up
    link.begin(body)
    assert 200_000 <= len(link.wire.body()) < 300_000
    link.wire.on_write = None
    link.worker.resume_writing()
    assert link.wire.body() == body
    assert link.wire.events[-2:] == [StdinEnded(1), ValuesRequested([])]


async def test_body_of_an_abandoned_request_is_still_written() -> None:
    """The rest of a body goes out although the caller has gone: without it the request would never end."""
    link = Link().greet()
    link.worker.pause_writing()
    link.begin(bytes(300_000))
    assert len(link.wire.body()) < 100_000
    link.worker.leave()
    link.worker.resume_writing()
    assert len(link.wire.body()) == 300_000


async def test_response_before_the_body_is_through() -> None:
    """A script that answers without reading its body has its answer delivered; the worker is free only behind the
    rest of the body.
    """
    link = Link().greet()
    link.worker.pause_writing()
    request_id = link.begin(bytes(300_000))
    server = link.wire.server
    server.send_stdout(request_id, b"early")
    server.end_request(request_id)
    link.respond()
    assert link.caller.ends == [(0, 0)]
    assert link.calls == []
    link.worker.resume_writing()
    link.answer()
    assert link.calls == ["free"]


async def test_body_in_parts() -> None:
    """A body that the caller brings is written part by part; nothing ends it but end_body()."""
    link = Link().greet()
    link.begin(None)
    worker = link.worker
    assert worker.body_awaited
    assert not any(isinstance(event, StdinEnded) for event in link.wire.events)
    assert await worker.send(b"one")
    assert await worker.send(b"two")
    assert worker.body_awaited
    worker.end_body()
    assert link.wire.body() == b"onetwo"
    assert link.wire.events[-2:] == [StdinEnded(1), ValuesRequested([])]
    assert not worker.body_awaited
    assert not await worker.send(b"three")
    worker.end_body()
    assert link.wire.body() == b"onetwo"


async def test_parts_wait_while_the_transport_is_paused() -> None:
    """send() waits where the socket takes no more, and goes on when it does."""
    link = Link().greet()
    link.begin(None)
    results = []
    link.worker.pause_writing()

    async def send() -> None:
        results.append(await link.worker.send(b"part"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        assert link.wire.body() == b""
        link.worker.resume_writing()
    assert results == [True]
    assert link.wire.body() == b"part"


async def test_closing_wakes_who_waits_to_write() -> None:
    """A send() that waits learns of the connection's end."""
    link = Link().greet()
    link.begin(None)
    results = []
    link.worker.pause_writing()

    async def send() -> None:
        results.append(await link.worker.send(b"part"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(send)
        await anyio.wait_all_tasks_blocked()
        link.worker.close()
    assert results == [False]


async def test_request_to_a_peer_that_has_gone() -> None:
    """If not one byte was taken, start() says so, and the attempt hears nothing: it was never begun."""
    for body in (b"", bytes(300_000), None):
        link = Link().greet()
        link.wire.peer_gone = True
        assert not link.start(body)
        link.worker.close()
        assert link.caller.failures == []


async def test_peer_that_goes_after_its_answer() -> None:
    """A worker that answered, and then takes not one byte of a job, has left behind no script, and was reached."""
    link = Link()
    refused: list[SlotState] = []

    def start(worker: Worker) -> None:
        assert not link.start()
        refused.append(worker.state)

    link.worker.send_head_probe()
    link.worker._free, link.wire.peer_gone = start, True
    link.answer(FCGI_MPXS_CONNS)
    assert refused == [SlotState.IDLE]


async def test_peer_that_goes_after_a_job_that_was_left() -> None:
    """The same of one whose last job was left, and ran to its end."""
    link = Link().greet()
    request_id = link.begin()
    link.worker.leave()
    states = [link.worker.state]

    def start(worker: Worker) -> None:
        assert not link.start()
        states.append(worker.state)

    link.worker._free, link.wire.peer_gone = start, True
    link.wire.server.end_request(request_id)
    link.answer()
    assert states == [SlotState.DRAINING, SlotState.IDLE]


async def test_asked_between_two_jobs() -> None:
    """The probe of a ping is followed by a byte as that of a job is, once the peer is known to take it."""
    link = Link(TCP).greet()
    for _ in range(2):
        request_id = link.begin()
        link.wire.server.end_request(request_id)
        link.answer()
    assert link.peer.plain
    link.worker.ask(lambda answered: None)
    assert link.wire.server._parser.mid_record


async def test_answer_to_the_first_of_two_probes() -> None:
    """A worker that was asked once more, since it was slow to answer, is free once it has answered that too."""
    link = Link(TCP).greet()
    link.peer.learn(Fact.TAIL_ANSWERED)
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"A: b\r\n\r\nok")
    link.wire.server.end_request(request_id)
    link.respond()
    link.worker._probe._ask_again()
    link.wire.server.send_values({})
    link.respond()
    assert link.calls == []
    link.wire.server.send_values({FCGI_MPXS_CONNS: b"0"})
    link.respond()
    assert link.calls == ["free"]


async def test_request_on_a_closed_connection() -> None:
    """A connection that is over takes no request."""
    link = Link().greet()
    link.worker.close()
    assert not link.start()


Ending = Callable[[Worker], None]


def eof(worker: Worker) -> None:
    """The peer closes in good order."""
    worker.eof_received()
    worker.connection_lost(None)


def reset(worker: Worker) -> None:
    """The peer's socket is closed under unread data."""
    worker.connection_lost(ConnectionResetError())


def garbage(worker: Worker) -> None:
    """The peer speaks something else."""
    worker.data_received(b"HTTP/1.1 400 Bad Request\r\n\r\n")


def closed(worker: Worker) -> None:
    """We close."""
    worker.close()


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
    link.worker.pause_writing()
    return link.begin(bytes(300_000))


async def refused(link: Link) -> int:
    """A request whose large body the peer did not live to take."""
    request_id = await unwritten(link)
    link.wire.peer_gone = True
    link.worker.resume_writing()
    return request_id


async def unfinished(link: Link) -> int:
    """A request whose body the caller has not completed."""
    return link.begin(None)


async def unfinished_and_refused(link: Link) -> int:
    """A request whose body's end the peer did not live to take."""
    request_id = link.begin(None)
    await link.worker.send(b"part")
    link.wire.peer_gone = True
    link.worker.end_body()
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
    if leaves_unread:
        link.is_fpm()
    await situation(link)
    ending(link.worker)
    ((error, may_have_run),) = link.caller.failures
    assert may_have_run is not (situation is written and ending is eof and leaves_unread)
    assert isinstance(error, RemoteProtocolError if ending is garbage else ConnectionLost)
    assert isinstance(error.__cause__, ConnectionResetError) is (ending is reset)
    assert link.calls.count("ended") == 1
    assert link.wire.aborted
    assert link.worker.closed
    assert link.worker.worker_left is (ending in (eof, reset))
    assert not link.worker.body_awaited


async def test_output_before_a_fault_is_delivered() -> None:
    """What came in the same read before a malformed record is not lost."""
    link = Link().greet()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"before")
    link.worker.data_received(link.wire.server.data_to_send() + b"\xff" * 8)
    assert link.caller.stdout == b"before"
    assert isinstance(link.caller.failures[0][0], RemoteProtocolError)


async def test_nothing_is_delivered_after_the_end() -> None:
    """Whatever the transport still says of a connection that is over changes nothing."""
    link = Link().greet()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"late")
    late = link.wire.server.data_to_send()
    link.worker.close()
    link.worker.data_received(late)
    link.worker.eof_received()
    link.worker.connection_lost(None)
    link.worker.close()
    assert link.caller.stdout == b""
    assert len(link.caller.failures) == 1
    assert link.calls == ["ended"]


async def test_caller_that_closes_in_a_callback() -> None:
    """A connection closed while a read is being told has nothing more of that read told."""
    link = Link().greet()
    request_id = link.begin()
    server = link.wire.server
    server.send_stdout(request_id, b"enough")
    server.send_stdout(request_id, b" and more")
    server.end_request(request_id)

    def leave() -> None:
        link.worker.leave()
        link.worker.close()

    link.caller.on_stdout = leave
    link.respond()
    assert link.caller.stdout == b"enough"
    assert link.caller.ends == []
    assert link.caller.failures == []


async def test_reading_is_paused_on_the_transport() -> None:
    """Pausing and resuming are the transport's; on a connection that is over they are nothing."""
    link = Link().greet()
    link.worker.pause()
    assert not link.wire.reading
    link.worker.resume()
    assert link.wire.reading
    link.worker.close()
    link.worker.pause()
    assert link.wire.reading


@pytest.mark.parametrize("address", [UNIX, TCP], ids=["unix", "tcp"])
async def test_acknowledged_where_an_answer_waits_for_it(address: str) -> None:
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
    assert link.calls[-1] == "free"
    assert link.wire.acknowledged == before + (address is TCP)


@pytest.fixture
async def open_link() -> AsyncIterator[Link]:
    """A connection whose event loop has timers."""
    link = Link()
    await link.peer.backend.open()
    try:
        yield link
    finally:
        await link.peer.backend.aclose()


async def test_leaving_until_the_worker_has_read_on(open_link: Link) -> None:
    """A response that is refused keeps its connection until the peer has read what stands behind the request."""
    link = open_link.greet()
    link.is_fpm()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    link.wire.unread = 1
    link.worker.leave(0)
    assert link.wire.reading_shut
    assert link.calls.count("ended") == 0
    link.wire.unread = 0
    await eventually(lambda: "ended" in link.calls)
    assert link.worker.worker_left
    assert link.wire.aborted


async def test_leaving_a_script_that_has_written_nothing(open_link: Link) -> None:
    """It is not refused its end: after that only the tail's answer says that the worker has left it."""
    link = open_link.greet()
    link.is_fpm()
    request_id = link.begin()
    link.wire.unread = 1
    link.worker.leave(0)
    link.wire.server.send_stdout(request_id, b"all of it")
    link.wire.server.end_request(request_id)
    link.respond()
    assert not link.wire.reading_shut
    assert not link.worker.closed
    link.answer()
    assert link.worker.closed
    assert link.worker.worker_left


async def test_leaving_a_silent_script_whose_peer_reads_on(open_link: Link) -> None:
    """A peer that reads on without a word has left the script: nothing more is waited for."""
    link = open_link.greet()
    link.is_fpm()
    link.begin()
    link.wire.unread = 1
    link.worker.leave(0)
    assert not link.worker.closed
    link.wire.unread = 0
    await eventually(lambda: link.worker.closed)
    assert link.worker.worker_left


async def test_leaving_a_script_that_begins_to_write(open_link: Link) -> None:
    """It is refused once it has written something that is not its end."""
    link = open_link.greet()
    link.is_fpm()
    request_id = link.begin()
    link.wire.unread = 1
    link.worker.leave(0)
    assert not link.wire.reading_shut
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    assert link.wire.reading_shut
    assert not link.worker.closed
    link.worker.close()


async def test_leaving_tells_nothing_of_an_unknown_peer(open_link: Link) -> None:
    """A peer that may read ahead is not known to have left its script because it has read everything."""
    link = open_link.greet()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    link.worker.leave(0)
    assert link.worker.closed
    assert not link.worker.worker_left


async def test_leaving_delivers_nothing_more(open_link: Link) -> None:
    """What comes of a refused response reaches nobody, whatever it is."""
    link = open_link.greet()
    link.is_fpm()
    request_id = link.begin()
    link.wire.server.send_stdout(request_id, b"output")
    link.respond()
    link.wire.unread = 1
    link.worker.leave(0)
    calls = list(link.calls)
    link.wire.server.send_stdout(request_id, b"late")
    link.wire.server.end_request(request_id)
    link.respond()
    assert link.calls == calls
    link.worker.close()


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
    assert link.worker.closed
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
    await eventually(lambda: ValuesRequested([FCGI_MPXS_CONNS]) in link.wire.events)
    link.answer(FCGI_MPXS_CONNS)
    assert link.peer.manner is Manner.TAILLESS
    assert link.calls == ["free"]
