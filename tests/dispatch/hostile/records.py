"""Records that are broken, cut, of the wrong type or of the wrong request; and some that only look so."""

from __future__ import annotations

from typing import Final

from fcgi_async import ConnectionLost, RemoteProtocolError
from fcgi_async.wire.spec import RecordType
from tests.dispatch.hostile.case import Answers, Case, Fails, answer, says, says_and_closes
from tests.handlers import HEAD
from tests.wire import frames
from tests.wire.frames import record

__all__ = ("CASES",)

STDOUT, STDERR, END = RecordType.STDOUT, RecordType.STDERR, RecordType.END_REQUEST
CUT: Final = Fails(RemoteProtocolError, message="in the middle of a record")
VERSION: Final = Fails(RemoteProtocolError, message="does not speak FastCGI version 1")
NEVER_SENT: Final = Fails(RemoteProtocolError, message="a responder does not send records of type")
NEVER_BEGUN: Final = Fails(RemoteProtocolError, message="which was never begun")

_VERSIONS = (
    Case(
        "version 0",
        "begins with a record of version 0",
        VERSION,
        at_requests=says(lambda n: record(STDOUT, n, HEAD, version=0)),
    ),
    Case(
        "version 2",
        "begins with a record of version 2",
        VERSION,
        at_requests=says(lambda n: record(STDOUT, n, version=2)),
    ),
    Case(
        "version 255 in the middle",
        "sends a good record, then one of version 255",
        VERSION,
        at_requests=says(lambda n: frames.stdout(n, HEAD + b"part") + record(STDOUT, n, b"more", version=255)),
    ),
    Case(
        "version 2 at the end",
        "sends a whole response whose END_REQUEST has version 2",
        VERSION,
        at_requests=says(lambda n: frames.stdout(n, HEAD) + record(END, n, bytes(8), version=2)),
    ),
    Case(
        "length too large",
        "declares more content than it has, so that the next record is taken for content",
        CUT,
        at_requests=says_and_closes(lambda n: record(STDOUT, n, HEAD, length=65535) + frames.end(n)),
    ),
    Case(
        "length too small",
        "declares less content than it has, so that the rest is taken for a record",
        VERSION,
        at_requests=says(lambda n: record(STDOUT, n, HEAD, length=len(HEAD) - 9) + frames.end(n)),
    ),
)

_CUT_HEADERS = tuple(
    Case(
        f"first header cut at {size}",
        f"closes after {size} byte{'s' if size > 1 else ''} of its first header",
        CUT,
        at_requests=says_and_closes(lambda n, size=size: frames.stdout(n, HEAD)[:size]),  # type: ignore[misc]
    )
    for size in range(1, 8)
)

_CUT = (
    Case(
        "content cut in the first record",
        "closes in the content of its first record",
        CUT,
        at_requests=says_and_closes(lambda n: record(STDOUT, n, HEAD)[:-3]),
    ),
    Case(
        "padding cut in the first record",
        "closes in the padding of its first record",
        CUT,
        at_requests=says_and_closes(lambda n: record(STDOUT, n, HEAD, padding=bytes(8))[:-1]),
    ),
    Case(
        "header cut in the middle",
        "closes in a header between two parts of the response",
        CUT,
        at_requests=says_and_closes(lambda n: frames.stdout(n, HEAD + b"part") + frames.stdout(n, b"more")[:5]),
    ),
    Case(
        "content cut in the middle",
        "closes in the content of the second part of the response",
        CUT,
        at_requests=says_and_closes(
            lambda n: frames.stdout(n, HEAD + b"part") + record(STDOUT, n, bytes(60_000))[:30_000]
        ),
    ),
    Case(
        "padding cut in the middle",
        "closes in the padding of the second part of the response",
        CUT,
        at_requests=says_and_closes(
            lambda n: frames.stdout(n, HEAD) + record(STDOUT, n, b"more", padding=bytes(255))[:-200]
        ),
    ),
    Case(
        "header of END_REQUEST cut",
        "closes in the header of END_REQUEST",
        CUT,
        at_requests=says_and_closes(lambda n: answer(n)[:-12]),
    ),
    Case(
        "body of END_REQUEST cut",
        "closes one byte before the end of END_REQUEST",
        CUT,
        at_requests=says_and_closes(lambda n: answer(n)[:-1]),
    ),
    Case(
        "CGI head cut",
        "closes between two records, in the middle of the CGI head",
        Fails(ConnectionLost),
        at_requests=says_and_closes(lambda n: frames.stdout(n, HEAD[:10])),
    ),
    Case(
        "no END_REQUEST",
        "sends the whole response and closes instead of ending the request",
        Fails(ConnectionLost),
        at_requests=says_and_closes(lambda n: frames.stdout(n, HEAD + b"ok")),
    ),
)

_TYPES = (
    *(
        Case(
            f"unknown type {kind} for the request",
            f"sends a record of type {kind}, which does not exist, for the request",
            NEVER_SENT,
            at_requests=says(lambda n, kind=kind: record(kind, n, b"?") + answer(n)),  # type: ignore[misc]
        )
        for kind in (0, 12, 255)
    ),
    *(
        Case(
            f"unknown type {kind} for id 0",
            f"sends a management record of type {kind}, which does not exist",
            NEVER_SENT,
            at_requests=says(lambda n, kind=kind: record(kind, 0, b"?") + answer(n)),  # type: ignore[misc]
        )
        for kind in (0, 12, 255)
    ),
    *(
        Case(
            f"{kind.name} from the responder",
            f"sends {kind.name}, which only a client sends",
            NEVER_SENT,
            at_requests=says(lambda n, kind=kind: record(kind, n, bytes(8)) + answer(n)),  # type: ignore[misc]
        )
        for kind in (
            RecordType.BEGIN_REQUEST,
            RecordType.ABORT_REQUEST,
            RecordType.PARAMS,
            RecordType.STDIN,
            RecordType.DATA,
        )
    ),
    Case(
        "GET_VALUES from the responder",
        "asks the client for its values",
        NEVER_SENT,
        at_requests=says(lambda n: frames.get_values(frames.MPXS) + answer(n)),
    ),
)

_IDS = (
    Case(
        "STDOUT of the next id",
        "sends output for a request that was not begun yet",
        NEVER_BEGUN,
        at_requests=says(lambda n: frames.stdout(n + 1, HEAD + b"ok") + answer(n)),
    ),
    Case(
        "STDERR of id 65535",
        "logs for a request that was never begun",
        NEVER_BEGUN,
        at_requests=says(lambda n: frames.stderr(65535, b"log") + answer(n)),
    ),
    Case(
        "END_REQUEST of the next id",
        "ends a request that was not begun yet",
        NEVER_BEGUN,
        at_requests=says(lambda n: frames.stdout(n, HEAD) + frames.end(n + 1) + frames.end(n)),
    ),
    Case(
        "STDOUT of id 0",
        "sends output for the id of management records",
        NEVER_BEGUN,
        at_requests=says(lambda n: frames.stdout(0, HEAD + b"ok") + answer(n)),
    ),
    Case(
        "END_REQUEST of id 0",
        "ends the id of management records",
        NEVER_BEGUN,
        at_requests=says(lambda n: frames.stdout(n, HEAD) + frames.end(0) + frames.end(n)),
    ),
    Case(
        "STDOUT of the request before",
        "sends output of the request before, which is over, and then the response",
        Answers(strays=1),
        at_requests=says(lambda n: frames.stdout(n - 1, b"SECRET") + answer(n)),
    ),
    Case(
        "END_REQUEST of the request before",
        "ends the request before once more, in the middle of the response",
        Answers(strays=1),
        at_requests=says(
            lambda n: frames.stdout(n, HEAD) + frames.end(n - 1) + frames.stdout(n, b"ok") + frames.end(n)
        ),
    ),
)

_ODD = (
    Case(
        "padding of 255",
        "pads every record with 255 bytes",
        Answers(),
        at_requests=says(
            lambda n: (
                record(STDOUT, n, HEAD + b"ok", padding=b"\x01" * 255)
                + record(STDOUT, n, padding=b"\x01" * 255)
                + record(END, n, bytes(8), padding=b"\x01" * 255)
            )
        ),
    ),
    Case(
        "reserved bytes set",
        "sets every reserved byte, in headers and in END_REQUEST",
        Answers(),
        at_requests=says(
            lambda n: (
                record(STDOUT, n, HEAD + b"ok", reserved=255) + record(END, n, bytes(5) + b"\xff" * 3, reserved=255)
            )
        ),
    ),
    Case(
        "largest record",
        "sends a record of 65535 bytes and 255 of padding",
        Answers(content=b"x" * (65535 - len(HEAD))),
        at_requests=says(
            lambda n: record(STDOUT, n, HEAD + b"x" * (65535 - len(HEAD)), padding=bytes(255)) + frames.end(n)
        ),
    ),
    Case(
        "flood of empty records",
        "sends 20,000 empty STDOUT and STDERR records before, in and after its response",
        Answers(),
        at_requests=says(
            lambda n: (
                _empty(n, 3333)
                + frames.stdout(n, HEAD)
                + _empty(n, 3333)
                + frames.stdout(n, b"ok")
                + _empty(n, 3334)
                + frames.end(n)
            )
        ),
    ),
    Case(
        "a record for each byte",
        "sends the response in records of one byte",
        Answers(),
        at_requests=says(
            lambda n: b"".join(record(STDOUT, n, bytes((byte,))) for byte in HEAD + b"ok") + frames.end(n)
        ),
    ),
)


def _empty(request_id: int, count: int) -> bytes:
    return (record(STDOUT, request_id) + record(STDERR, request_id)) * count


CASES: Final = (*_VERSIONS, *_CUT_HEADERS, *_CUT, *_TYPES, *_IDS, *_ODD)
