"""A slot on a shared connection: a request id."""

from __future__ import annotations

import logging
from collections.abc import Callable
from math import inf
from typing import Protocol

from fcgi_async.net.bodies import Bodies
from fcgi_async.pool.attempt import Attempt, JobSlot
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.slots import SlotState
from fcgi_async.wire.request import EncodedRequest

__all__ = ("RequestSlot", "SharedConnection")

logger = logging.getLogger("fcgi_async.pool")

# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_CONNECTING = SlotState.CONNECTING
_DRAINING, _LINGERING = SlotState.DRAINING, SlotState.LINGERING


class SharedConnection(Protocol):
    """The connection, as a slot on it uses it."""

    peer: Peer

    @property
    def over(self) -> bool: ...

    @property
    def bodies(self) -> Bodies: ...

    def begin(self, slot: RequestSlot, attempt: Attempt, request: EncodedRequest) -> bool: ...
    def give_back(self, slot: RequestSlot) -> None: ...
    def ask(self, slot: RequestSlot, told: Callable[[bool], None]) -> None: ...
    def abandon(self, slot: RequestSlot) -> None: ...
    def abort(self, slot: RequestSlot) -> None: ...
    def pause(self, slot: RequestSlot) -> None: ...
    def resume(self, slot: RequestSlot) -> None: ...
    def retire(self) -> None: ...
    def close(self) -> None: ...


class RequestSlot(JobSlot):
    """A request id on a channel.

    Args:
        channel: the connection.

    Attributes:
        request_id: the id; 0 until a request begins.
    """

    __slots__ = ("_channel", "request_id")

    def __init__(self, channel: SharedConnection) -> None:
        # what those of the classes above do, without three calls: each request has a slot of its own
        self.state, self.deadline, self.dropped, self.accepted = _CONNECTING, inf, 0, False
        self.peer, self.attempt = channel.peer, None
        self._channel = channel
        self.request_id = 0

    @property
    def over(self) -> bool:
        return self._channel.over

    def start(self, attempt: Attempt, request: EncodedRequest) -> bool:
        return self._channel.begin(self, attempt, request)

    def give_back(self) -> None:
        self._channel.give_back(self)

    def ask(self, told: Callable[[bool], None]) -> None:
        self._channel.ask(self, told)

    def leave(self, patience: float | None = None) -> None:
        self._channel.abandon(self)

    def is_awaited(self, *, reads_on: bool) -> bool:
        """Whether its end is awaited: by its caller, or within `drain_timeout` and `drain_bytes` after that has left.

        A peer that does not read on is not told that it should end it.
        """
        if self.attempt is not None:
            return True
        return reads_on and self.state is _DRAINING and self.dropped <= self.peer.endpoint.drain_bytes

    def overdue(self) -> None:
        """Called if its end is late: its id stays taken, other requests continue, new ones go elsewhere."""
        self.peer.ledger.move(self, _LINGERING, self.peer.linger_until())
        self._channel.retire()

    def request_ended(self) -> None:
        """Give it back, unless that was done because it lingered for too long."""
        if self in self.peer.ledger.slots:
            self.peer.ledger.release(self)

    def connection_ended(self, *, may_run_on: bool) -> None:
        """Give it back, or let it linger if its script may run on."""
        ledger = self.peer.ledger
        if self not in ledger.slots or self.state is _LINGERING:
            return
        if may_run_on:
            ledger.move(self, _LINGERING, self.peer.linger_until())
        else:
            ledger.release(self)

    def multiplexing_refused(self) -> None:
        self.peer.multiplexing_refused = True
        logger.warning("%s reports that it multiplexes, but refuses to; it gets one request at a time", self.peer.name)
        self._channel.retire()

    def close(self) -> None:
        self._channel.close()

    def pause(self) -> None:
        self._channel.pause(self)

    def resume(self) -> None:
        self._channel.resume(self)

    @property
    def body_awaited(self) -> bool:
        return self._channel.bodies.body_pending(self.request_id)

    async def send(self, data: bytes) -> bool:
        return await self._channel.bodies.send(self.request_id, data)

    def end_body(self) -> None:
        self._channel.bodies.end(self.request_id)

    def give_up_body(self, *, refused: bool = False) -> None:
        self._channel.abort(self)
