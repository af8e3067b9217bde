"""The screen of `fcgi-async top`: a pool and its workers, drawn by rich."""

from __future__ import annotations

try:
    from rich.console import Console, Group
    from rich.live import Live
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise ImportError(
        "the screen of `fcgi-async top` needs rich: pip install 'fcgi-async[cli]'",
        name=error.name,
        path=error.path,
    ) from error

from types import TracebackType
from typing import Self

from fcgi_async.commands.terminal import printable
from fcgi_async.commands.top_report import Look, memory
from fcgi_async.fpm.status import ProcessState, ProcessStatus

__all__ = ("Screen", "table")

# lines in addition to the workers': the pool, headings, and an error
_OTHER_LINES = 8


class Screen:
    """The whole terminal while it is entered; the previous content is restored afterwards."""

    def __init__(self) -> None:
        self._console = Console()
        self._live = Live(console=self._console, screen=True, auto_refresh=False)

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._live.stop()

    def show(self, look: Look | None, problem: str) -> None:
        """Draw the last reading, and the error since then if there is one."""
        parts: list[Text | Table] = []
        if look is not None:
            parts += [
                Text(look.line(), style="cyan"),
                Text(),
                table(look, rows=max(self._console.height - _OTHER_LINES, 1)),
            ]
        if problem:
            parts.append(Text(problem, style="red"))
        self._live.update(Group(*parts), refresh=True)


def table(look: Look, *, rows: int) -> Table:
    """Return the workers as a table of limited length, active ones first."""
    found = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("PID", "STATE", "FOR", "REQUESTS", "REQ/S", "CPU %", "MEMORY", "REQUEST"):
        found.add_column(
            name,
            justify="left" if name in ("STATE", "REQUEST") else "right",
            no_wrap=True,
            overflow="ellipsis",
            ratio=1 if name == "REQUEST" else None,
        )
    for process in sorted(look.status.processes, key=_rank)[:rows]:
        found.add_row(*_cells(look, process), style="green" if process.active else "dim")
    return found


def _cells(look: Look, process: ProcessStatus) -> list[Text]:
    rate = None if look.rates is None else look.rates.workers.get(process.pid)
    request = ""
    if process.active and process.script is not None:
        request = " ".join(part or "-" for part in (process.request_method, process.request_uri, process.script))
    state = "Getting request" if process.state is ProcessState.GETTING_REQUEST_INFORMATIONS else process.state.value
    cells = (
        f"{process.pid}",
        state,
        f"{process.request_duration:.3f} s" if process.active else "",
        f"{process.requests:,}",
        "-" if rate is None else f"{rate:,.1f}",
        f"{process.last_request_cpu:.1f}",
        memory(process.last_request_memory),
        printable(request),
    )
    # text from clients is not markup
    return [Text(cell) for cell in cells]


def _rank(process: ProcessStatus) -> tuple[bool, float, int]:
    return not process.active, -process.request_duration if process.active else 0.0, process.pid
