"""An input that never ends: found by the processor time it has had, which a busy machine does not change."""

from __future__ import annotations

import signal
from types import FrameType

TICK = 0.5
TICKS = 6


class Hang(BaseException):
    """One input has had seconds of processor time; no `except Exception` of what is fuzzed may take it."""


class Watchdog:
    """Raises `Hang` in an input that has more than three seconds of processor time; for the main thread."""

    def __init__(self) -> None:
        # counts the inputs
        self.beat = 0
        self._seen = -1
        self._ticks = 0

    def __enter__(self) -> Watchdog:
        self._handler = signal.signal(signal.SIGPROF, self._tick)
        signal.setitimer(signal.ITIMER_PROF, TICK, TICK)
        return self

    def __exit__(self, *_: object) -> None:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, self._handler)

    def _tick(self, _signal: int, _frame: FrameType | None) -> None:
        self._ticks = self._ticks + 1 if self.beat == self._seen else 0
        self._seen = self.beat
        if self._ticks >= TICKS:
            self._ticks = 0
            raise Hang(f"no end after {TICK * TICKS:g} s of processor time")
