"""The life of a request, as one table that both halves use.

Theory of operation
===================

A connection carries many requests, each named by its request id. A request has one state, and because every record that
changes it crosses the wire, client and responder go through the same states: the client when it sends BEGIN_REQUEST,
the responder when it receives it. So there is one table for both sides. An illegal transition is a `LocalProtocolError`
on the side that tried to send, before anything changes, and a `RemoteProtocolError` on the side that received.

    IDLE --BEGIN--> PARAMS --END_STREAM--> STDIN --END_STREAM--> AWAITING --END--> IDLE        (a Responder)
                      |                      |                      |
                      |                      +--END--> DISCARDING_STDIN --END_STREAM--> IDLE
                      |                      |                      |
                      +--------ABORT---------+---------ABORT--------+--> ABORTED --END--> IDLE

END_STREAM (an empty PARAMS, STDIN or DATA record) moves on to the next stream of the role: a Responder has PARAMS and
STDIN, an Authorizer only PARAMS, a Filter also DATA. Only this depends on the role; `NEXT_STREAM` has it.

What is not in the table, and why:

* END before the client's streams have ended is legal (a script that does not read its body, fastcgi_finish_request()).
  The request is DISCARDING_* then: PHP-FPM still reads the body up to CONTENT_LENGTH, so the client finishes it. In
  PARAMS it can only be a rejection (UNKNOWN_ROLE, CANT_MPX_CONN, OVERLOADED), and the request has ended. If the client
  had gone on meanwhile, the request is DISCARDING_* on its side only, and its records are strays on the responder's
  side.
* STDOUT and STDERR have end-of-stream records of their own in the specification, but PHP-FPM never sends them;
  END_REQUEST alone ends the response, and empty STDOUT and STDERR records are ignored.
* A record for an id whose response is complete is a *stray*: PHP-FPM sends what a script prints after
  fastcgi_finish_request() under the finished id. Strays are legal until a GET_VALUES is answered while no request is
  unfinished, because that answer means that the worker is free; they are always legal if the peer multiplexes. A record
  for an id that never began is an error.
* GET_VALUES, GET_VALUES_RESULT and UNKNOWN_TYPE belong to the connection, not to a request.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from fcgi_async.wire.spec import RecordType, Role

__all__ = (
    "NEXT_STREAM",
    "OPEN_STREAM",
    "RESPONSE_COMPLETE",
    "STREAM_INPUT",
    "TRANSITIONS",
    "Input",
    "RequestState",
    "advance",
)


class RequestState(StrEnum):
    """The state of one request."""

    IDLE = "the id is free"
    PARAMS = "BEGIN_REQUEST was sent; parameters follow"
    STDIN = "the parameters are complete; the body follows"
    DATA = "the body is complete; a Filter's file follows"
    AWAITING = "all was sent; the response is awaited"
    DISCARDING_STDIN = "the response is complete; the rest of the body is still owed"
    DISCARDING_DATA = "the response is complete; the rest of a Filter's file is still owed"
    ABORTED = "ABORT_REQUEST was sent; END_REQUEST is awaited"


class Input(StrEnum):
    """What can happen to a request."""

    BEGIN = "BEGIN_REQUEST"
    PARAMS = "PARAMS with content"
    STDIN = "STDIN with content"
    DATA = "DATA with content"
    END_STREAM = "an empty PARAMS, STDIN or DATA record"
    ABORT = "ABORT_REQUEST"
    OUTPUT = "STDOUT or STDERR"
    END = "END_REQUEST"


NEXT_STREAM: Final[dict[tuple[Role, RequestState], RequestState]] = {
    (Role.RESPONDER, RequestState.PARAMS): RequestState.STDIN,
    (Role.RESPONDER, RequestState.STDIN): RequestState.AWAITING,
    (Role.AUTHORIZER, RequestState.PARAMS): RequestState.AWAITING,
    (Role.FILTER, RequestState.PARAMS): RequestState.STDIN,
    (Role.FILTER, RequestState.STDIN): RequestState.DATA,
    (Role.FILTER, RequestState.DATA): RequestState.AWAITING,
    (Role.RESPONDER, RequestState.DISCARDING_STDIN): RequestState.IDLE,
    (Role.FILTER, RequestState.DISCARDING_STDIN): RequestState.DISCARDING_DATA,
    (Role.FILTER, RequestState.DISCARDING_DATA): RequestState.IDLE,
}

# None: the next stream of the role, from NEXT_STREAM
TRANSITIONS: Final[dict[RequestState, dict[Input, RequestState | None]]] = {
    RequestState.IDLE: {
        Input.BEGIN: RequestState.PARAMS,
    },
    RequestState.PARAMS: {
        Input.PARAMS: RequestState.PARAMS,
        Input.END_STREAM: None,
        Input.ABORT: RequestState.ABORTED,
        Input.END: RequestState.IDLE,
    },
    RequestState.STDIN: {
        Input.STDIN: RequestState.STDIN,
        Input.END_STREAM: None,
        Input.ABORT: RequestState.ABORTED,
        Input.OUTPUT: RequestState.STDIN,
        Input.END: RequestState.DISCARDING_STDIN,
    },
    RequestState.DATA: {
        Input.DATA: RequestState.DATA,
        Input.END_STREAM: None,
        Input.ABORT: RequestState.ABORTED,
        Input.OUTPUT: RequestState.DATA,
        Input.END: RequestState.DISCARDING_DATA,
    },
    RequestState.AWAITING: {
        Input.ABORT: RequestState.ABORTED,
        Input.OUTPUT: RequestState.AWAITING,
        Input.END: RequestState.IDLE,
    },
    RequestState.DISCARDING_STDIN: {
        Input.STDIN: RequestState.DISCARDING_STDIN,
        Input.END_STREAM: None,
        Input.ABORT: RequestState.IDLE,
    },
    RequestState.DISCARDING_DATA: {
        Input.DATA: RequestState.DISCARDING_DATA,
        Input.END_STREAM: None,
        Input.ABORT: RequestState.IDLE,
    },
    RequestState.ABORTED: {
        Input.OUTPUT: RequestState.ABORTED,
        Input.END: RequestState.IDLE,
    },
}

# the streams that a client writes, and the input for their content
STREAM_INPUT: Final[dict[RecordType, Input]] = {
    RecordType.PARAMS: Input.PARAMS,
    RecordType.STDIN: Input.STDIN,
    RecordType.DATA: Input.DATA,
}

# the stream that the client may still write and end in a state
OPEN_STREAM: Final[dict[RequestState, RecordType]] = {
    state: stream for state, row in TRANSITIONS.items() for stream, what in STREAM_INPUT.items() if what in row
}

# what the responder still sends in these states is a stray
RESPONSE_COMPLETE: Final = frozenset({RequestState.DISCARDING_STDIN, RequestState.DISCARDING_DATA})


def advance(state: RequestState, what: Input, role: Role) -> RequestState | None:
    """Return the state that follows `state` after `what`, or None if the table does not allow it."""
    row = TRANSITIONS[state]
    if what not in row:
        return None
    following = row[what]
    return NEXT_STREAM[role, state] if following is None else following
