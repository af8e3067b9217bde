"""One connection: its socket, its state machine and the bodies being sent; the base of a worker and a channel."""

from __future__ import annotations

import logging
import socket
from abc import abstractmethod
from collections.abc import Sequence

from fcgi_async.net.bodies import Bodies
from fcgi_async.net.transport import Transport
from fcgi_async.pool.attempt import JobSlot
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import Terminated
from fcgi_async.wire.request import EncodedRequest
from fcgi_async.wire.spec import MAX_CONTENT, Role

__all__ = ("Link",)

logger = logging.getLogger("fcgi_async.net")

# plain names: on Python 3.11, looking up a member of an enum costs more than using it
_AUTHORIZER = Role.AUTHORIZER


class Link:
    """A connection to a peer, until it ends; handles the events of its transport.

    Args:
        peer: at the other end.
        client: its state machine.

    Attributes:
        requests: number of requests that have begun on it.
        closed: whether it has ended.
        worker_left: whether its worker is known to have left: the peer closed or reported it.
        close_cause: the error that ended it, if it was neither an EOF nor closed by this side.
    """

    def __init__(self, peer: Peer, client: ClientConnection) -> None:
        self.peer = peer
        self._client = client
        self._bodies = Bodies(client, peer.backend, self._tail, self._flush)
        # None until attach()
        self._transport: Transport | None = None
        self._connect_time = self._connected_at = 0.0
        self.requests = 0
        self.closed = self.worker_left = False
        self.close_cause: Exception | None = None
        # slots whose requests are held back, to be written together; None while each is written by itself
        self._begun: list[JobSlot] | None = None
        # whether the peer has closed, and whether it did so before it took everything written
        self._eof = self._refused = False

    def attach(self, sock: socket.socket, connect_time: float) -> None:
        """Take a connected socket; connecting took `connect_time` seconds."""
        self._transport = Transport(sock, self, self.peer.backend)
        self._connect_time, self._connected_at = connect_time, self.peer.backend.now()
        if self._client.multiplexing and self.peer.is_gateway:
            # the gateway recognises by this that the client is not a web server, which sends one request on a
            # connection
            self._tail()
            self._flush()

    @property
    def over(self) -> bool:
        """Whether it is closed, or will be as soon as pending events are delivered."""
        return self.closed or not self._client.open

    def _open_transport(self) -> Transport | None:
        return None if self.closed else self._transport

    def close(self) -> None:
        """Close at once; attempts on it are lost."""
        self._terminate(Ending.OURS)

    # for subclasses

    @abstractmethod
    def _receive(self, data: bytes | memoryview) -> None:
        """Take what the peer wrote."""

    @abstractmethod
    def _tail(self) -> None:
        """Write the probe that follows a request."""

    @abstractmethod
    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        """End the connection, once."""

    # writing

    def _write_request(self, request: EncodedRequest, *, keep_conn: bool = True, tail: bool = False) -> int:
        """Give a request to the state machine, with the probe that follows it if it has a `tail`; return its id."""
        client = self._client
        if request.pieces is not None:
            request_id = client.send_pieces(request.pieces, keep_conn=keep_conn)
        else:
            request_id = client.begin_request(request.role, keep_conn=keep_conn)
            client.send_params(request_id, request.params)
            if request.body is None:
                self._bodies.open(request_id, tail=tail)
                return request_id
            if len(request.body) > MAX_CONTENT:
                self._bodies.add(request_id, request.body, tail=tail)
                return request_id
            if request.role is not _AUTHORIZER:
                client.send_stdin(request_id, request.body, end=True)
        if tail:
            self._tail()
        return request_id

    def _refuse(self) -> None:
        """Give up a connection whose peer did not take one byte of a request."""
        self._bodies.drop()
        self.worker_left = True
        self._client.close()
        # not now: the caller first queues the request for another slot
        backend = self.peer.backend
        backend.call_at(backend.now(), self.close)

    def _unwritten(self, slots: Sequence[JobSlot]) -> None:
        """Called when the peer had closed before it took one byte of these requests."""
        self._refuse()
        for slot in slots:
            attempt, slot.attempt = slot.attempt, None
            if attempt is not None:
                attempt.refuse()

    def _flush(self) -> bool:
        if self._transport is None or self.closed:
            return False
        # if the peer has closed, the reader notices it, after everything that the peer sent before
        taken = self._transport.write(self._client.data_to_send())
        self._refused = self._refused or not taken
        return taken

    @property
    def _written(self) -> bool:
        """Whether the kernel has taken everything written; bodies that are still to come do not count."""
        return not self._refused and (self._transport is None or not self._transport.unsent)

    # TransportHandler

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take what the peer wrote; return whether more is due in a moment."""
        transport, self._begun = self._transport, []
        if transport is not None:
            transport.cork()
        try:
            self._receive(data)
        except Exception as error:
            self._faulty(error)
        begun, self._begun = self._begun, None
        if transport is not None and not transport.uncork():
            self._unwritten(begun or ())
        return False

    def eof_received(self) -> None:
        """Called when the peer has closed normally."""
        self._eof = True
        for event in self._client.receive_eof():
            if isinstance(event, Terminated):
                self.worker_left = True
                self._end(Ending.EOF if event.error is None else Ending.FAULT, event.error)

    def connection_lost(self, error: Exception | None) -> None:
        """Called when the connection has ended."""
        if not self.closed:
            self.worker_left = error is not None
            self._end(Ending.OURS if error is None else Ending.RESET, error)

    def pause_writing(self) -> None:
        """Stop writing bodies until `resume_writing()`."""
        self._bodies.pause()

    def resume_writing(self) -> None:
        """Write on."""
        try:
            self._bodies.resume()
        except Exception as error:
            self._faulty(error)

    def _faulty(self, error: Exception) -> None:
        """End only this connection, because of a fault in fcgi_async."""
        logger.error("closing a connection to %s because of a fault in fcgi_async", self.peer.name, exc_info=error)
        self._terminate(Ending.OURS, error)

    def _end(self, ending: Ending, cause: Exception | None) -> None:
        try:
            self._terminate(ending, cause)
        except Exception as error:
            self._faulty(error)
