"""Write the outcomes of `map` to standard output, in the order of the lines or as they come, and count them."""

from __future__ import annotations

import json
import os
import time

import anyio
import attrs

from fcgi_async.commands.map_progress import MapProgress
from fcgi_async.commands.map_record import Record
from fcgi_async.commands.map_standing import Standing
from fcgi_async.commands.stdio import STDOUT, write

__all__ = ("OutcomeWriter",)


@attrs.define(eq=False)
class OutcomeWriter:
    """Writes outcomes to standard output, and counts them.

    Args:
        ordered: whether outcomes are written in the order of the lines.
        total: bytes of standard input, if known.

    Attributes:
        done: number of successful jobs.
        failed: number of failed jobs.
        taken: number of lines that were read.
        passed: number of lines that need no more room, because they were written or left out.
        held_bytes: bytes of outcomes that wait for their turn.
        read: bytes of standard input that were read.
    """

    ordered: bool
    total: int | None
    done: int = attrs.field(init=False, default=0)
    failed: int = attrs.field(init=False, default=0)
    taken: int = attrs.field(init=False, default=0)
    passed: int = attrs.field(init=False, default=0)
    held_bytes: int = attrs.field(init=False, default=0)
    read: int = attrs.field(init=False, default=0)
    progress: MapProgress = attrs.field(init=False)
    # by index; None for a line that is left out
    _held: dict[int, bytes | None] = attrs.field(init=False, factory=dict)
    _moved: anyio.Event = attrs.field(init=False, factory=anyio.Event)
    # a turn of the event loop for each outcome would cost more than the rest
    _lock: anyio.Lock = attrs.field(init=False, factory=lambda: anyio.Lock(fast_acquire=True))
    _started: float = attrs.field(init=False, factory=time.monotonic)
    _shares_terminal: bool = attrs.field(init=False, factory=lambda: os.isatty(STDOUT))

    def __attrs_post_init__(self) -> None:
        self.progress = MapProgress(self.total)

    @property
    def seconds(self) -> float:
        """Seconds since it was created."""
        return time.monotonic() - self._started

    async def write(self, record: Record) -> None:
        """Write an outcome, or keep it until its turn.

        Raises:
            BrokenPipeError: the reader has closed.
            OSError: standard output cannot be written.
        """
        if record["ok"]:
            self.done += 1
        else:
            self.failed += 1
        line = json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        index = record["index"]
        assert isinstance(index, int)
        await self._hold(index, line)
        if self.progress.is_due():
            self.progress.show(self._standing())

    def _standing(self) -> Standing:
        in_hand = self.taken - self.passed
        return Standing(self.read, self.total, self.done, self.failed, in_hand, self.seconds)

    async def leave_out(self, index: int) -> None:
        """Write nothing for a line, so that those after it can be written."""
        await self._hold(index, None)

    async def moved(self) -> None:
        """Wait until a line needs no more room."""
        await self._moved.wait()

    async def flush(self) -> None:
        """Write the outcomes that still wait for their turn, because nothing will come before them."""
        held = sorted(self._held.items())
        self._held.clear()
        await self._write([line for _, line in held], sum(len(line or b"") for _, line in held))

    async def _hold(self, index: int, line: bytes | None) -> None:
        if not self.ordered:
            await self._write([line], 0)
            return
        self._held[index] = line
        self.held_bytes += len(line or b"")
        async with self._lock:
            ready = list[bytes | None]()
            # everything before is written, or is being written
            while self.passed + len(ready) in self._held:
                ready.append(self._held.pop(self.passed + len(ready)))
            if ready:
                await self._put(ready, sum(len(one or b"") for one in ready))

    async def _write(self, lines: list[bytes | None], held: int) -> None:
        async with self._lock:
            await self._put(lines, held)

    async def _put(self, lines: list[bytes | None], held: int) -> None:
        data = b"".join(line for line in lines if line is not None)
        if data:
            if self._shares_terminal:
                self.progress.clear()
            await write(STDOUT, data)
        self.passed += len(lines)
        self.held_bytes -= held
        self._moved.set()
        self._moved = anyio.Event()
