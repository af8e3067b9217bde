"""GET_VALUES that is answered wrongly, late, twice or never; and unsolicited management records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from fcgi_async import ConnectError, QueueTimeout, RemoteProtocolError
from fcgi_async.wire.spec import RecordType
from tests.dispatch.hostile.case import Answers, Case, Fails, answer, says, says_and_closes
from tests.dispatch.hostile.peer import NOT_MULTIPLEXING, Strike, Wire
from tests.handlers import HEAD
from tests.wire import frames
from tests.wire.frames import MPXS, pair, record

__all__ = ("CASES",)

REFUSED: Final = Fails(ConnectError, may_have_run=False, message="cannot reach PHP-FPM")
WAITED: Final = Fails(QueueTimeout, may_have_run=False)
UNASKED: Final = Fails(RemoteProtocolError, message="without a GET_VALUES")
RESULT: Final = RecordType.GET_VALUES_RESULT
VALUES: Final = frames.values(NOT_MULTIPLEXING)


def _instead(data: bytes, *, closes: bool = False) -> Strike:
    """Send this instead of the two answers that a new connection asks for."""

    async def strike(wire: Wire, ids: Mapping[str, int]) -> None:
        for _ in range(2):
            await wire.record()
        await wire.send(data)
        await (wire.close() if closes else wire.silence())

    return strike


async def _knows_no_values(wire: Wire, ids: Mapping[str, int]) -> None:
    while True:
        record_type, request_id, content = await wire.record()
        if record_type == RecordType.GET_VALUES:
            await wire.send(frames.unknown_type(RecordType.GET_VALUES))
        elif record_type == RecordType.STDIN and not content:
            await wire.send(answer(request_id))


def _greeting(name: str, peer: str, data: bytes) -> Case:
    """A case of a first answer that is no FastCGI: the job fails at once, and the next gets a new connection."""
    return Case(name, peer, REFUSED, at_connection=_instead(data))


def _values(name: str, peer: str, content: bytes) -> Case:
    """A case of values that are odd, and no reason not to serve the job."""
    return Case(name, peer, Answers(), values=content, at_requests=says(answer))


_GREETINGS = (
    _greeting("values are garbage", "answers GET_VALUES with a pair that is cut", record(RESULT, 0, b"\x7f\x7fabc")),
    _greeting("values of 2 GB", "gives a pair a length of 2^31 - 1", record(RESULT, 0, b"\xff\xff\xff\xff\x01x")),
    _greeting("values with half a length", "ends its values in a length of four bytes", record(RESULT, 0, b"\x80\x00")),
    _greeting("values for a request", "sends GET_VALUES_RESULT with a request id", record(RESULT, 1, NOT_MULTIPLEXING)),
    _greeting("UNKNOWN_TYPE cut short", "answers UNKNOWN_TYPE with 7 bytes", record(11, 0, b"\x09" + bytes(6))),
    _greeting("UNKNOWN_TYPE of another", "does not know a type that was not sent", frames.unknown_type(77)),
    _greeting("output before any request", "sends STDOUT before there is a request", frames.stdout(1, HEAD)),
    _greeting("end before any request", "sends END_REQUEST before there is a request", frames.end(1)),
    _greeting("asks instead of answering", "answers GET_VALUES with GET_VALUES", frames.get_values(MPXS)),
    _greeting("version 2 in its values", "answers GET_VALUES in version 2", record(RESULT, 0, version=2)),
    Case(
        "never answers",
        "reads GET_VALUES and says nothing: the job waits in the queue, and a new connection is tried after a second",
        WAITED,
        queue_timeout=0.05,
        at_connection=_instead(b""),
    ),
    Case(
        "answers one of two",
        "answers one GET_VALUES of two",
        WAITED,
        queue_timeout=0.05,
        at_connection=_instead(VALUES),
    ),
    Case(
        "half an answer",
        "says nothing more in the middle of its values",
        WAITED,
        queue_timeout=0.05,
        at_connection=_instead(VALUES + VALUES[:-3]),
    ),
    Case(
        "closes instead of answering",
        "closes each connection when it has read GET_VALUES",
        REFUSED,
        at_connection=_instead(b"", closes=True),
        struck=None,
        next_served=False,
    ),
    Case(
        "closes in its answer",
        "closes each connection in the middle of its values",
        REFUSED,
        at_connection=_instead(VALUES[:-3], closes=True),
        struck=None,
        next_served=False,
    ),
    Case(
        "closes in its answer twice",
        "closes two connections in the middle of its values, and serves the third",
        Answers(),
        at_connection=_instead(VALUES[:-3], closes=True),
        struck=2,
        at_requests=says(answer),
    ),
    Case(
        "closes after its answer",
        "closes a connection after its values, and serves the next",
        Answers(),
        at_connection=_instead(VALUES * 2, closes=True),
        at_requests=says(answer),
        attempts=None,
        is_fpm=True,
    ),
    Case(
        "answers three times",
        "sends its values three times where two were asked for",
        Answers(),
        at_connection=_instead(VALUES * 3),
        at_requests=says(answer),
    ),
)

_ODD = (
    _values("no values", "knows none of the names that it is asked for", b""),
    _values("other values", "tells other things than it is asked for", pair(b"X" * 200, b"y" * 60_000)),
    _values("values twice", "tells the same name twice", NOT_MULTIPLEXING * 2),
    _values(
        "values that contradict",
        "says first that it does not multiplex, then that it does",
        NOT_MULTIPLEXING + pair(MPXS, b"1"),
    ),
    _values("MPXS_CONNS that is a word", "answers FCGI_MPXS_CONNS with `yes`", pair(MPXS, b"yes")),
    _values("MPXS_CONNS that is empty", "answers FCGI_MPXS_CONNS with nothing", pair(MPXS, b"")),
    _values("MAX_REQS of 0", "multiplexes no request at all", pair(MPXS, b"1") + pair(b"FCGI_MAX_REQS", b"0")),
    _values("MAX_REQS of -1", "multiplexes -1 requests", pair(MPXS, b"1") + pair(b"FCGI_MAX_REQS", b"-1")),
    _values(
        "MAX_REQS of 5000 digits",
        "multiplexes more requests than can be counted",
        pair(MPXS, b"1") + pair(b"FCGI_MAX_REQS", b"9" * 5000),
    ),
    Case(
        "does not know GET_VALUES",
        "answers GET_VALUES with UNKNOWN_TYPE",
        Answers(),
        at_connection=_knows_no_values,
        struck=None,
    ),
)

_UNASKED = (
    Case(
        "answers before the end",
        "says that its worker is free, and then sends the response",
        Answers(),
        at_requests=says(lambda n: VALUES + answer(n)),
    ),
    Case(
        "answers before the end, twice",
        "says twice that its worker is free, in the middle of the response",
        UNASKED,
        at_requests=says(lambda n: frames.stdout(n, HEAD) + VALUES * 2 + frames.end(n)),
    ),
    Case(
        "unknown management record",
        "does not know a type that was not sent, in the middle of the response",
        Fails(RemoteProtocolError, message="does not know records of type 77"),
        at_requests=says(lambda n: frames.stdout(n, HEAD) + frames.unknown_type(77) + frames.end(n)),
    ),
    Case(
        "garbage in the middle",
        "sends values that are cut, in the middle of the response",
        Fails(RemoteProtocolError, message="GET_VALUES_RESULT is malformed"),
        at_requests=says(lambda n: frames.stdout(n, HEAD) + record(RESULT, 0, b"\x7f") + frames.end(n)),
    ),
    Case(
        "garbage in the tail",
        "sends a whole response, and values that are cut after it",
        Answers(),
        at_requests=says(lambda n: answer(n) + record(RESULT, 0, b"\x7f")),
    ),
    Case(
        "tail answered twice",
        "says twice that its worker is free",
        Answers(),
        at_requests=says(lambda n: answer(n) + VALUES * 2),
    ),
    Case(
        "closes instead of the tail",
        "closes behind END_REQUEST, as a worker does that has served its last request",
        Answers(),
        at_requests=says_and_closes(answer),
    ),
)

CASES: Final = (*_GREETINGS, *_ODD, *_UNASKED)
