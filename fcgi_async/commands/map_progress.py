"""The progress of `map` on a terminal: a table and a bar if rich is installed, otherwise one line."""

from __future__ import annotations

import time
from typing import Final, Protocol

import attrs

from fcgi_async.commands.map_standing import Standing
from fcgi_async.commands.progress import Progress
from fcgi_async.commands.stdio import STDERR
from fcgi_async.commands.terminal import can_draw

__all__ = ("Display", "MapProgress")

_REDRAW_SECONDS: Final = 0.1


class Display(Protocol):
    """Shows it."""

    def show(self, standing: Standing) -> None:
        """Draw the progress over what was drawn before."""

    def clear(self) -> None:
        """Remove what was drawn."""


@attrs.define(eq=False)
class _Line:
    """One line, with a bar."""

    _progress: Progress

    def show(self, standing: Standing) -> None:
        ended = standing.done + standing.failed
        words = f"{ended:,} done, {standing.failed:,} failed, {standing.rate:,.0f} jobs/s"
        self._progress.update(standing.read, words)

    def clear(self) -> None:
        self._progress.clear()


@attrs.define(eq=False)
class MapProgress:
    """Draws at most ten times a second, and only on a terminal.

    Args:
        total: bytes of standard input; None if that is not known.
    """

    total: int | None
    _display: Display = attrs.field(init=False)
    _wanted: bool = attrs.field(init=False)
    _next: float = attrs.field(init=False, default=0.0)

    def __attrs_post_init__(self) -> None:
        line = Progress(self.total)
        self._wanted = line.terminal
        self._display = (_table() if can_draw(STDERR) else None) or _Line(line)

    def is_due(self) -> bool:
        """Return whether to draw now."""
        return self._wanted and time.monotonic() >= self._next

    def show(self, standing: Standing) -> None:
        """Draw it."""
        self._next = time.monotonic() + _REDRAW_SECONDS
        self._display.show(standing)

    def clear(self) -> None:
        """Remove it, because something else will be written there or the work has ended."""
        if self._wanted:
            self._display.clear()
            self._next = 0.0


def _table() -> Display | None:
    try:
        from fcgi_async.commands.map_table import MapTable
    except ImportError:
        return None
    return MapTable()
