"""One connection: its socket, its state machine and the bodies on their way out; what a worker and a channel have in
common.
"""

from __future__ import annotations

import logging
import socket
from abc import abstractmethod

from fcgi_async.net.bodies import Bodies
from fcgi_async.net.transport import Transport
from fcgi_async.pool.peer import Peer
from fcgi_async.pool.proof import Ending
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import Terminated
from fcgi_async.wire.request import EncodedRequest
from fcgi_async.wire.spec import MAX_CONTENT, Role

__all__ = ("Link",)

logger = logging.getLogger("fcgi_async.net")

# plain names: on Python 3.11 looking up a member of an enum costs more than what is done with it
_AUTHORIZER = Role.AUTHORIZER


class Link:
    """A connection to a peer, until it ends; handles what its transport tells.

    Args:
        peer: at the other end.
        client: its state machine.

    Attributes:
        requests: how many were begun on it.
        closed: whether it has ended.
        worker_left: whether its worker is known to have left it: the peer closed, or said so.
        close_cause: what ended it, if something did but an EOF or we ourselves.
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
        # whether the peer has closed, and whether it was gone before it took all that was written
        self._eof = self._refused = False

    def attach(self, sock: socket.socket, connect_time: float) -> None:
        """Take a connected socket, which `connect_time` seconds were spent on."""
        self._transport = Transport(sock, self, self.peer.backend)
        self._connect_time, self._connected_at = connect_time, self.peer.backend.now()

    @property
    def over(self) -> bool:
        """Whether nothing can be written any more: it is closed, or will be once what came before a fault is told."""
        return self.closed or not self._client.open

    def _open_transport(self) -> Transport | None:
        return None if self.closed else self._transport

    def close(self) -> None:
        """Close at once; attempts on it are lost."""
        self._terminate(Ending.OURS)

    # what is left to the kinds of connection

    @abstractmethod
    def _receive(self, data: bytes | memoryview) -> None:
        """Take what the peer wrote."""

    @abstractmethod
    def _tail(self) -> None:
        """Have the probe written that follows a request."""

    @abstractmethod
    def _terminate(self, ending: Ending, cause: Exception | None = None) -> None:
        """End the connection, once."""

    # writing

    def _write_request(self, request: EncodedRequest, *, keep_conn: bool = True, tail: bool = False) -> int:
        """Give a request to the state machine, and the probe that follows it if it has a `tail`; return its id."""
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
        """Give up a connection whose peer took not one byte of a request."""
        self._bodies.drop()
        self.worker_left, self._client.open = True, False
        # not now: whoever writes the request first puts it where another slot finds it
        backend = self.peer.backend
        backend.call_at(backend.now(), self.close)

    def _flush(self) -> bool:
        if self._transport is None or self.closed:
            return False
        # a peer that has gone is left to the reader, which first gets what it sent before
        taken = self._transport.write(self._client.data_to_send())
        self._refused = self._refused or not taken
        return taken

    @property
    def _written(self) -> bool:
        """Whether the kernel has taken all that was written, bodies that are still to come aside."""
        return not self._refused and (self._transport is None or not self._transport.unsent)

    # TransportHandler

    def data_received(self, data: bytes | memoryview) -> bool:
        """Take what the peer wrote; return whether more is due in a moment."""
        try:
            self._receive(data)
        except Exception as error:
            self._faulty(error)
        return False

    def eof_received(self) -> None:
        """Take it that the peer has closed in good order."""
        self._eof = True
        for event in self._client.receive_eof():
            if isinstance(event, Terminated):
                self.worker_left = True
                self._end(Ending.EOF if event.error is None else Ending.FAULT, event.error)

    def connection_lost(self, error: Exception | None) -> None:
        """Take it that the connection has ended."""
        if not self.closed:
            self.worker_left = error is not None
            self._end(Ending.OURS if error is None else Ending.RESET, error)

    def pause_writing(self) -> None:
        """Write no more of the bodies until `resume_writing()`."""
        self._bodies.pause()

    def resume_writing(self) -> None:
        """Write on."""
        try:
            self._bodies.resume()
        except Exception as error:
            self._faulty(error)

    def _faulty(self, error: Exception) -> None:
        """End this connection, and no other, because of a fault in our own code."""
        logger.error("a connection to %s is closed because of a fault in fcgi_async", self.peer.name, exc_info=error)
        self._terminate(Ending.OURS, error)

    def _end(self, ending: Ending, cause: Exception | None) -> None:
        try:
            self._terminate(ending, cause)
        except Exception as error:
            self._faulty(error)
