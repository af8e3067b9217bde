"""How requests end: END_REQUEST that is broken, refuses, comes twice or early; floods of STDERR; and silence."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from fcgi_async import CannotMultiplex, JobTimeout, Limits, Overloaded, RemoteProtocolError, UnknownRole
from fcgi_async.wire.spec import RecordType
from tests.dispatch.hostile.case import (
    Answers,
    Case,
    Fails,
    answer,
    says,
    says_and_closes,
    says_and_waits,
    says_for_ever,
)
from tests.dispatch.hostile.peer import NOT_MULTIPLEXING, Wire
from tests.handlers import HEAD
from tests.wire import frames
from tests.wire.frames import record

__all__ = ("CASES",)

LENGTH: Final = Fails(RemoteProtocolError, message="bytes of content instead of 8")
STATUS: Final = Fails(RemoteProtocolError, message="unknown protocol status")
SILENCE: Final = Fails(JobTimeout)
TAIL: Final = frames.values(NOT_MULTIPLEXING)


async def _says_nothing(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.silence()


async def _reads_nothing(wire: Wire, ids: Mapping[str, int]) -> None:
    await wire.deafness()


async def _answers_and_reads_nothing(wire: Wire, ids: Mapping[str, int]) -> None:
    await says(answer)(wire, ids)
    await wire.deafness()


def _end(request_id: int, body: bytes) -> bytes:
    return frames.stdout(request_id, HEAD + b"ok") + record(RecordType.END_REQUEST, request_id, body)


_BODIES = tuple(
    Case(
        f"END_REQUEST of {size} bytes",
        f"ends the request with {size} bytes instead of 8",
        LENGTH,
        at_requests=says(lambda n, size=size: _end(n, bytes(size))),  # type: ignore[misc]
    )
    for size in (0, 7, 9, 65535)
) + tuple(
    Case(
        f"protocol status {status}",
        f"ends the request with the protocol status {status}, which does not exist",
        STATUS,
        at_requests=says(lambda n, status=status: frames.stdout(n, HEAD) + frames.end(n, 0, status)),  # type: ignore[misc]
    )
    for status in (4, 255)
)

_STATUSES = (
    Case(
        "CANT_MPX_CONN",
        "refuses the one request on its connection because it does not multiplex",
        Fails(CannotMultiplex, may_have_run=False),
        at_requests=says(lambda n: frames.end(n, 0, 1)),
    ),
    Case(
        "OVERLOADED",
        "refuses the request because it has too many",
        Fails(Overloaded, may_have_run=False),
        at_requests=says(lambda n: frames.end(n, 0, 2)),
    ),
    Case(
        "UNKNOWN_ROLE",
        "refuses the request because it does not know what a responder is",
        Fails(UnknownRole, may_have_run=False),
        at_requests=says(lambda n: frames.end(n, 0, 3)),
    ),
    Case(
        "OVERLOADED and an app_status",
        "refuses the request, and gives an app_status with it",
        Fails(Overloaded, may_have_run=False),
        at_requests=says(lambda n: frames.end(n, 7, 2)),
    ),
    Case(
        "OVERLOADED after a log",
        "logs why it refuses the request, and refuses it",
        Fails(Overloaded, may_have_run=False),
        at_requests=says(lambda n: frames.stderr(n, b"too many") + frames.end(n, 0, 2)),
    ),
    Case(
        "OVERLOADED after a response",
        "refuses the request when it has answered it: what answers has run",
        Fails(Overloaded),
        at_requests=says(lambda n: frames.stdout(n, HEAD + b"ok") + frames.end(n, 0, 2)),
    ),
    Case(
        "CANT_MPX_CONN after half a head",
        "refuses the request in the middle of the head",
        Fails(CannotMultiplex),
        at_requests=says(lambda n: frames.stdout(n, HEAD[:9]) + frames.end(n, 0, 1)),
    ),
    Case(
        "app_status 1",
        "ends a whole response with app_status 1",
        Answers(app_status=1),
        at_requests=says(lambda n: frames.stdout(n, HEAD + b"ok") + frames.end(n, 1)),
    ),
    Case(
        "app_status 4294967295",
        "ends a whole response with the largest app_status",
        Answers(app_status=4_294_967_295),
        at_requests=says(lambda n: frames.stdout(n, HEAD + b"ok") + frames.end(n, 4_294_967_295)),
    ),
)

_ORDER = (
    Case(
        "STDOUT ended",
        "ends STDOUT and STDERR with empty records, as the specification says",
        Answers(),
        at_requests=says(
            lambda n: (
                frames.stdout(n, HEAD + b"ok")
                + record(RecordType.STDOUT, n)
                + record(RecordType.STDERR, n)
                + frames.end(n)
            )
        ),
    ),
    Case(
        "STDOUT after its end",
        "goes on with STDOUT after the empty record: PHP-FPM sends none, so they count for nothing",
        Answers(content=b"ok, more"),
        at_requests=says(
            lambda n: (
                frames.stdout(n, HEAD + b"ok")
                + record(RecordType.STDOUT, n)
                + frames.stdout(n, b", more")
                + frames.end(n)
            )
        ),
    ),
    Case(
        "END_REQUEST twice",
        "ends the request twice",
        Answers(strays=1),
        at_requests=says(lambda n: answer(n) + frames.end(n)),
    ),
    Case(
        "STDOUT after END_REQUEST",
        "prints after the end, as a script does behind fastcgi_finish_request()",
        Answers(strays=1),
        at_requests=says(lambda n: answer(n) + frames.stdout(n, b"SECRET")),
    ),
    Case(
        "a whole response after END_REQUEST",
        "sends its response a second time",
        Answers(strays=2),
        at_requests=says(lambda n: answer(n) + answer(n, b"SECRET")),
    ),
    Case(
        "output after the worker was free",
        "prints for a request after it has said that its worker is free",
        Answers(),
        at_requests=says(lambda n: answer(n) + TAIL + frames.stdout(n, b"SECRET")),
    ),
    Case(
        "answers the next request",
        "sends the response of a request that has not come yet behind this one",
        Answers(),
        at_requests=says(lambda n: answer(n) + TAIL + answer(n + 1, b"SECRET")),
    ),
    Case(
        "broken record after END_REQUEST",
        "sends a whole response and garbage after it, in one write",
        Answers(),
        at_requests=says(lambda n: answer(n) + b"\xff" * 100),
    ),
    Case(
        "half a record after END_REQUEST",
        "sends a whole response and closes in the record after it",
        Answers(),
        at_requests=says_and_closes(lambda n: answer(n) + frames.stdout(n, b"more")[:11]),
    ),
    Case(
        "END_REQUEST before the body",
        "answers a request of 5 MB before it has read any of its body, and then reads it",
        Answers(),
        size=5_000_000,
        at_params=says(answer),
    ),
)

_STDERR = (
    Case(
        "STDERR before STDOUT",
        "logs something before its response",
        Answers(stderr=b"log"),
        at_requests=says(lambda n: frames.stderr(n, b"log") + answer(n)),
    ),
    Case(
        "STDERR over its limit",
        "logs 6 MB where 1000 bytes are kept",
        Answers(stderr=b"x" * 1000, stderr_truncated=True),
        limits=Limits(stderr=1000),
        at_requests=says(lambda n: frames.stderr(n, b"x" * 60_000) * 100 + answer(n)),
    ),
    Case(
        "STDERR without end",
        "logs and never stops",
        SILENCE,
        run_timeout=0.05,
        at_requests=says_for_ever(lambda n: b"", lambda n: frames.stderr(n, b"x" * 60_000)),
    ),
    Case(
        "empty records without end",
        "sends empty STDOUT records and never stops",
        SILENCE,
        run_timeout=0.05,
        at_requests=says_for_ever(lambda n: b"", lambda n: record(RecordType.STDOUT, n) * 1000),
    ),
)


def _silent(name: str, peer: str, build: Callable[[int], bytes]) -> Case:
    return Case(name, peer, SILENCE, run_timeout=0.05, at_requests=says_and_waits(build))


_SILENCE = (
    Case("silent", "reads the request and says nothing", SILENCE, run_timeout=0.05, at_requests=_says_nothing),
    Case(
        "deaf",
        "reads nothing of a body of 5 MB",
        SILENCE,
        size=5_000_000,
        run_timeout=0.05,
        at_params=_reads_nothing,
    ),
    _silent("silent in a header", "says nothing more in the middle of a record's header", lambda n: answer(n)[:5]),
    _silent("silent in the head", "says nothing more in the middle of the head", lambda n: frames.stdout(n, HEAD[:9])),
    _silent("silent in a record", "says nothing more in the middle of a record", lambda n: answer(n)[:20]),
    _silent(
        "silent in the body", "says nothing more in the middle of the body", lambda n: frames.stdout(n, HEAD + b"o")
    ),
    _silent(
        "silent before END_REQUEST",
        "ends STDOUT and says nothing more",
        lambda n: frames.stdout(n, HEAD + b"ok") + record(RecordType.STDOUT, n),
    ),
    Case(
        "silent after END_REQUEST",
        "answers, and never says that its worker is free",
        Answers(),
        at_requests=says_and_waits(answer),
    ),
    Case(
        "deaf after END_REQUEST",
        "answers a request of 5 MB, and never reads its body",
        Answers(),
        size=5_000_000,
        at_params=_answers_and_reads_nothing,
    ),
)


CASES: Final = (*_BODIES, *_STATUSES, *_ORDER, *_STDERR, *_SILENCE)
