"""The fuzzing itself: a short run of it, the same every time, and that it finds faults which are planted."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from fcgi_async.wire import cgi, client, records
from fcgi_async.wire.client import ClientConnection
from fcgi_async.wire.events import RequestEnded
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.spec import RecordType
from tests.fuzz import loop, watchdog
from tests.fuzz.__main__ import main
from tests.fuzz.client import ASK_MPXS, BEGIN
from tests.fuzz.loop import Finding, Fuzzer, shrink
from tests.fuzz.process import fuzz_apart
from tests.fuzz.record_grammar import verb
from tests.fuzz.target import pieces
from tests.fuzz.targets import TARGETS
from tests.fuzz.watchdog import Hang, Watchdog
from tests.wire import frames

every_target = pytest.mark.parametrize("name", TARGETS)


@pytest.mark.long
@every_target
def test_nothing_is_found(name: str) -> None:
    """A short run finds nothing, passes the first record with most inputs, and reaches nearly all branches."""
    seen = fuzz_apart(name, 1500, 1)
    assert not isinstance(seen, str), seen
    assert seen.inputs == 1500
    assert seen.past_first > seen.inputs / 2
    assert seen.reached >= seen.branches - 8
    assert seen.most_memory > 0


@every_target
def test_same_seed_gives_same_inputs(name: str) -> None:
    """A seed decides every input, so that a run can be had again; another gives others."""
    runs = [Fuzzer(TARGETS[name], seed) for seed in (5, 5, 6)]
    for fuzzer in runs:
        fuzzer.run(100)
    assert runs[0].kept == runs[1].kept != runs[2].kept


@every_target
def test_grammar_loses_nothing(name: str) -> None:
    """The units of an input, joined, are the input, whatever it is."""
    grammar = TARGETS[name].grammar
    for data in (*TARGETS[name].seeds, b"", b"\x01", b"\x80", b"\r", bytes(range(256)) * 3):
        assert b"".join(grammar.split(data)) == data


@pytest.mark.parametrize("size", [0, 1, 99, 100, 2047, 2048, 70_000])
def test_pieces_are_the_whole(size: int) -> None:
    """An input in pieces is the input, and most are cut."""
    data = bytes(size)
    cut = [pieces(data, number) for number in range(100)]
    assert {b"".join(parts) for parts in cut} == {data}
    assert size < 2 or max(map(len, cut)) > 1


# faults that are planted


def end_without_its_length(request_id: int, content: bytes) -> RequestEnded:
    """END_REQUEST, decoded without a look at how long it is."""
    return RequestEnded(request_id, *struct.unpack(">IB3x", content))


def length_without_its_end(data: bytes, position: int) -> tuple[int, int]:
    """The length of a name or value, decoded without a look at how much there is."""
    length = data[position]
    if length < 128:
        return length, position + 1
    return struct.unpack_from(">I", data, position)[0] & 0x7FFFFFFF, position + 4


def feed_from_the_end(parser: cgi.HeadParser, data: bytes) -> object:
    """Look for the end of a head in the last part only, which misses one that is cut."""
    whole = parser._buffer + data
    end, body_start = cgi._find_end(whole, len(parser._buffer))
    if end >= 0:
        return cgi._parse_head(whole[:end]), whole[body_start:]
    parser._buffer = whole[-parser.limit :]
    return None


def feed_and_keep(parser: RecordParser, data: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Keep what was read."""
    yield from _feed(parser, data)
    parser._chunks.insert(0, bytes(70_000))


def status_without_end(value: str) -> int:
    """Never end at one status."""
    while value.startswith("404"):
        pass
    return 200


def status_that_hoards(value: str) -> int:
    """Take memory without measure at any status."""
    return int(value[:3]) if value * 1_000_000 else 200


def status_of_digits(value: str) -> int:
    """Take for digits what only looks like them."""
    return int(value[:3]) if value[:3].isdigit() else 200


def send_anything(connection: ServerConnection, request_id: int, data: bytes) -> None:
    """Write a record that a responder must not send."""
    connection._outgoing.append(records.encode_record(RecordType.STDIN, request_id, data))


_feed = RecordParser.feed


@attrs.frozen
class Fault:
    """What is replaced by what, and what is found then."""

    target: str
    owner: object
    name: str
    planted: Callable[..., object]
    reason: type[BaseException]
    message: str = ""


FAULTS = {
    "END_REQUEST of any length": Fault("client", client, "_decode_end", end_without_its_length, struct.error),
    "lengths that are cut": Fault("name-value pairs", records, "_decode_length", length_without_its_end, IndexError),
    "cuts in the end of a head": Fault("CGI head", cgi.HeadParser, "feed", feed_from_the_end, AssertionError, "cuts"),
    "what was read is kept": Fault("server", RecordParser, "feed", feed_and_keep, AssertionError, "too much is held"),
    "an id that is taken": Fault(
        "client, multiplexing", ClientConnection, "_next_id", lambda _: 1, AssertionError, "given twice"
    ),
    "records of a client": Fault("server", ServerConnection, "send_stdout", send_anything, AssertionError),
    "digits of another kind": Fault("CGI head", cgi, "_parse_status", status_of_digits, ValueError),
    "a loop without end": Fault("CGI head", cgi, "_parse_status", status_without_end, Hang, "no end"),
    "memory without measure": Fault("CGI head", cgi, "_parse_status", status_that_hoards, MemoryError, "bytes for"),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_planted_fault_is_found(fault: Fault, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each kind of fault is found within some hundred inputs, and still there in a shorter input."""
    monkeypatch.setattr(watchdog, "TICK", 0.02)
    monkeypatch.setattr(loop, "MEASURE_EVERY", 2)
    monkeypatch.setattr(fault.owner, fault.name, fault.planted)
    target = TARGETS[fault.target]
    with pytest.raises(Finding) as found:
        Fuzzer(target, 1).run(1500)
    assert type(found.value.reason) is fault.reason
    assert fault.message in str(found.value.reason)
    assert f"--replay {found.value.data.hex()}" in str(found.value)
    assert len(shrink(target, found.value.data)) <= len(found.value.data)


def test_found_input_is_shrunk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an input only the units are left that the fault needs."""
    monkeypatch.setattr(client, "_decode_end", end_without_its_length)
    target = TARGETS["client"]
    fault = verb(BEGIN) + frames.record(RecordType.END_REQUEST, 1, b"x")
    assert shrink(target, verb(ASK_MPXS) * 5 + fault + target.seeds[0]) == fault
    assert shrink(target, target.seeds[0]) == target.seeds[0]


def test_watchdog_lets_short_inputs_be(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any number of inputs may take any time together; a single one may not."""
    monkeypatch.setattr(watchdog, "TICK", 0.01)
    with pytest.raises(Hang):
        with Watchdog() as dog:
            for _ in range(200_000):
                dog.beat += 1
            while True:
                pass
    assert dog.beat == 200_000


# the command


def test_command_writes_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run without findings writes the page, with a row for each target."""
    page = tmp_path / "fuzzing.md"
    assert main(["--target", "CGI head", "--inputs", "50", "--seed", "3", "--report", str(page)]) == 0
    text = page.read_text()
    assert "50 inputs, seed 3" in text
    assert "| CGI head | 50 | " in text
    assert "CGI head: 50 inputs" in capsys.readouterr().out


def test_command_replays(monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that was found is given to its target again, and what is wrong comes out as it is."""
    head = b"Status: \xb2\xb2\xb2\n\n"
    assert main(["--target", "CGI head", "--replay", head.hex()]) == 0
    monkeypatch.setattr(cgi, "_parse_status", status_of_digits)
    with pytest.raises(ValueError, match="invalid literal"):
        main(["--target", "CGI head", "--replay", head.hex()])


def test_finding_is_the_exit_status(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run with a finding prints it, exits with 1, and leaves the page as it was."""
    monkeypatch.setattr("tests.fuzz.__main__.fuzz_apart", lambda name, inputs, seed: f"{name}: wrong")
    page = tmp_path / "fuzzing.md"
    assert main(["--target", "server", "--report", str(page)]) == 1
    assert capsys.readouterr().out == "server: wrong\n"
    assert not page.exists()
