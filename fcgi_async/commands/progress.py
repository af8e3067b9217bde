"""How far the work has come: a bar on a terminal, a line now and then elsewhere."""

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
    """Draws to standard error, ten times a second at most.

    Args:
        total: how much there is to do, or None where nobody knows; then there is no bar, only the words.
        plain: whether to write a line at each quarter where standard error is no terminal, rather than nothing.
    """

    total: int | None
    plain: bool = False
    _terminal: bool = attrs.field(init=False, factory=lambda: sys.stderr.isatty())
    _next_draw: float = attrs.field(init=False, default=0.0)
    _next_quarter: int = attrs.field(init=False, default=1)
    _drawn: bool = attrs.field(init=False, default=False)

    def update(self, done: int, words: str) -> None:
        """Show that `done` of `total` is done; `words` say it."""
        if self._terminal:
            if (now := time.monotonic()) >= self._next_draw:
                self._next_draw = now + _REDRAW_SECONDS
                self._draw(done, words)
        elif self.plain and self.total and done * 4 >= self.total * self._next_quarter:
            self._next_quarter = done * 4 // self.total + 1
            print(words, file=sys.stderr, flush=True)

    def clear(self) -> None:
        """Take the bar away, because something else is to be written there or the work is over."""
        if self._drawn:
            sys.stderr.write(CLEAR_LINE)
            sys.stderr.flush()
            self._drawn, self._next_draw = False, 0.0

    def _draw(self, done: int, words: str) -> None:
        bar = ""
        if self.total:
            filled = round(_BAR_WIDTH * min(1.0, done / self.total))
            bar = f"[{'#' * filled}{'.' * (_BAR_WIDTH - filled)}] "
        # one that filled the last column would wrap, and no longer be cleared
        line = f"{bar}{words}"[: shutil.get_terminal_size().columns - 1]
        sys.stderr.write(CLEAR_LINE + line)
        sys.stderr.flush()
        self._drawn = True
