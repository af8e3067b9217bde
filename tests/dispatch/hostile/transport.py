"""Connections that end or stall at every stage, peers that speak another protocol, and bytes in odd pieces."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Final

from fcgi_async import ConnectError, ConnectionLost, QueueTimeout, RemoteProtocolError
from tests.dispatch.hostile.case import Answers, Case, Fails, answer, says, says_and_waits
from tests.dispatch.hostile.peer import NOT_MULTIPLEXING, Gone, Strike, Wire
from tests.handlers import HEAD
from tests.wire import frames

__all__ = ("CASES",)

LOST: Final = Fails(ConnectionLost)
REFUSED: Final = Fails(ConnectError, may_have_run=False, message="it closed before it answered")
NOT_FASTCGI: Final = Fails(ConnectError, may_have_run=False, message="does not speak FastCGI")
WAITED: Final = Fails(QueueTimeout, may_have_run=False)
# no record begins like this
HTTP: Final = b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n"
TLS_HELLO: Final = b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03\x03" + bytes(116)
TLS_ALERT: Final = b"\x15\x03\x01\x00\x02\x02\x46"
SSH: Final = b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n"


async def _leaves(wire: Wire, ids: Mapping[str, int]) -> None:
    raise Gone


async def _closes(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.close()


async def _resets(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.reset()


async def _says_nothing(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.silence()


async def _reads_nothing(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.deafness()


async def _greets_and_reads_no_more(wire: Wire, ids: Mapping[str, int]) -> None:
    # the byte that follows the two questions stays unread
    for _ in range(2):
        await wire.record()
        await wire.send(frames.values(NOT_MULTIPLEXING))
    await wire.deafness()


async def _greets_and_takes_no_more(wire: Wire, ids: Mapping[str, int]) -> None:
    for _ in range(2):
        await wire.record()
    await wire.receive(1)
    wire.sock.shutdown(socket.SHUT_RD)
    await wire.send(frames.values(NOT_MULTIPLEXING) * 2)
    await wire.deafness()


async def _takes_no_more(wire: Wire, ids: Mapping[str, int]) -> None:
    wire.sock.shutdown(socket.SHUT_RD)
    await says(answer)(wire, ids)
    await wire.deafness()


async def _logs_and_closes(wire: Wire, ids: Mapping[str, int]) -> None:
    await says(lambda n: frames.stderr(n, b"log"))(wire, ids)
    await wire.close()


async def _resets_in_the_body(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.receive(1_000_000)
    await wire.reset()


async def _closes_in_the_body(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.receive(1_000_000)
    await wire.close()


def _banner(data: bytes, *, closes: bool = False) -> Strike:
    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(data)
        await (wire.close() if closes else wire.silence())

    return strike


def _after(data: bytes, then: Strike) -> Strike:
    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await says(lambda n: frames.stdout(n, data))(wire, ids)
        await then(wire, ids)

    return strike


_AT_ACCEPT = (
    Case(
        "leaves at accept",
        "closes each connection at once, with what came on it unread",
        REFUSED,
        at_connection=_leaves,
        struck=None,
        next_served=False,
    ),
    Case(
        "closes at accept",
        "closes each connection at once, normally",
        REFUSED,
        at_connection=_closes,
        struck=None,
        next_served=False,
    ),
    Case(
        "resets at accept",
        "resets each connection at once",
        REFUSED,
        at_connection=_resets,
        struck=None,
        next_served=False,
    ),
    Case(
        "resets at accept over TCP",
        "resets each connection at once, over TCP",
        REFUSED,
        at_connection=_resets,
        struck=None,
        next_served=False,
        where="tcp",
    ),
    Case(
        "closes two at accept",
        "closes two connections at once, and serves the third",
        Answers(),
        at_connection=_closes,
        struck=2,
        at_requests=says(answer),
    ),
    Case(
        "resets two at accept",
        "resets two connections at once, and serves the third",
        Answers(),
        at_connection=_resets,
        struck=2,
        at_requests=says(answer),
    ),
    Case(
        "silent at accept",
        "accepts a connection, reads it and says nothing",
        WAITED,
        at_connection=_says_nothing,
        queue_timeout=0.05,
    ),
    Case(
        "deaf at accept",
        "accepts a connection and does nothing",
        WAITED,
        at_connection=_reads_nothing,
        queue_timeout=0.05,
    ),
    Case(
        "deaf after its answer",
        "answers GET_VALUES, and does not read the byte after it",
        WAITED,
        at_connection=_greets_and_reads_no_more,
        queue_timeout=0.05,
    ),
    Case(
        "takes no job",
        "answers GET_VALUES, and closes its reading side: the job was not written, and goes to the next connection",
        Answers(),
        at_connection=_greets_and_takes_no_more,
        at_requests=says(answer),
    ),
)

_OTHER_PROTOCOLS = (
    Case(
        "HTTP server",
        "answers as an HTTP server does, and closes",
        NOT_FASTCGI,
        at_connection=_banner(HTTP, closes=True),
        struck=None,
        next_served=False,
    ),
    Case(
        "TLS server",
        "sends a TLS handshake",
        NOT_FASTCGI,
        at_connection=_banner(TLS_HELLO),
        struck=None,
        next_served=False,
    ),
    Case(
        "TLS alert",
        "answers each connection with a TLS alert, 7 bytes, and closes",
        Fails(ConnectError, may_have_run=False),
        at_connection=_banner(TLS_ALERT, closes=True),
        struck=None,
        next_served=False,
    ),
    Case(
        "SSH server",
        "greets as an SSH server does",
        NOT_FASTCGI,
        at_connection=_banner(SSH),
        struck=None,
        next_served=False,
    ),
    Case(
        "short greeting",
        "greets with less bytes than a record's header, and says nothing more",
        WAITED,
        at_connection=_banner(b"220 \r\n"),
        queue_timeout=0.05,
    ),
    Case(
        "HTTP in the response",
        "answers a job as an HTTP server does",
        Fails(RemoteProtocolError, message="a record starts with b'HTTP/1.1'"),
        at_requests=says(lambda n: HTTP),
    ),
    Case(
        "TLS in the response",
        "answers a job with a TLS handshake",
        Fails(RemoteProtocolError, message="does not speak FastCGI"),
        at_requests=says(lambda n: TLS_HELLO),
    ),
    Case(
        "zeros",
        "answers a job with zeros",
        Fails(RemoteProtocolError, message="does not speak FastCGI"),
        at_requests=says(lambda n: bytes(1000)),
    ),
)

_UNDER_A_JOB = tuple(
    case
    for where, over in (("unix", ""), ("tcp", " over TCP"))
    for case in (
        Case(
            f"resets unread{over}",
            f"resets the connection with the body unread{over}",
            LOST,
            where=where,
            at_params=_resets,
        ),
        Case(
            f"resets the job{over}",
            f"resets the connection when it has read the request{over}",
            LOST,
            where=where,
            at_requests=_resets,
        ),
        Case(
            f"resets in the head{over}",
            f"resets the connection in the middle of the head{over}",
            LOST,
            where=where,
            at_requests=_after(HEAD[:9], _resets),
        ),
        Case(
            f"resets in the response{over}",
            f"resets the connection in the middle of the response{over}",
            LOST,
            where=where,
            at_requests=_after(HEAD + b"part", _resets),
        ),
        Case(
            f"closes in the response{over}",
            f"closes normally in the middle of the response{over}",
            LOST,
            where=where,
            at_requests=_after(HEAD + b"part", _closes),
        ),
        Case(
            f"resets in the upload{over}",
            f"resets the connection in a body of 5 MB{over}",
            LOST,
            where=where,
            size=5_000_000,
            at_params=_resets_in_the_body,
        ),
        Case(
            f"closes in the upload{over}",
            f"closes normally in a body of 5 MB{over}",
            LOST,
            where=where,
            size=5_000_000,
            at_params=_closes_in_the_body,
        ),
    )
)

_WITHOUT_A_BYTE = (
    Case(
        "closes without a byte",
        "closes normally when it has read the request: this proves nothing of a peer that is not known to be FPM",
        LOST,
        at_requests=_closes,
    ),
    Case(
        "closes without a byte over TCP",
        "closes normally when it has read the request, over TCP, where this proves nothing",
        LOST,
        where="tcp",
        at_requests=_closes,
    ),
    Case(
        "closes after STDERR",
        "logs something and closes normally",
        LOST,
        at_requests=_logs_and_closes,
    ),
    Case("takes no more", "closes its reading side, and answers", Answers(), at_requests=_takes_no_more),
)


_PIECES = (
    Case("byte by byte", "sends every byte in a write of its own", Answers(), drip=True, at_requests=says(answer)),
    Case(
        "byte by byte over TCP",
        "sends every byte in a segment of its own",
        Answers(),
        drip=True,
        where="tcp",
        at_requests=says(answer),
    ),
    Case(
        "garbage byte by byte",
        "sends garbage, every byte in a write of its own",
        Fails(RemoteProtocolError, message="does not speak FastCGI"),
        drip=True,
        at_requests=says(lambda n: frames.stdout(n, HEAD) + HTTP),
    ),
    Case(
        "all in one write",
        "sends a response, the answer that its worker is free, and garbage after it in one write",
        Answers(),
        at_requests=says_and_waits(lambda n: answer(n) + frames.values(NOT_MULTIPLEXING) + HTTP),
    ),
)

CASES: Final = (*_AT_ACCEPT, *_OTHER_PROTOCOLS, *_UNDER_A_JOB, *_WITHOUT_A_BYTE, *_PIECES)
