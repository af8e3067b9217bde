"""Ask a peer for its values, on a separate connection."""

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

__all__ = ("ASK_AGAIN", "ASK_ALL", "GATEWAY_VALUE", "ask_values", "connections_at_once", "requests_at_once")

# all values that a peer reports
ASK_ALL: Final = (FCGI_MPXS_CONNS, FCGI_MAX_REQS, FCGI_MAX_CONNS)
# ask Go's net/http/fcgi for a name that it knows: otherwise its second, empty answer looks like the next one's
ASK_AGAIN: Final = (FCGI_MPXS_CONNS,)
# a gateway reports this value in addition to those of the specification
GATEWAY_VALUE: Final = b"FCGI_ASYNC_GATEWAY"
_READ_SIZE = 4096
# int() refuses thousands of digits; such a value is not a sensible number
_MAX_DIGITS = 10


async def ask_values(address: Address, *, connect_timeout: float) -> dict[bytes, bytes]:
    """Return the peer's answer to GET_VALUES (specification 4.1): FCGI_MPXS_CONNS, FCGI_MAX_REQS, FCGI_MAX_CONNS.

    Args:
        address: the peer's address.
        connect_timeout: seconds for a TCP handshake. There is no limit for the answer: a busy peer may take long.

    Raises:
        OSError: the peer cannot be reached.
        ConnectionLost: it closed without an answer.
        RemoteProtocolError: its answer is not FastCGI.

    Cancelling closes the connection.
    """
    sock = await dial(address, connect_timeout=connect_timeout)
    try:
        return await _exchange(sock)
    finally:
        sock.close()


def requests_at_once(values: Mapping[bytes, bytes]) -> int | None:
    """Return how many requests a peer reports to serve at once, at most one for each id; None if it reports nothing."""
    told = _number(values, FCGI_MAX_REQS)
    return None if told is None else min(told, MAX_REQUEST_ID)


def connections_at_once(values: Mapping[bytes, bytes]) -> int | None:
    """Return how many connections a peer reports to accept; None if it does not report it."""
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
