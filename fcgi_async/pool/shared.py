"""A connection to a peer that multiplexes: a slot is a request id there, and the connection itself occupies nobody."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import attrs

from fcgi_async.net.backend import Backend, Timer
from fcgi_async.net.connection import Connection
from fcgi_async.pool.endpoint import KeepAlive
from fcgi_async.pool.slots import Slot, SlotLedger, SlotState

__all__ = ("SharedConnection",)

# request ids that are lost to aborted requests before a connection is given up
_ABORTED_MAX = 1000
# seconds in which a peer says that it reads on behind what may have stopped it
_ANSWER_SECONDS = 1.0


@attrs.define(eq=False)
class SharedConnection:
    """The slots of the requests on one connection.

    Args:
        connection: to the peer.
        ledger: where the slots are taken.
        backend: the event loop.
        keepalive: how long the connection outlives its requests.
        limit: how many requests the peer serves on it at once.
        capacity_freed: called when waiting jobs need another connection.
    """

    connection: Connection
    ledger: SlotLedger
    backend: Backend
    keepalive: KeepAlive
    limit: int
    capacity_freed: Callable[[], None]
    # it gets no more requests, and is closed when nobody waits for the last
    retiring: bool = attrs.field(default=False, init=False)
    # when it is looked again whether it has been without a request for long enough
    _expiry: Timer | None = attrs.field(default=None, init=False)
    _idle_since: float = attrs.field(default=0.0, init=False)
    # when it is given up unless its probe is answered
    _unanswered: Timer | None = attrs.field(default=None, init=False)
    _slots: dict[int, Slot] = attrs.field(factory=dict, init=False)
    # taken for requests that are not begun: their bodies are not, or they are not known yet
    _held: list[Slot] = attrs.field(factory=list, init=False)

    @property
    def empty(self) -> bool:
        """Whether no response is awaited on it, and none will be."""
        return not self.connection.in_flight and not self._held

    @property
    def has_room(self) -> bool:
        """Whether it may get one more request.

        One whose reader is behind gets none: FastCGI has no windows, so its neighbours might have to wait with it. Nor
        does one whose peer may have stopped to read, before it has answered.
        """
        if self.retiring or self.connection.over or self.connection.slow_reader:
            return False
        if self.connection.client.probes_outstanding:
            return False
        return self.connection.in_flight + len(self._held) < self.limit

    def hold(self) -> Slot:
        """Take a slot for a request that is not begun."""
        slot = self._take()
        self._held.append(slot)
        return slot

    def give_back(self, slot: Slot) -> None:
        """Give back a slot that was held."""
        self._held.remove(slot)
        self.ledger.release(slot)

    def begun(self, request_id: int, held: Slot | None) -> None:
        """Take note of a request that was written; `held` is its slot if that was taken before."""
        if held is not None:
            self._held.remove(held)
        self._slots[request_id] = held or self._take()

    def ended(self, request_id: int) -> None:
        """Give back the slot of a request whose END_REQUEST has come."""
        slot = self._slots.pop(request_id)
        # one that lingered for too long was given back before
        if slot in self.ledger.slots:
            self.ledger.release(slot)
        self.expect_answer()

    @property
    def slots(self) -> Iterable[Slot]:
        """The slots of the requests that are begun and not over."""
        return self._slots.values()

    def retire(self) -> None:
        """Give it no more requests, and close it when nobody waits for what runs on it."""
        self.retiring = True
        self.close_where_retired()

    def slot(self, request_id: int) -> Slot:
        """Return the slot of a request that is not over."""
        return self._slots[request_id]

    def abandoned(self, request_id: int, deadline: float) -> None:
        """Take note that nobody waits for a request any more."""
        slot = self._slots.get(request_id)
        if slot is not None and slot.state is SlotState.BUSY:
            self.ledger.move(slot, SlotState.DRAINING, deadline)

    def expect_answer(self) -> None:
        """Retire the connection where its probe is not answered in time."""
        if self._unanswered is None and self.connection.client.probes_outstanding and not self.connection.closed:
            self._unanswered = self.backend.call_at(self.backend.now() + _ANSWER_SECONDS, self._give_up)

    def answered(self) -> None:
        """Take note that the last probe was answered."""
        if self._unanswered is not None:
            self._unanswered.cancel()
            self._unanswered = None

    def _give_up(self) -> None:
        self._unanswered = None
        self.retire()
        self.capacity_freed()

    def close_where_retired(self) -> None:
        """Close the connection where it gets no more requests and nobody waits for what runs on it."""
        worn_out = self.keepalive.max_requests
        if len(self.connection.client.aborted) >= _ABORTED_MAX:
            self.retiring = True
        if worn_out is not None and self.connection.requests >= worn_out:
            self.retiring = True
        if self.retiring and not self.connection.callers and not self.connection.closed:
            self.connection.close()

    def rest(self) -> None:
        """Begin to count the time without a request, where there is none."""
        if self.empty and not self.connection.closed:
            self._idle_since = self.backend.now()
            self._expire()

    def _expire(self) -> None:
        when = self._idle_since + self.keepalive.idle
        if when <= self.backend.now():
            self.connection.close()
        elif self._expiry is None:
            self._expiry = self.backend.call_at(when, self._look_at_expiry)

    def _look_at_expiry(self) -> None:
        self._expiry = None
        if self.empty and not self.connection.closed:
            self._expire()

    def closed(self, linger_until: float | None) -> None:
        """Take note that the connection is over; `linger_until` where what was begun may run on."""
        for timer in (self._expiry, self._unanswered):
            if timer is not None:
                timer.cancel()
        for slot in self._held:
            self.ledger.release(slot)
        self._held.clear()
        for slot in self._slots.values():
            if slot not in self.ledger.slots or slot.state is SlotState.LINGERING:
                continue
            if linger_until is None:
                self.ledger.release(slot)
            else:
                self.ledger.move(slot, SlotState.LINGERING, linger_until)

    def _take(self) -> Slot:
        slot = self.ledger.take()
        assert slot is not None, "a shared connection is offered jobs only where a slot is free"
        self.ledger.move(slot, SlotState.BUSY)
        return slot
