"""The table of a request's states."""

from __future__ import annotations

import pytest

from fcgi_async.wire.spec import RecordType, Role
from fcgi_async.wire.states import (
    NEXT_STREAM,
    OPEN_STREAM,
    RESPONSE_COMPLETE,
    STREAM_INPUT,
    TRANSITIONS,
    Input,
    RequestState,
    advance,
)

S, I = RequestState, Input  # noqa: E741

# per role, what leads from BEGIN to the end of a request, and where it leads
LIVES: dict[Role, list[tuple[Input, RequestState]]] = {
    Role.RESPONDER: [
        (I.BEGIN, S.PARAMS),
        (I.PARAMS, S.PARAMS),
        (I.END_STREAM, S.STDIN),
        (I.STDIN, S.STDIN),
        (I.OUTPUT, S.STDIN),
        (I.END_STREAM, S.AWAITING),
        (I.OUTPUT, S.AWAITING),
        (I.END, S.IDLE),
    ],
    Role.AUTHORIZER: [(I.BEGIN, S.PARAMS), (I.PARAMS, S.PARAMS), (I.END_STREAM, S.AWAITING), (I.END, S.IDLE)],
    Role.FILTER: [
        (I.BEGIN, S.PARAMS),
        (I.END_STREAM, S.STDIN),
        (I.END_STREAM, S.DATA),
        (I.DATA, S.DATA),
        (I.OUTPUT, S.DATA),
        (I.END_STREAM, S.AWAITING),
        (I.END, S.IDLE),
    ],
}


@pytest.mark.parametrize("role", Role)
def test_life_of_a_request(role: Role) -> None:
    """A request goes through the streams of its role, and is over with END_REQUEST."""
    state: RequestState | None = S.IDLE
    for what, expected in LIVES[role]:
        assert state is not None
        state = advance(state, what, role)
        assert state is expected


def test_response_before_the_body_is_complete() -> None:
    """A request that ends early is over once the client has finished its streams."""
    assert advance(S.STDIN, I.END, Role.FILTER) is S.DISCARDING_STDIN
    assert advance(S.DISCARDING_STDIN, I.STDIN, Role.FILTER) is S.DISCARDING_STDIN
    assert advance(S.DISCARDING_STDIN, I.END_STREAM, Role.FILTER) is S.DISCARDING_DATA
    assert advance(S.DATA, I.END, Role.FILTER) is S.DISCARDING_DATA
    assert advance(S.DISCARDING_DATA, I.DATA, Role.FILTER) is S.DISCARDING_DATA
    assert advance(S.DISCARDING_DATA, I.END_STREAM, Role.FILTER) is S.IDLE
    assert advance(S.DISCARDING_STDIN, I.END_STREAM, Role.RESPONDER) is S.IDLE


@pytest.mark.parametrize("state", [S.PARAMS, S.STDIN, S.DATA, S.AWAITING])
def test_abort(state: RequestState) -> None:
    """An aborted request still owes END_REQUEST, and sends nothing more."""
    assert advance(state, I.ABORT, Role.FILTER) is S.ABORTED
    assert advance(S.ABORTED, I.OUTPUT, Role.FILTER) is S.ABORTED
    assert advance(S.ABORTED, I.STDIN, Role.FILTER) is None
    assert advance(S.ABORTED, I.ABORT, Role.FILTER) is None
    assert advance(S.ABORTED, I.END, Role.FILTER) is S.IDLE


@pytest.mark.parametrize("state", [S.DISCARDING_STDIN, S.DISCARDING_DATA])
def test_abort_after_the_response(state: RequestState) -> None:
    """Aborting the rest of a body after the response ends the request, for nothing is owed any more."""
    assert advance(state, I.ABORT, Role.FILTER) is S.IDLE


def test_rejection_before_the_parameters_end() -> None:
    """A request rejected among its parameters is over."""
    assert advance(S.PARAMS, I.END, Role.RESPONDER) is S.IDLE


def test_output_before_the_parameters_end() -> None:
    """There is no output before the parameters are complete."""
    assert advance(S.PARAMS, I.OUTPUT, Role.RESPONDER) is None


def test_table_is_whole() -> None:
    """Every state has a row, every state but IDLE leads out and can be reached."""
    assert set(TRANSITIONS) == set(RequestState)
    reached = {following for row in TRANSITIONS.values() for following in row.values()} | set(NEXT_STREAM.values())
    assert reached == {*RequestState, None}


def test_next_stream_is_known_wherever_it_is_asked() -> None:
    """A state with a stream to end names what follows, for every role that can be in it."""
    in_data = {S.DATA, S.DISCARDING_DATA}
    for state, row in TRANSITIONS.items():
        if I.END_STREAM in row:
            assert row[I.END_STREAM] is None
            roles = {role for role, asked in NEXT_STREAM if asked is state}
            assert roles == (
                {Role.FILTER} if state in in_data else set(Role) if state is S.PARAMS else {Role.RESPONDER, Role.FILTER}
            )


def test_open_streams_agree_with_the_table() -> None:
    """A stream is open in exactly the states that take its content, and those can end it."""
    assert OPEN_STREAM == {
        S.PARAMS: RecordType.PARAMS,
        S.STDIN: RecordType.STDIN,
        S.DATA: RecordType.DATA,
        S.DISCARDING_STDIN: RecordType.STDIN,
        S.DISCARDING_DATA: RecordType.DATA,
    }
    for state, stream in OPEN_STREAM.items():
        # content leaves the state as it is: the client relies on it
        assert TRANSITIONS[state][STREAM_INPUT[stream]] is state
        assert I.END_STREAM in TRANSITIONS[state]


def test_complete_responses_agree_with_the_table() -> None:
    """The states after a response are those of a begun request that take neither output nor an end."""
    begun = {state for state in TRANSITIONS if state is not S.IDLE}
    assert {s for s in begun if not {I.OUTPUT, I.END} & TRANSITIONS[s].keys()} == RESPONSE_COMPLETE
