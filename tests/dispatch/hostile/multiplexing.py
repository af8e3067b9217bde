"""Peers that multiplex: what one request's trouble means for those beside it on the connection."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fcgi_async import (
    CannotMultiplex,
    ConnectionLost,
    JobTimeout,
    Overloaded,
    RemoteProtocolError,
    ResponseTooLarge,
    UnknownRole,
)
from tests.dispatch.hostile.case import Answers, Case, Expected, Fails, answer
from tests.dispatch.hostile.peer import Strike, Wire
from tests.handlers import HEAD
from tests.wire import frames

__all__ = ("CASES",)

LOST: Final = Fails(ConnectionLost)
BROKEN: Final = Fails(RemoteProtocolError)
A, B, C = Answers(content=b"a"), Answers(content=b"b"), Answers(content=b"c")
VALUES: Final = frames.pair(frames.MPXS, b"1")


def _says(build: Callable[[int, int, int], bytes]) -> Strike:
    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(build(ids["a"], ids["b"], ids["c"]))

    return strike


def _says_and_closes(build: Callable[[int, int, int], bytes]) -> Strike:
    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        await wire.send(build(ids["a"], ids["b"], ids["c"]))
        await wire.close()

    return strike


async def _resets(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.reset()


async def _floods(wire: Wire, ids: Mapping[str, int]) -> None:
    # on a connection of its own the flood would meet the end of the connection
    flood = frames.stdout(ids["a"], b"x" * 10_000)
    await wire.send(flood * 10 + answer(ids["b"], b"b") + flood * 10 + answer(ids["c"], b"c"))


def _shared(
    name: str, peer: str, expected: tuple[Expected, Expected, Expected], strike: Strike, **timeout: float
) -> Case:
    """Three jobs on one connection; where it takes a timeout it is the first job's."""
    return Case(
        name,
        peer,
        dict(zip("abc", expected, strict=True)),
        at_requests=strike,
        values=VALUES,
        impatient=frozenset("a"),
        run_timeout=timeout.get("run_timeout"),
        where="tcp" if strike is _resets else "unix",
    )


_ROUTED = (
    _shared(
        "replies in the wrong order",
        "answers three requests in the reverse order",
        (A, B, C),
        _says(lambda a, b, c: answer(c, b"c") + answer(b, b"b") + answer(a, b"a")),
    ),
    _shared(
        "replies interleaved",
        "mixes the records of three responses",
        (A, B, C),
        _says(
            lambda a, b, c: (
                frames.stdout(b, HEAD[:7])
                + frames.stdout(a, HEAD)
                + frames.stdout(c, HEAD[:-1])
                + frames.stdout(b, HEAD[7:])
                + frames.stdout(a, b"a")
                + frames.stdout(c, HEAD[-1:] + b"c")
                + frames.end(a)
                + frames.stdout(b, b"b")
                + frames.end(c)
                + frames.end(b)
            )
        ),
    ),
    _shared(
        "log in the middle",
        "logs for one of three requests between the responses of the others",
        (A, Answers(content=b"b", stderr=b"log"), C),
        _says(lambda a, b, c: answer(a, b"a") + frames.stderr(b, b"log") + answer(c, b"c") + answer(b, b"b")),
    ),
    _shared(
        "output after one's end",
        "goes on with a request that it has ended: dropped, and the others are served",
        (Answers(content=b"a", strays=2), B, C),
        _says(
            lambda a, b, c: (
                answer(a, b"a") + frames.stdout(a, b"SECRET") + frames.end(a) + answer(b, b"b") + answer(c, b"c")
            )
        ),
    ),
)

_ONE_SUFFERS = (
    _shared(
        "one is silent",
        "answers two requests, and says nothing of the third",
        (Fails(JobTimeout), B, C),
        _says(lambda a, b, c: answer(b, b"b") + answer(c, b"c")),
        run_timeout=0.05,
    ),
    _shared(
        "one is refused with CANT_MPX_CONN",
        "refuses one of three requests because it does not multiplex after all",
        (Fails(CannotMultiplex, may_have_run=False), B, C),
        _says(lambda a, b, c: frames.end(a, 0, 1) + answer(b, b"b") + answer(c, b"c")),
    ),
    _shared(
        "one is refused with OVERLOADED",
        "refuses one of three requests because it has too many",
        (Fails(Overloaded, may_have_run=False), B, C),
        _says(lambda a, b, c: answer(b, b"b") + frames.end(a, 0, 2) + answer(c, b"c")),
    ),
    _shared(
        "one is refused with UNKNOWN_ROLE",
        "refuses one of three requests because of its role",
        (Fails(UnknownRole, may_have_run=False), B, C),
        _says(lambda a, b, c: answer(b, b"b") + answer(c, b"c") + frames.end(a, 0, 3)),
    ),
    _shared(
        "one has a broken head",
        "sends a head that is none for one of three requests",
        (Fails(RemoteProtocolError, message="not a header"), B, C),
        _says(lambda a, b, c: frames.stdout(a, b"<html>\n\n") + answer(b, b"b") + answer(c, b"c") + frames.end(a)),
    ),
    _shared(
        "one has no head",
        "ends one of three requests without a response",
        (Fails(RemoteProtocolError, message="before its head was complete"), B, C),
        _says(lambda a, b, c: frames.end(a) + answer(b, b"b") + answer(c, b"c")),
    ),
    _shared(
        "one has a head without end",
        "sends a head over its limit for one of three requests",
        (Fails(ResponseTooLarge, message="Limits.head"), B, C),
        _floods,
    ),
)

_ALL_SUFFER = (
    _shared(
        "END_REQUEST of another id",
        "ends a request that was never begun",
        (BROKEN, BROKEN, BROKEN),
        _says(lambda a, b, c: frames.stdout(a, HEAD) + frames.end(a + b + c)),
    ),
    _shared(
        "END_REQUEST is broken",
        "ends one of three requests with a protocol status that does not exist",
        (BROKEN, BROKEN, BROKEN),
        _says(lambda a, b, c: frames.end(a, 0, 9)),
    ),
    _shared(
        "garbage",
        "sends garbage, with one of three responses begun",
        (BROKEN, BROKEN, BROKEN),
        _says(lambda a, b, c: frames.stdout(a, HEAD + b"a") + b"\xff" * 100),
    ),
    _shared(
        "garbage after one's end",
        "answers one of three requests, and sends garbage",
        (A, BROKEN, BROKEN),
        _says(lambda a, b, c: answer(a, b"a") + frames.stdout(b, HEAD) + b"\xff" * 100),
    ),
    _shared(
        "closes without a byte, all may have run",
        "closes normally; who multiplexes has read all of it, so that this proves nothing",
        (LOST, LOST, LOST),
        _says_and_closes(lambda a, b, c: b""),
    ),
    _shared(
        "closes after one's end",
        "answers one of three requests, begins another, and closes",
        (A, LOST, LOST),
        _says_and_closes(lambda a, b, c: answer(a, b"a") + frames.stdout(b, HEAD + b"part")),
    ),
    _shared("resets all", "resets the connection under three requests", (LOST, LOST, LOST), _resets),
)

CASES: Final = (*_ROUTED, *_ONE_SUFFERS, *_ALL_SUFFER)
