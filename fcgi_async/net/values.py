"""What a peer says of itself, on a connection of its own."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

import anyio

from fcgi_async.errors import ConnectionLost, RemoteProtocolError
from fcgi_async.net.address import Address
from fcgi_async.net.dial import dial
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import Terminated, ValuesReceived
from fcgi_async.wire.spec import FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS, MAX_REQUEST_ID

__all__ = ("ASK_AGAIN", "ASK_ALL", "ask_values", "connections_at_once", "requests_at_once")

# all that a peer says of itself
ASK_ALL: Final = (FCGI_MPXS_CONNS, FCGI_MAX_REQS, FCGI_MAX_CONNS)
# what Go's net/http/fcgi must be asked for later, since its second, empty answer would else be taken for the next one's
ASK_AGAIN: Final = (FCGI_MPXS_CONNS,)
_READ_SIZE = 4096
# int() refuses thousands of digits; so many are no number of requests
_MAX_DIGITS = 10


async def ask_values(address: Address, *, connect_timeout: float) -> dict[bytes, bytes]:
    """Return what the peer answers to GET_VALUES (specification 4.1): FCGI_MPXS_CONNS, FCGI_MAX_REQS, FCGI_MAX_CONNS.

    Args:
        address: of the peer.
        connect_timeout: seconds for a TCP handshake. An answer may take as long as the peer is busy.

    Raises:
        OSError: it cannot be reached.
        ConnectionLost: it closed without an answer.
        RemoteProtocolError: what it answered is no FastCGI.

    Cancelling closes the connection.
    """
    sock = await dial(address, connect_timeout=connect_timeout)
    try:
        return await _exchange(sock)
    finally:
        sock.close()


def requests_at_once(values: Mapping[bytes, bytes]) -> int | None:
    """Return how many requests a peer says it serves at once, at most one for each id; None where it does not."""
    told = _number(values, FCGI_MAX_REQS)
    return None if told is None else min(told, MAX_REQUEST_ID)


def connections_at_once(values: Mapping[bytes, bytes]) -> int | None:
    """Return how many connections a peer says it accepts; None where it does not."""
    return _number(values, FCGI_MAX_CONNS)


def _number(values: Mapping[bytes, bytes], name: bytes) -> int | None:
    told = values.get(name, b"")
    return int(told) or None if told.isdigit() and len(told) <= _MAX_DIGITS else None


async def _exchange(sock: socket.socket) -> dict[bytes, bytes]:
    client = ClientConnection()
    client.get_values(ASK_ALL)
    # a few bytes always fit into the buffer of a new connection
    sock.send(client.data_to_send())
    while True:
        await anyio.wait_readable(sock)
        try:
            data = sock.recv(_READ_SIZE)
        except BlockingIOError:
            continue
        for event in client.receive_data(data) if data else client.receive_eof():
            if isinstance(event, ValuesReceived):
                return event.values
            if isinstance(event, Terminated):
                if isinstance(event.error, RemoteProtocolError):
                    raise event.error
                raise ConnectionLost("the peer closed the connection instead of answering GET_VALUES")
