"""The progress of `map` as a table with a bar and the remaining time, drawn by rich."""

from __future__ import annotations

try:
    from rich.console import Console, Group, RenderableType
    from rich.live import Live
    from rich.progress_bar import ProgressBar
    from rich.table import Table
except ImportError as error:
    raise ImportError(
        "the table on a terminal needs rich: pip install 'fcgi-async[cli]'",
        name=error.name,
        path=error.path,
    ) from error

from datetime import timedelta

import attrs

from fcgi_async.commands.map_standing import Standing

__all__ = ("MapTable", "table")


@attrs.define(eq=False)
class MapTable:
    """Draws on standard error, below other output."""

    _console: Console = attrs.field(init=False, factory=lambda: Console(stderr=True))
    _live: Live | None = attrs.field(init=False, default=None)

    def show(self, standing: Standing) -> None:
        """Draw the progress over what was drawn before."""
        if self._live is None:
            # other output to sys.stderr goes above it
            self._live = Live(console=self._console, auto_refresh=False, transient=True, redirect_stdout=False)
            self._live.start()
        self._live.update(table(standing), refresh=True)

    def clear(self) -> None:
        """Remove what was drawn."""
        if self._live is not None:
            self._live.stop()
            self._live = None


def table(standing: Standing) -> RenderableType:
    """Return the table."""
    left = standing.left
    columns = {
        "DONE": f"{standing.done:,}",
        "FAILED": f"{standing.failed:,}",
        "IN HAND": f"{standing.in_hand:,}",
        "JOBS/S": f"{standing.rate:,.0f}",
        "ELAPSED": _duration(standing.seconds),
        "LEFT": "unknown" if left is None else _duration(left),
    }
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in columns:
        failed = name == "FAILED" and standing.failed
        found.add_column(name, justify="right", style="red" if failed else None, min_width=9)
    found.add_row(*columns.values())
    if not standing.total:
        return found
    bar = Table.grid()
    bar.add_row(ProgressBar(total=standing.total, completed=standing.read, width=64))
    return Group(bar, found)


def _duration(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
