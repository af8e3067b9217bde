"""A short round of each target, and that faults which are planted are found."""

from __future__ import annotations

import struct
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from fcgi_async.wire import cgi, client, records
from fcgi_async.wire.events import RequestEnded
from fcgi_async.wire.ids import RequestIds
from fcgi_async.wire.parser import RecordParser
from fcgi_async.wire.server import ServerConnection
from fcgi_async.wire.whole import whole_answer
from tests.fuzz import run
from tests.fuzz.__main__ import main
from tests.fuzz.inputs import pieces
from tests.fuzz.run import TARGETS, fuzz


@pytest.mark.long
@pytest.mark.parametrize("name", TARGETS)
def test_nothing_is_found(name: str) -> None:
    """A short round finds nothing, and enough inputs get past their first unit."""
    seen = fuzz(name, 3000, 1)
    assert not seen.found, seen.found
    assert seen.inputs >= 3000
    assert seen.past_first > seen.inputs / 3
    assert len(seen.ends) > 1
    assert seen.memory > 0


def test_same_seed_gives_same_inputs() -> None:
    """A seed decides every input, so that a run can be had again; another gives others."""
    ends = [fuzz("CGI head", 2000, seed).ends for seed in (5, 5, 6)]
    assert ends[0] == ends[1] != ends[2]


@pytest.mark.parametrize("size", [0, 1, 99, 70_000])
def test_pieces_are_the_whole(size: int) -> None:
    """An input in pieces is the input, and most are cut."""
    cut = [pieces(bytes(size), number) for number in range(100)]
    assert {b"".join(parts) for parts in cut} == {bytes(size)}
    assert size < 2 or max(map(len, cut)) > 2


_feed, _find_end = RecordParser.feed, cgi._find_end

# what is replaced by what, and what is said then
FAULTS: dict[str, tuple[str, object, str, Callable[..., object], str]] = {
    "END_REQUEST of any length": (
        *("client", client, "_decode_end"),
        lambda request_id, content: RequestEnded(request_id, *struct.unpack(">IB3x", content)),
        "rror",
    ),
    "an id that is taken": ("client, multiplexing", RequestIds, "smallest_free", lambda *_: 1, "given twice"),
    "parameters without end": ("server", ServerConnection, "_receive_params", lambda *_: None, "AssertionError"),
    "what was read is kept": (
        *("record parser", RecordParser, "feed"),
        lambda parser, data: (parser._chunks.append(bytes(70_000)), _feed(parser, data))[1],
        "AssertionError",
    ),
    "lengths of one byte": ("name-value pairs", records, "_decode_length", lambda d, i: (d[i], i + 1), "Error"),
    "an answer that was not there": (
        *("whole answer", client, "whole_answer"),
        lambda data, request_id: (found := whole_answer(data, request_id)) and (*found[:2], True),
        "AssertionError",
    ),
    "cuts in an empty line": (
        *("CGI head", cgi, "_find_end"),
        lambda data, start: _find_end(data, start + 1 if start else 0),
        "the cuts make a difference",
    ),
    "memory": ("CGI head", cgi, "_find_end", lambda d, i: _find_end(d, i + 0 * len(d * 100_000)), "bytes for"),
    "a loop without end": (
        *("CGI head", cgi, "_parse_status"),
        lambda value: all(True for _ in count()) if value.startswith("404") else 200,
        "no end after 0.2 s",
    ),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_planted_fault_is_found(
    fault: tuple[str, object, str, object, str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Each kind of fault is found soon, in an input that is short and can be pasted; the page stays as it was."""
    target, owner, name, planted, message = fault
    monkeypatch.setattr(owner, name, planted)
    monkeypatch.setattr(run, "MEASURED", 2)
    monkeypatch.setattr(run, "MOST_TIME", 0.2 if "no end" in message else run.MOST_TIME)
    assert main(["--target", target, "--inputs", "20000", "--report", str(tmp_path / "absent")]) == 1
    printed = capsys.readouterr().out
    assert message in printed
    pasted, data = eval(printed.rpartition("for tests/fuzz/test_found.py:\n")[2])[0]
    assert pasted == target
    assert len(data) < 200


def test_command_writes_the_figures(tmp_path: Path) -> None:
    """A run without findings writes its figures between the marks of the page."""
    page = tmp_path / "fuzzing.md"
    page.write_text("before\n<!-- begin:figures -->\n<!-- end:figures -->\nafter\n")
    assert main(["--target", "CGI head", "--inputs", "100", "--seed", "3", "--report", str(page)]) == 0
    assert "before\n<!-- begin:figures -->\n100 inputs, seed 3, " in page.read_text()
    assert "| CGI head | 100 | " in page.read_text()
