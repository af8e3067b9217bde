"""Runs Hypothesis over the batches of one target, and says what was found as an input to paste into a test."""

from __future__ import annotations

import signal
import time
import traceback
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Final
from zlib import crc32

import attrs
import hypothesis

from tests.fuzz import plain
from tests.fuzz.halves import ClientHalf, ServerHalf, drive_half
from tests.fuzz.inputs import BATCH, Batches, batches
from tests.fuzz.records import TO_CLIENT, TO_SERVER, client_seeds, server_seeds, units

# gives an input to a parser, checks all that must hold, and returns whether the first unit was taken, and how the input
# ended; whatever it raises is a finding
Drive = Callable[[bytes], tuple[bool, str]]

TARGETS: Final[dict[str, tuple[Drive, Batches]]] = {
    "client": (
        lambda data: drive_half(data, lambda: ClientHalf(False)),
        batches(client_seeds(False), units(TO_CLIENT)),
    ),
    "client, multiplexing": (
        lambda data: drive_half(data, lambda: ClientHalf(True)),
        batches(client_seeds(True), units(TO_CLIENT)),
    ),
    "server": (lambda data: drive_half(data, ServerHalf), batches(server_seeds(), units(TO_SERVER))),
    "record parser": (plain.drive_parser, batches(server_seeds(), units(TO_SERVER))),
    "whole answer": (plain.drive_whole, plain.ANSWERS),
    "name-value pairs": (plain.drive_pairs, batches(plain.PAIR_SEEDS, plain.PAIRS)),
    "CGI head": (plain.drive_head, batches(plain.HEAD_SEEDS, plain.LINES)),
}
# seconds of processor time for a batch, which takes a hundredth of that
MOST_TIME = 5.0
# of how many inputs the memory of one is measured, and what one may take: events for every few bytes, and buffers
MEASURED = 512
MOST_MEMORY, MOST_MEMORY_PER_BYTE = 1 << 20, 200


class Hang(BaseException):
    """An input has no end; no `except Exception` of what is fuzzed may take it."""


@attrs.define
class Figures:
    """What a run has seen; `found` says what was wrong with an input, if anything."""

    name: str
    inputs: int = 0
    past_first: int = 0
    ends: Counter[str] = attrs.field(factory=Counter)
    longest: int = 0
    memory: int = 0
    seconds: float = 0.0
    found: str = ""


def fuzz(name: str, inputs: int, seed: int) -> Figures:
    """Give a target so many inputs, or a few more; stop at the first with which something is wrong."""
    drive, drawn = TARGETS[name]
    figures, last, begun = Figures(name), b"", time.process_time()

    def batch(inputs: Iterator[bytes]) -> None:
        nonlocal last
        signal.setitimer(signal.ITIMER_PROF, MOST_TIME)
        for last in inputs:
            if not crc32(last) % MEASURED:
                tracemalloc.start()
            try:
                past_first, end = drive(last)
            finally:
                memory = tracemalloc.get_traced_memory()[1]
                tracemalloc.stop()
            assert memory <= MOST_MEMORY + MOST_MEMORY_PER_BYTE * len(last), f"{memory} bytes for {len(last)}"
            figures.inputs += 1
            figures.past_first += past_first
            figures.ends[end] += 1
            figures.longest, figures.memory = max(figures.longest, len(last)), max(figures.memory, memory)

    before = signal.signal(signal.SIGPROF, _hang)
    try:
        while figures.inputs < inputs:
            seed += 1_000_003
            settings = hypothesis.settings(
                max_examples=min(500, -(-(inputs - figures.inputs) // BATCH)),
                phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
                database=None,
                deadline=None,
                suppress_health_check=list(hypothesis.HealthCheck),
                report_multiple_bugs=False,
            )
            hypothesis.seed(seed)(settings(hypothesis.given(drawn)(batch)))()
    except Hang:
        figures.found = f"no end after {MOST_TIME:g} s of processor time\n"
    except Exception as reason:
        signal.setitimer(signal.ITIMER_PROF, 0)
        figures.found = "".join(traceback.format_exception(reason))
        last = _shrink(drive, last, type(reason))
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)
    if figures.found:
        figures.found += f"for tests/fuzz/test_found.py:\n    ({name!r}, {last!r}),"
    figures.seconds = time.process_time() - begun
    return figures


def _hang(_signal: int, _frame: FrameType | None) -> None:
    raise Hang


def _shrink(drive: Drive, data: bytes, reason: type[Exception]) -> bytes:
    """Return a shorter input that fails alike: Hypothesis shrinks what was drawn, not what was made of it."""
    size = len(data) // 2
    while size:
        for start in range(0, len(data) - size + 1, max(1, size // 8)):
            shorter = data[:start] + data[start + size :]
            try:
                drive(shorter)
            except reason:
                data = shorter
                break
            except Exception:
                continue
        else:
            size //= 2
    return data
