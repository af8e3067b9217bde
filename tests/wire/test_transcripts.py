"""What responders really send, read whole, byte by byte, and with what comes behind: the events are always the same.

Each transcript is what a responder sends behind a client that asked for FCGI_MPXS_CONNS, sent request 1 completely, and
asked again for the tail; `multiplexing` ones behind requests 1 and 2 at once. It follows what was seen of real servers.
"""

from __future__ import annotations

import attrs
import pytest

from fcgi_async.errors import RemoteProtocolError
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import (
    ClientEvent,
    RequestEnded,
    Stderr,
    Stdout,
    Stray,
    Terminated,
    ValuesReceived,
)
from fcgi_async.wire.spec import RecordType
from tests.wire import frames

HEAD = b"Content-type: text/html; charset=UTF-8\r\n\r\n"
NOT_MULTIPLEXING = frames.values(frames.pair(frames.MPXS, b"0"))
NO_VALUES = ValuesReceived({frames.MPXS: b"0"})
TAIL_BEHIND = frames.values()


@attrs.frozen
class Transcript:
    """What the peer sends and what it means; `fault` is a part of the message of the fault that ends it."""

    sent: tuple[bytes, ...]
    events: tuple[ClientEvent, ...]
    fault: str | None = None
    multiplexing: bool = False
    # what the tail probe asks for
    tail_names: tuple[bytes, ...] = ()


TRANSCRIPTS = {
    "fpm: hello": Transcript(
        (NOT_MULTIPLEXING, frames.stdout(1, HEAD + b"hello"), frames.end(1), TAIL_BEHIND),
        (NO_VALUES, Stdout(1, HEAD + b"hello"), RequestEnded(1, 0, 0), ValuesReceived({})),
    ),
    "fpm: tail that asks for names": Transcript(
        (NOT_MULTIPLEXING, frames.stdout(1, HEAD), frames.end(1), NOT_MULTIPLEXING),
        (NO_VALUES, Stdout(1, HEAD), RequestEnded(1, 0, 0), NO_VALUES),
        tail_names=(frames.MPXS,),
    ),
    "fpm: padding to 8, every length of it": Transcript(
        (NOT_MULTIPLEXING, *(frames.stdout(1, b"x" * size) for size in range(1, 10)), frames.end(1)),
        (NO_VALUES, *(Stdout(1, b"x" * size) for size in range(1, 10)), RequestEnded(1, 0, 0)),
    ),
    "fpm: garbage in END_REQUEST": Transcript(
        (NOT_MULTIPLEXING, frames.end(1, reserved=b'"41'), TAIL_BEHIND),
        (NO_VALUES, RequestEnded(1, 0, 0), ValuesReceived({})),
    ),
    "fpm: 65528 bytes of content": Transcript(
        (NOT_MULTIPLEXING, frames.stdout(1, bytes(65_528)), frames.stdout(1, bytes(8184)), frames.end(1)),
        (NO_VALUES, Stdout(1, bytes(65_528)), Stdout(1, bytes(8184)), RequestEnded(1, 0, 0)),
    ),
    "fpm: STDERR among STDOUT": Transcript(
        (
            NOT_MULTIPLEXING,
            frames.stderr(1, b"PHP message: one; PHP message: two"),
            frames.stdout(1, HEAD + b"a"),
            frames.stderr(1, b"PHP message: three"),
            frames.stdout(1, b"b"),
            frames.end(1),
            TAIL_BEHIND,
        ),
        (
            NO_VALUES,
            Stderr(1, b"PHP message: one; PHP message: two"),
            Stdout(1, HEAD + b"a"),
            Stderr(1, b"PHP message: three"),
            Stdout(1, b"b"),
            RequestEnded(1, 0, 0),
            ValuesReceived({}),
        ),
    ),
    "fpm: head split over records": Transcript(
        (NOT_MULTIPLEXING, frames.stdout(1, HEAD[:5]), frames.stdout(1, HEAD[5:] + b"hello"), frames.end(1)),
        (NO_VALUES, Stdout(1, HEAD[:5]), Stdout(1, HEAD[5:] + b"hello"), RequestEnded(1, 0, 0)),
    ),
    "fpm: output after fastcgi_finish_request()": Transcript(
        (
            NOT_MULTIPLEXING,
            frames.stdout(1, HEAD + b"done"),
            frames.end(1),
            frames.stdout(1, b"SECRET"),
            frames.stderr(1, b"PHP message: late"),
            TAIL_BEHIND,
        ),
        (
            NO_VALUES,
            Stdout(1, HEAD + b"done"),
            RequestEnded(1, 0, 0),
            Stray(1, RecordType.STDOUT, 6),
            Stray(1, RecordType.STDERR, 17),
            ValuesReceived({}),
        ),
    ),
    "fpm: output after the tail's answer": Transcript(
        (NOT_MULTIPLEXING, frames.end(1), TAIL_BEHIND, frames.stdout(1, b"SECRET")),
        (NO_VALUES, RequestEnded(1, 0, 0), ValuesReceived({})),
        "had said that it was free",
    ),
    "second END_REQUEST": Transcript(
        (NOT_MULTIPLEXING, frames.end(1), frames.end(1), TAIL_BEHIND),
        (NO_VALUES, RequestEnded(1, 0, 0), Stray(1, RecordType.END_REQUEST, 8), ValuesReceived({})),
    ),
    "streams that are ended": Transcript(
        (NOT_MULTIPLEXING, frames.stdout(1, HEAD), frames.record(7, 1), frames.record(6, 1), frames.end(1, 7)),
        (NO_VALUES, Stdout(1, HEAD), RequestEnded(1, 7, 0)),
    ),
    "no response at all": Transcript((NOT_MULTIPLEXING, frames.end(1)), (NO_VALUES, RequestEnded(1, 0, 0))),
    "go: a second, empty answer": Transcript(
        (
            frames.values(frames.pair(frames.MPXS, b"1")),
            frames.record(RecordType.GET_VALUES_RESULT, 0),
            frames.record(6, 1, HEAD + b"go"),
            frames.record(6, 1),
            frames.end(1, reserved=bytes(3)),
            frames.values(frames.pair(frames.MPXS, b"1")),
            frames.record(RecordType.GET_VALUES_RESULT, 0),
        ),
        (
            ValuesReceived({frames.MPXS: b"1"}),
            Stdout(1, HEAD + b"go"),
            RequestEnded(1, 0, 0),
            ValuesReceived({frames.MPXS: b"1"}),
        ),
        tail_names=(frames.MPXS,),
    ),
    "go: answers out of order": Transcript(
        (
            frames.values(frames.pair(frames.MPXS, b"1")),
            frames.record(6, 2, b"of 2"),
            frames.record(6, 1, b"of 1"),
            frames.end(2),
            frames.record(6, 1, b" more"),
            frames.end(1),
        ),
        (
            ValuesReceived({frames.MPXS: b"1"}),
            Stdout(2, b"of 2"),
            Stdout(1, b"of 1"),
            RequestEnded(2, 0, 0),
            Stdout(1, b" more"),
            RequestEnded(1, 0, 0),
        ),
        multiplexing=True,
    ),
    "flup: knows no values": Transcript(
        (frames.values(), frames.record(6, 1, HEAD), frames.record(6, 1), frames.end(1), frames.values()),
        (ValuesReceived({}), Stdout(1, HEAD), RequestEnded(1, 0, 0), ValuesReceived({})),
        tail_names=(frames.MPXS,),
    ),
    "a peer that does not know GET_VALUES": Transcript(
        (frames.unknown_type(9), frames.record(6, 1, HEAD), frames.end(1), frames.unknown_type(9)),
        (ValuesReceived({}), Stdout(1, HEAD), RequestEnded(1, 0, 0), ValuesReceived({})),
    ),
    "rejected: cannot multiplex": Transcript(
        (frames.values(frames.pair(frames.MPXS, b"1")), frames.end(2, 0, 1), frames.stdout(1, b"x"), frames.end(1)),
        (ValuesReceived({frames.MPXS: b"1"}), RequestEnded(2, 0, 1), Stdout(1, b"x"), RequestEnded(1, 0, 0)),
        multiplexing=True,
    ),
    "an HTTP server": Transcript(
        (b"HTTP/1.1 400 Bad Request\r\n", b"Connection: close\r\n\r\n"), (), "does not speak FastCGI version 1"
    ),
    "an HTTP server behind the first answer": Transcript(
        (NOT_MULTIPLEXING, b"HTTP/1.1 400 Bad Request\r\n\r\n"), (NO_VALUES,), "does not speak FastCGI version 1"
    ),
    "another version": Transcript(
        (NOT_MULTIPLEXING, frames.record(6, 1, HEAD, version=2)), (NO_VALUES,), "does not speak FastCGI version 1"
    ),
    "output of another request": Transcript(
        (NOT_MULTIPLEXING, frames.stdout(1, b"mine"), frames.stdout(2, b"whose")),
        (NO_VALUES, Stdout(1, b"mine")),
        "request 2, which was never begun",
    ),
    "END_REQUEST too short": Transcript(
        (NOT_MULTIPLEXING, frames.record(3, 1, bytes(5))), (NO_VALUES,), "END_REQUEST has 5 bytes"
    ),
    "values cut short": Transcript(
        (frames.values(frames.pair(frames.MPXS, b"0")[:-1]),), (), "GET_VALUES_RESULT is malformed"
    ),
    "an answer too many": Transcript(
        (NOT_MULTIPLEXING, frames.end(1), NOT_MULTIPLEXING, NOT_MULTIPLEXING),
        (NO_VALUES, RequestEnded(1, 0, 0), NO_VALUES),
        "without a GET_VALUES",
        tail_names=(frames.MPXS,),
    ),
    "records of a client": Transcript(
        (NOT_MULTIPLEXING, frames.stdin(1, b"echo")), (NO_VALUES,), "does not send records of type 5"
    ),
}

# what may come behind a transcript in the same read: the beginning of a record, which means nothing yet
TRAILING = [frames.stdout(1, b"hello")[:length] for length in (1, 7, 8, 12)]


def asked(transcript: Transcript) -> ClientConnection:
    """A client that has sent what the transcript answers."""
    client = ClientConnection(multiplexing=transcript.multiplexing)
    client.get_values([frames.MPXS])
    for _ in range(2 if transcript.multiplexing else 1):
        request_id = client.begin_request()
        client.send_params(request_id, [b"pairs"])
        client.send_stdin(request_id, end=True)
    client.get_values(transcript.tail_names)
    return client


def check(transcript: Transcript, client: ClientConnection, events: list[ClientEvent]) -> None:
    """The events are those of the transcript, and its fault is the last of them."""
    if transcript.fault is None:
        assert client.open
    else:
        last = events.pop()
        assert isinstance(last, Terminated)
        assert isinstance(last.error, RemoteProtocolError)
        assert transcript.fault in str(last.error)
        assert not client.open
    assert events == list(transcript.events)


parametrize = pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())


@parametrize
def test_whole(transcript: Transcript) -> None:
    """A transcript in one read."""
    client = asked(transcript)
    check(transcript, client, client.receive_data(b"".join(transcript.sent)))


@parametrize
def test_record_by_record(transcript: Transcript) -> None:
    """A transcript in the reads that its sender wrote."""
    client = asked(transcript)
    check(transcript, client, [event for sent in transcript.sent for event in client.receive_data(sent)])


@parametrize
def test_byte_by_byte(transcript: Transcript) -> None:
    """A transcript in reads of one byte each."""
    client = asked(transcript)
    whole = b"".join(transcript.sent)
    events = [event for position in range(len(whole)) for event in client.receive_data(whole[position : position + 1])]
    check(transcript, client, events)


@parametrize
@pytest.mark.parametrize("trailing", TRAILING, ids=len)
def test_with_trailing_bytes(transcript: Transcript, trailing: bytes) -> None:
    """The beginning of another record behind a transcript changes nothing, and is missed when the peer closes."""
    client = asked(transcript)
    check(transcript, client, client.receive_data(b"".join(transcript.sent) + trailing))
    end = client.receive_eof()
    if transcript.fault is None:
        (last,) = end
        assert isinstance(last, Terminated)
        assert isinstance(last.error, RemoteProtocolError)
        assert "in the middle of a record" in str(last.error)
    else:
        assert end == []


@parametrize
def test_followed_by_end_of_file(transcript: Transcript) -> None:
    """The peer may close behind any transcript: that is an end between two records."""
    client = asked(transcript)
    client.receive_data(b"".join(transcript.sent))
    assert client.receive_eof() == ([Terminated(None)] if transcript.fault is None else [])
