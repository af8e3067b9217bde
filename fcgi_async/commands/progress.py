"""The progress of work: a bar on a terminal, otherwise a line from time to time."""

from __future__ import annotations

import shutil
import sys
import time

import attrs

__all__ = ("CLEAR_LINE", "Progress")

_BAR_WIDTH = 24
_REDRAW_SECONDS = 0.1
CLEAR_LINE = "\r\x1b[K"


@attrs.define(eq=False)
class Progress:
    """Draws on standard error, at most ten times a second.

    Args:
        total: the amount of work, or None if unknown; then there is no bar, only text.
        plain: whether to write a line at each quarter if standard error is not a terminal, instead of nothing.
    """

    total: int | None
    plain: bool = False
    _terminal: bool = attrs.field(init=False, factory=lambda: sys.stderr.isatty())
    _next_draw: float = attrs.field(init=False, default=0.0)
    _next_quarter: int = attrs.field(init=False, default=1)
    _drawn: bool = attrs.field(init=False, default=False)

    @property
    def terminal(self) -> bool:
        """Whether it draws."""
        return self._terminal

    def update(self, done: int, words: str) -> None:
        """Show that `done` of `total` is done, with `words` as text."""
        if self._terminal:
            if (now := time.monotonic()) >= self._next_draw:
                self._next_draw = now + _REDRAW_SECONDS
                self._draw(done, words)
        elif self.plain and self.total and done * 4 >= self.total * self._next_quarter:
            self._next_quarter = done * 4 // self.total + 1
            print(words, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Remove the bar, because something else will be written there or the work has ended."""
        if self._drawn:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()
            self._drawn, self._next_draw = False, 0.0

    def _draw(self, done: int, words: str) -> None:
        bar = ""
        if self.total:
            filled = round(_BAR_WIDTH * min(1.0, done / self.total))
            bar = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] "
        # a line that fills the last column would wrap, and could not be cleared
        line = f"{bar}{words}"[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write(CLEAR_LINE + line)
        sys.stderr.flush()
        self._drawn = True
