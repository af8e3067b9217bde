"""A connection that serves one request at a time, and so is a slot: sends its request's body, and leaves requests."""

from __future__ import annotations

import socket
from abc import abstractmethod
from collections.abc import Callable

from fcgi_async.net.listener import Listener
from fcgi_async.pool.attempt import JobSlot
from fcgi_async.pool.leaving import Leaving
from fcgi_async.pool.link import Link
from fcgi_async.pool.manner import Fact, Manner
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.pool.slots import SlotState
from fcgi_async.pool.tail import Tail
from fcgi_async.wire.client import ClientConnection

__all__ = ("Exclusive",)

# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_BUSY, _FINISHING = SlotState.BUSY, SlotState.FINISHING
_DRAINING, _LEAVING = SlotState.DRAINING, SlotState.LEAVING
_FPM, _ANSWERS = Manner.FPM, Manner.ANSWERS


class Exclusive(Link, JobSlot):
    """A connection with one request at a time; `Worker` decides when it is free.

    Attributes:
        spent: whether it is not used for another request.
    """

    def __init__(self, peer: Peer) -> None:
        JobSlot.__init__(self, peer)
        Link.__init__(self, peer, ClientConnection())
        self._request_id = 0
        # whether a request has begun and not ended, and whether a byte of its response has come
        self._unanswered = self._responding = False
        self.spent = False
        self._probe = Tail(peer.backend, self._client, self._flush, self.is_free)
        self._when_free: Callable[[bool], None] | None = None
        self._paused = False
        self._leaving: Leaving | None = None
        # the process that listened when it was connected
        self._listener: Listener | None = None
        self._leaves_unread = False
        # the last request is small, and it is not known yet whether the bytes that follow it are left unread
        self._shows_manner = False

    @abstractmethod
    def is_free(self) -> None:
        """Called when the worker waits for a request."""

    def attach(self, sock: socket.socket, connect_time: float) -> None:
        self._listener = self.peer.listener
        super().attach(sock, connect_time)

    @property
    def leaves_unread(self) -> bool:
        """Whether the peer leaves bytes that follow a request unread until the script has ended."""
        if not self._leaves_unread and self.peer.manner is _FPM and self._listener == self.peer.listener:
            self._leaves_unread = True
        return self._leaves_unread

    def _look_at_manner(self) -> None:
        self._shows_manner = False
        if self._transport is not None and self._transport.unread:
            self.peer.learn(Fact.TAIL_LEFT_UNREAD)

    def multiplexing_refused(self) -> None:
        self.peer.multiplexing_refused = True

    def pause(self) -> None:
        if self._transport is not None and not self.closed:
            self._paused = True
            self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused and self._transport is not None and not self.closed:
            self._paused = False
            self._transport.resume_reading()

    def _tail(self) -> None:
        self._probe.write()

    def tell(self, *, answered: bool) -> None:
        """Tell the waiting caller whether the worker has answered, or has left before that."""
        told, self._when_free = self._when_free, None
        if told is not None:
            told(answered or self._probe.answered)

    # a body that comes in parts

    @property
    def body_awaited(self) -> bool:
        return self._bodies.body_pending(self._request_id)

    async def send(self, data: bytes) -> bool:
        return await self._bodies.send(self._request_id, data)

    def end_body(self) -> None:
        self._bodies.end(self._request_id)

    def give_up_body(self, *, refused: bool = False) -> None:
        if refused:
            self.close()
        else:
            self._stop_body()

    def _stop_body(self) -> None:
        """End an incomplete body, so that the script does not wait for the rest."""
        self.spent = True
        self._bodies.end(self._request_id, short=True)

    # the caller has left

    def leave(self, patience: float | None = None) -> None:
        if self.closed or self._leaving is not None:
            return
        endpoint = self.peer.endpoint
        self.attempt = None
        self.resume()
        if patience is None:
            patience = 0.0 if endpoint.on_cancel == "close" else endpoint.drain_timeout
        if self.body_awaited:
            # the script gets the part of the body that came, and its output is refused, as if the connection were
            # closed
            self._stop_body()
            if self._can_be_watched:
                patience = 0.0
        if self.state is _FINISHING or self.closed:
            return
        if not patience or not endpoint.handshake:
            self._refuse_rest()
        elif self.state is _BUSY:
            self.peer.ledger.move(self, _DRAINING, self.peer.sweep.due(patience))

    @property
    def _can_be_watched(self) -> bool:
        return self.peer.is_unix and self.leaves_unread

    @property
    def is_relayed(self) -> bool:
        """Whether something is between us and the worker, as far as a unix socket can tell."""
        return self.peer.manner is _ANSWERS and self.peer.is_unix and not self.leaves_unread

    def overdue(self) -> None:
        """Called when its script, or its answer, has taken too long."""
        if self.state is _FINISHING:
            self.peer.learn(Fact.TAIL_UNANSWERED)
        self._refuse_rest()

    def _refuse_rest(self) -> None:
        """Refuse the rest of a response, and hold the slot until the worker has left the script.

        If its end cannot be seen, the connection is closed.
        """
        if not self._can_be_watched or self.over or self._leaving is not None or self._transport is None:
            self.close()
            return
        peer = self.peer
        peer.ledger.move(self, _LEAVING)
        self._probe.stop()
        leaving = self._leaving = Leaving(
            peer.backend,
            self._transport,
            self._client,
            self._bodies,
            silent=self._unanswered and not self._responding,
            at_once=peer.may_ask_for_lingering,
            left=self._left,
            faulty=lambda error: self._terminate(Ending.FAULT, error),
        )
        self.tell(answered=False)
        leaving.watch()

    def _left(self, is_free: bool) -> None:
        self.worker_left = is_free and self.leaves_unread
        self.close()
