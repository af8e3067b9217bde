"""One connection that requests share, linked to a responder's state machine in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import cast

import attrs
import pytest

from fcgi_async import Endpoint
from fcgi_async.errors import ConnectionLost, RemoteProtocolError
from fcgi_async.net.current import current_backend
from fcgi_async.net.transport import Transport
from fcgi_async.pool.channel import Channel
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.request_slot import RequestSlot
from fcgi_async.pool.slots import SlotState
from fcgi_async.pool.sweep import Sweep
from fcgi_async.wire.records import encode_pair
from fcgi_async.wire.request import encode_request
from fcgi_async.wire.spec import FCGI_MAX_REQS, FCGI_MPXS_CONNS
from tests.eventually import eventually
from tests.impatience import impatient  # noqa: F401 - a fixture
from tests.pool.wire import Caller, Wire

pytestmark = pytest.mark.anyio

PARAMS = [encode_pair(b"SCRIPT_FILENAME", b"/a.php")]


@attrs.define(eq=False)
class Link:
    """A channel that is connected, and everything around it."""

    calls: list[str] = attrs.field(factory=list, init=False)
    wire: Wire = attrs.field(factory=Wire, init=False)
    caller: Caller = attrs.field(factory=Caller, init=False)
    peer: Peer = attrs.field(init=False)
    channel: Channel = attrs.field(init=False)
    free: Callable[[RequestSlot], bool] = attrs.field(default=lambda slot: False, init=False)
    freed: Callable[[], object] = attrs.field(default=lambda: None, init=False)

    def __attrs_post_init__(self) -> None:
        backend = current_backend()
        endpoint = Endpoint("unix:///run/app.sock", max_children=8, drain_timeout=0.1)
        self.peer = Peer(endpoint, backend, Sweep(backend, lambda now: None))
        self.peer.values = {FCGI_MPXS_CONNS: b"1", FCGI_MAX_REQS: b"3"}
        # deadlines are the pool's, whose sweep has a timer
        self.peer.sweep.close()
        self.channel = Channel(self.peer, self._free, self._freed, lambda channel: self.calls.append("ended"))
        self.channel._transport = cast(Transport, self.wire)

    @asynccontextmanager
    async def timed(self) -> AsyncIterator[None]:
        """Have the event loop's timers run in a block."""
        await self.peer.backend.open()
        try:
            yield
        finally:
            await self.peer.backend.aclose()

    def _free(self, slot: RequestSlot) -> bool:
        return self.free(slot)

    def _freed(self) -> None:
        self.calls.append("freed")
        self.freed()

    def respond(self) -> None:
        """Deliver what the responder's machine has to say."""
        self.channel.data_received(self.wire.server.data_to_send())

    def begin(self, body: bytes = b"") -> RequestSlot:
        """Begin a request on a slot of its own."""
        slot = self.channel.take()
        assert slot.start(self.caller.attempt(slot), encode_request(PARAMS, body))
        return slot


@pytest.fixture
async def link() -> Link:
    """A channel of the test's own."""
    return Link()


async def test_requests_take_and_give_back_slots(link: Link) -> None:
    """Each request is a slot while it runs, up to what the peer serves at once; END_REQUEST gives it back."""
    slots = [link.begin() for _ in range(3)]
    assert not link.channel.has_room
    assert link.peer.ledger.counts[SlotState.BUSY] == 3
    assert [slot.request_id for slot in slots] == [1, 2, 3]
    link.wire.server.send_stdout(2, b"second")
    link.wire.server.end_request(2, 5)
    link.respond()
    assert (link.caller.stdout, link.caller.ends) == (b"second", [(5, 0)])
    assert link.peer.ledger.counts[SlotState.BUSY] == 2
    assert link.channel.has_room
    assert link.calls == ["freed"]
    link.channel.close()


@pytest.mark.parametrize("gone", [False, True])
async def test_requests_that_one_read_brings_forth_are_one_write(link: Link, gone: bool) -> None:
    """If the peer has gone before it took a byte of them, they did not run; what was written before may have."""
    answered = link.begin()
    link.begin()
    async with link.timed():
        link.freed = lambda: [link.begin() for _ in range(2) if link.channel.has_room]
        link.wire.server.send_whole(answered.request_id, b"whole")
        link.wire.peer_gone, writes = gone, link.wire.writes
        link.respond()
        link.freed = lambda: None
        assert link.wire.writes == writes + (not gone)
        assert [may_have_run for _, may_have_run in link.caller.failures] == [False, False][: 2 * gone]
        if gone:
            await eventually(lambda: link.channel.closed)
            assert [may_have_run for _, may_have_run in link.caller.failures] == [False, False, True]
        link.channel.close()


async def test_a_slot_goes_to_the_next_request(link: Link) -> None:
    """The next request begins on the slot of one that has ended, which is then held without a gap."""
    answered, given = link.begin(), list[RequestSlot]()

    def begin_next(slot: RequestSlot) -> bool:
        given.append(slot)
        assert link.peer.ledger.slots == {slot}
        return slot.start(link.caller.attempt(slot), encode_request(PARAMS, b""))

    link.free = begin_next
    for _ in range(2):
        link.wire.server.send_whole(answered.request_id, b"whole")
        link.respond()
    assert given == [answered, answered]
    assert (link.peer.ledger.slots, link.peer.ledger.counts[SlotState.BUSY]) == ({answered}, 1)
    link.free = lambda slot: False
    link.wire.server.send_whole(answered.request_id, b"whole")
    link.respond()
    assert link.peer.ledger.slots == set()
    link.channel.close()


async def test_no_more_requests_than_a_connection_serves(link: Link) -> None:
    """KeepAlive.max_requests counts what has begun, however much of it at once, and what may begin on a held slot."""
    link.peer.most_requests = 3
    ended, running = link.begin(), link.begin()
    held = link.channel.take()
    assert {link.channel.has_room, link.channel.helps} == {False}
    link.free = lambda slot: slot.start(link.caller.attempt(slot), encode_request(PARAMS, b""))
    link.wire.server.send_whole(ended.request_id, b"whole")
    link.respond()
    assert (link.channel.requests, link.channel.has_room) == (2, False)
    held.give_back()
    assert {link.channel.has_room, link.channel.helps} == {True}
    last = link.begin()
    link.wire.server.send_whole(running.request_id, b"whole")
    link.respond()
    assert (link.channel.requests, link.channel.has_room, link.channel.closed) == (3, False, False)
    link.wire.server.send_whole(last.request_id, b"whole")
    link.respond()
    assert link.channel.closed
    assert link.caller.failures == []


async def test_the_place_of_an_ended_slow_reader_is_taken_once(link: Link) -> None:
    """A response ends the last slow reader, which makes room; its slot and its place do not become two requests."""
    slow = link.begin()
    for _ in range(2):
        link.begin()
    slow.pause()
    most: list[int] = []

    def begin_next(slot: RequestSlot) -> bool:
        begun = slot.start(link.caller.attempt(slot), encode_request(PARAMS, b""))
        most.append(len(link.peer.ledger.slots))
        return begun

    def take_more() -> None:
        while link.channel.has_room:
            begin_next(link.channel.take())

    link.free, link.freed = begin_next, take_more
    link.wire.server.send_whole(slow.request_id, b"whole")
    link.respond()
    link.freed = lambda: None
    assert most == [3]
    link.channel.close()


@pytest.fixture
def three_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    """A connection has three request ids instead of 65,535."""
    for module in ("fcgi_async.wire.ids", "fcgi_async.pool.channel"):
        monkeypatch.setattr(f"{module}.MAX_REQUEST_ID", 3)


@pytest.mark.usefixtures("three_ids")
@pytest.mark.parametrize("whole", [True, False])
async def test_ids_that_end_in_one_read_when_all_are_taken(link: Link, whole: bool) -> None:
    """A request that such an end makes room for gets its id, and not one whose end is still to be looked at."""
    for _ in range(3):
        link.begin()
    begun: list[int] = []

    def begin_next(slot: RequestSlot) -> bool:
        assert slot.start(link.caller.attempt(slot), encode_request(PARAMS, b""))
        begun.append(slot.request_id)
        return True

    link.free, link.freed = begin_next, lambda: link.channel.has_room and begin_next(link.channel.take())
    for request_id in (3, 1):
        if whole:
            link.wire.server.send_whole(request_id, b"whole")
        else:
            link.wire.server.end_request(request_id)
    link.respond()
    assert begun == [3, 1]
    assert (link.caller.failures, link.channel.closed) == ([], False)
    link.freed = lambda: None
    link.channel.close()


@pytest.mark.usefixtures("three_ids")
async def test_there_is_no_room_without_an_id(link: Link) -> None:
    """The id of an aborted request stays taken when it has ended."""
    slots = [link.begin() for _ in range(3)]
    link.channel.abandon(slots[0])
    link.wire.server.send_values({FCGI_MPXS_CONNS: b"1"})
    link.wire.server.end_request(slots[0].request_id)
    link.respond()
    assert not link.channel.has_room
    link.wire.server.end_request(slots[1].request_id)
    link.respond()
    assert link.channel.has_room
    link.begin()
    assert not link.channel.has_room
    link.channel.close()


async def test_a_body_stops_when_the_peer_took_no_more(link: Link) -> None:
    """A peer that has closed before another request is not the fault of a body that is being sent."""
    async with link.timed():
        slot = link.channel.take()
        assert slot.start(link.caller.attempt(slot), encode_request(PARAMS, None))
        link.wire.peer_gone = True
        other = link.channel.take()
        assert not other.start(link.caller.attempt(other), encode_request(PARAMS, b""))
        assert not await slot.send(b"part")
        slot.end_body()
        await eventually(lambda: link.channel.closed)
        assert [type(error) for error, _ in link.caller.failures] == [ConnectionLost]


@pytest.mark.parametrize("answered", [True, False])
async def test_answers_still_come_when_nothing_can_be_written(
    link: Link, monkeypatch: pytest.MonkeyPatch, answered: bool
) -> None:
    """A gateway that leaves reads no more, and answers what it has read; if it does not, that is lost in a second."""
    monkeypatch.setattr("fcgi_async.pool.channel._LAST_ANSWERS", 0.05)
    async with link.timed():
        written, late = link.begin(), link.channel.take()
        link.wire.peer_gone = True
        assert not late.start(link.caller.attempt(late), encode_request(PARAMS, b""))
        late.give_back()
        assert {link.channel.closed, link.channel.has_room} == {False}
        if answered:
            link.wire.server.send_whole(written.request_id, b"whole")
            link.respond()
        await eventually(lambda: link.channel.closed)
    assert link.caller.stdout == (b"whole" if answered else b"")
    assert [(type(error), ran) for error, ran in link.caller.failures] == [(ConnectionLost, True)] * (not answered)
    assert link.peer.ledger.slots == set()


def _retire(link: Link) -> None:
    link.channel.retire()


def _have_slow_reader(link: Link) -> None:
    link.begin().pause()


def _ask(link: Link) -> None:
    link.channel.take().ask(lambda answered: None)


def _reach_most(link: Link) -> None:
    link.peer.most_requests = 1


def _keep(link: Link) -> None:
    link.peer.keeps = True


@pytest.mark.parametrize("hindrance", [_retire, _have_slow_reader, _ask, _reach_most, _keep])
async def test_a_slot_is_given_back_if_nothing_may_begin_on_it(link: Link, hindrance: Callable[[Link], None]) -> None:
    """A connection that gets no request now, or no more at all, does not get the next one in this way either."""
    answered, free = link.begin(), list[RequestSlot]()

    def offer(slot: RequestSlot) -> bool:
        free.append(slot)
        return True

    hindrance(link)
    link.free = offer
    # the answer to it alone, and none to the probe
    link.wire.server.data_to_send()
    link.wire.server.send_whole(answered.request_id, b"whole")
    link.respond()
    assert link.caller.stdout == b"whole"
    assert free == []
    assert answered not in link.peer.ledger.slots
    link.channel.close()


async def test_slow_reader_beside_others(link: Link) -> None:
    """A slow reader is given 16 MiB before its neighbours are held up with it; meanwhile none is added."""
    slow, _ = link.begin(), link.begin()
    slow.pause()
    assert not link.channel.has_room
    mebibyte = bytes(1024 * 1024)
    for _ in range(16):
        assert link.wire.reading
        link.wire.server.send_stdout(slow.request_id, mebibyte)
        link.respond()
    assert link.wire.reading
    link.wire.server.send_stdout(slow.request_id, b"one byte more")
    link.respond()
    assert not link.wire.reading
    slow.resume()
    assert link.wire.reading
    assert link.calls == ["freed"]
    link.channel.close()


async def test_slow_reader_alone(link: Link) -> None:
    """A slow reader that has the connection to itself holds it up at once, and no longer when a neighbour comes."""
    link.begin().pause()
    assert not link.wire.reading
    link.begin()
    assert link.wire.reading
    link.channel.close()


async def test_answer_among_those_of_requests(link: Link) -> None:
    """A probe is answered whatever comes after its answer; for that no slot is held."""
    slot, answers = link.begin(), list[bool]()
    asked = link.channel.take()
    asked.ask(answers.append)
    assert link.peer.ledger.counts[SlotState.BUSY] == 1
    assert answers == []
    link.wire.server.send_values({FCGI_MPXS_CONNS: b"1"})
    link.wire.server.send_stdout(slot.request_id, b"x")
    link.respond()
    assert (answers, link.caller.stdout) == ([True], b"x")
    link.channel.close()


async def test_asked_when_the_connection_ends(link: Link) -> None:
    """Whoever asked hears of the end before the pool does, and so is waiting when the pool looks who is."""
    link.begin()
    link.channel.take().ask(lambda answered: link.calls.append(f"answered: {answered}"))
    link.channel.eof_received()
    assert link.calls == ["answered: False", "ended"]


async def test_answer_before_the_body_was_written(link: Link) -> None:
    """A peer that has ended a request in the middle of its body gets no more of it."""
    link.wire.on_write = link.channel.pause_writing
    slot = link.begin(bytes(200_000))
    link.wire.server.end_request(slot.request_id)
    link.respond()
    assert link.caller.ends == [(0, 0)]
    link.wire.events.clear()
    link.channel.resume_writing()
    assert link.wire.events == []
    link.channel.close()


async def test_what_runs_when_the_connection_ends(link: Link) -> None:
    """A peer that multiplexes leaves nothing unread: even its clean EOF proves nothing, and each attempt is told."""
    link.begin()
    link.begin()
    link.channel.eof_received()
    assert [(type(error), ran) for error, ran in link.caller.failures] == [(ConnectionLost, True)] * 2
    assert link.peer.ledger.slots == set()
    assert link.calls == ["ended"]


async def test_what_lingers_when_we_close(link: Link) -> None:
    """What was begun may run on after we have closed: its slot lingers; one that was only held is given back."""
    begun, held = link.begin(), link.channel.take()
    link.channel.close()
    assert begun.state is SlotState.LINGERING
    assert held not in link.peer.ledger.slots


async def test_a_connection_that_retires_awaits_what_was_left(link: Link) -> None:
    """It gets no more requests, and is closed when the one that its last caller has left has ended: nothing lingers."""
    left = link.begin()
    link.channel.retire()
    link.channel.abandon(left)
    assert (link.channel.closed, left.state) == (False, SlotState.DRAINING)
    link.wire.server.end_request(left.request_id)
    link.respond()
    assert link.channel.closed
    assert link.peer.ledger.slots == set()


def _be_overdue(link: Link, left: RequestSlot) -> None:
    left.overdue()


def _drop_too_much(link: Link, left: RequestSlot) -> None:
    for size in (1, link.peer.endpoint.drain_bytes):
        assert not link.channel.closed
        link.wire.server.send_stdout(left.request_id, bytes(size))
        link.respond()


@pytest.mark.parametrize("exceed", [_be_overdue, _drop_too_much])
async def test_a_connection_that_retires_has_the_patience_of_others(
    link: Link, exceed: Callable[[Link, RequestSlot], None]
) -> None:
    """What was left is awaited within `drain_timeout` and `drain_bytes`; then the connection is closed under it."""
    left = link.begin()
    link.channel.retire()
    link.channel.abandon(left)
    assert not link.channel.closed
    exceed(link, left)
    assert (link.channel.closed, left.state) == (True, SlotState.LINGERING)


@pytest.mark.usefixtures("impatient")
async def test_a_connection_that_retires_does_not_await_a_peer_that_does_not_read(link: Link) -> None:
    """What was left does not end if ABORT_REQUEST is not read: that is known when the probe is not answered."""
    async with link.timed():
        left = link.begin()
        link.channel.retire()
        link.channel.abandon(left)
        assert not link.channel.closed
        await eventually(lambda: link.channel.closed)
        assert left.state is SlotState.LINGERING


@pytest.mark.usefixtures("impatient")
async def test_a_peer_that_stops_reading(link: Link) -> None:
    """After an abort that the peer does not read, a request is lost if a part of it comes later; the others run on."""
    link.wire.on_write = link.channel.pause_writing
    whole, left, incomplete = link.begin(), link.begin(), link.begin(bytes(200_000))
    link.channel.abandon(left)
    async with link.timed():
        await eventually(lambda: link.caller.failures)
    assert [(type(error), ran) for error, ran in link.caller.failures] == [(RemoteProtocolError, True)]
    assert incomplete.attempt is None
    assert not link.channel.closed
    link.wire.server.end_request(whole.request_id)
    link.respond()
    assert link.caller.ends == [(0, 0)]
    assert link.channel.closed


@pytest.mark.usefixtures("impatient")
async def test_a_request_begun_after_an_abort_that_is_not_read(link: Link) -> None:
    """A request that follows an unanswered probe is lost with it: nobody waits for ever."""
    left, held = link.begin(), link.channel.take()
    link.channel.abandon(left)
    assert held.start(link.caller.attempt(held), encode_request(PARAMS, b""))
    async with link.timed():
        await eventually(lambda: link.caller.failures)
    assert link.channel.closed
