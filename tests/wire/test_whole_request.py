"""Whole requests and whole answers, recognised in one step, are what the parser says."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import ClientEvent, RawParams, RequestBegun, RequestEnded, ServerEvent, StdinEnded, Stdout
from fcgi_async.wire.request import request_pieces
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import Role
from fcgi_async.wire.states import RequestState
from tests.wire import frames

PAIRS = frames.pair(b"NAME", b"value")
ids = st.integers(1, 5)
contents = st.sampled_from([PAIRS, PAIRS * 3, b""])
# what a client may send, the common request more often than others
requests = st.one_of(
    st.builds(
        lambda i, c, f: frames.begin(i, flags=f) + frames.params(i, c) + frames.params(i) + frames.stdin(i),
        ids,
        st.sampled_from([PAIRS, PAIRS * 2]),
        st.sampled_from([0, 1]),
    ),
    st.builds(lambda i: frames.begin(i), ids),
    st.builds(lambda i, c: frames.params(i, c), ids, contents),
    st.builds(lambda i, d: frames.stdin(i, d) if d else frames.stdin(i), ids, st.sampled_from([b"", b"body"])),
    st.builds(lambda i: frames.abort(i), ids),
    st.builds(lambda i: frames.begin(i, role=Role.AUTHORIZER) + frames.params(i, PAIRS) + frames.params(i), ids),
    st.just(b"\x01"),
)
# what a peer may answer to requests 1 to 4
answers = st.one_of(
    st.builds(
        lambda i, c: frames.record(6, i, c) + frames.end(i, reserved=b"\0\0\0"), ids, st.binary(min_size=1, max_size=9)
    ),
    st.builds(lambda i: frames.end(i), ids),
    st.builds(lambda i: frames.end(i, 1), ids),
    st.builds(lambda i, c: frames.stdout(i, c), ids, st.binary(max_size=9)),
    st.builds(lambda i: frames.stderr(i, b"log"), ids),
    st.just(b"\x01"),
)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """The same in parts."""
    at = sorted({0, len(data), *(position % (len(data) + 1) for position in cuts)})
    return [data[start:end] for start, end in pairwise(at)]


@given(st.lists(requests, max_size=8), st.lists(st.integers(0, 999), max_size=3), st.sets(ids))
def test_requests(parts: list[bytes], cuts: list[int], answered: set[int]) -> None:
    """The same requests are begun, with the same parameters, and end with the same answers and in the same way."""
    plain, quick = ServerConnection(raw_params=True), ServerConnection(raw_params=True)
    for data in cut(b"".join(parts), cuts):
        expected = plain.receive_data(data)
        found: list[ServerEvent] = []
        whole, end = quick.receive_whole(data)
        for request_id, keep_conn, params in whole:
            begun = RequestBegun(request_id, Role.RESPONDER, keep_conn)
            found += [begun, RawParams(request_id, params), StdinEnded(request_id)]
        if end < len(data):
            found += quick.receive_data(data[end:])
        for request_id in answered:
            if plain.open and plain.state(request_id) in (RequestState.AWAITING, RequestState.ABORTED):
                plain.send_stdout(request_id, b"answer")
                plain.end_request(request_id)
                quick.send_whole(request_id, b"answer")
        assert [repr(event) for event in found] == [repr(event) for event in expected]
        assert quick.data_to_send() == plain.data_to_send()
        assert [quick.state(n) for n in range(6)] == [plain.state(n) for n in range(6)]


@given(st.lists(answers, max_size=8), st.lists(st.integers(0, 999), max_size=3))
def test_answers(parts: list[bytes], cuts: list[int]) -> None:
    """The same requests end, with the same output, and the same ids are free."""
    plain, quick = ClientConnection(multiplexing=True), ClientConnection(multiplexing=True)
    for client in (plain, quick):
        for _ in range(3):
            client.send_request([PAIRS])
        # one that is not written to its end
        client.send_params(client.begin_request(), [PAIRS])
        client.data_to_send()
    for data in cut(b"".join(parts), cuts):
        expected = plain.receive_data(data)
        found: list[ClientEvent] = []
        for request_id, stdout in quick.receive_answers(data):
            found += [Stdout(request_id, stdout), RequestEnded(request_id, 0, 0)]
        found = found or quick.receive_data(data)
        assert [repr(event) for event in found] == [repr(event) for event in expected]
        assert [quick.state(n) for n in range(6)] == [plain.state(n) for n in range(6)]
    if plain.open:
        # of what the last read has ended nothing is free yet, or all is: the next read frees it
        for client in (plain, quick):
            client.receive_data(b"")
        assert plain.begin_request() == quick.begin_request()


@given(st.lists(st.sampled_from(["whole", "begin", "ask", "answer"]), max_size=12))
def test_a_request_on_a_shared_connection(steps: list[str]) -> None:
    """`send_shared()` writes what `send_pieces()` does, with all that is to be sent before it."""
    plain, quick = ClientConnection(multiplexing=True), ClientConnection(multiplexing=True)
    pieces = request_pieces(PAIRS, b"", keep_conn=True)
    begun: list[int] = []
    for step in steps:
        if step == "whole":
            expected = plain.send_pieces(pieces)
            begun.append(expected)
            assert quick.send_shared(pieces) == (expected, plain.data_to_send())
        elif step == "answer" and begun:
            data = frames.stdout(begun[0], b"it") + frames.end(begun.pop(0))
            assert [repr(event) for event in plain.receive_data(data)] == [
                repr(event) for event in quick.receive_data(data)
            ]
        elif step == "begin":
            assert plain.begin_request() == quick.begin_request()
        elif step == "ask":
            plain.get_values()
            quick.get_values()
        assert [quick.state(n) for n in range(14)] == [plain.state(n) for n in range(14)]
        assert quick.probes_outstanding == plain.probes_outstanding == len(quick.asked)


@given(st.lists(st.binary(max_size=70_000), max_size=3), st.booleans())
def test_a_whole_response(contents: list[bytes], aborted: bool) -> None:
    """`send_whole()` writes what `send_stdout()` and `end_request()` do."""
    plain, quick = ServerConnection(), ServerConnection()
    for request_id, content in enumerate(contents, 1):
        data = frames.begin(request_id) + frames.params(request_id, PAIRS) + frames.params(request_id)
        data += frames.stdin(request_id) + (frames.abort(request_id) if aborted else b"")
        plain.receive_data(data)
        quick.receive_data(data[quick.receive_whole(data)[1] :])
        plain.send_stdout(request_id, content)
        plain.end_request(request_id)
        quick.send_whole(request_id, content)
        assert quick.data_to_send() == plain.data_to_send()
        assert quick.state(request_id) == plain.state(request_id)
