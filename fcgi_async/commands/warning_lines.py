"""The library's warnings in a command's form: one line each on standard error."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections import deque

from fcgi_async.commands.progress import CLEAR_LINE
from fcgi_async.commands.terminal import printable

__all__ = ("WarningLines",)

# the error that ends a command may directly follow a warning with the same text, and one of them is enough
_HOLD_SECONDS = 0.2


class WarningLines(logging.Handler):
    """Writes each record as `fcgi-async: MESSAGE`, a moment later; over a progress bar, which is drawn again."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._held: deque[str] = deque()

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record; if an event loop runs, a moment later."""
        self._held.append(record.getMessage())
        try:
            asyncio.get_running_loop().call_later(_HOLD_SECONDS, self._write_one)
        except RuntimeError:
            self._write_one()

    def end(self, said: str = "") -> None:
        """Write the held records, except one whose text was `said` already."""
        self._held = deque(message for message in self._held if message not in said)
        while self._held:
            self._write_one()

    def _write_one(self) -> None:
        if self._held:
            clear = CLEAR_LINE if sys.stderr.isatty() else ""
            line = printable(" ".join(self._held.popleft().split()))
            print(f"{clear}fcgi-async: {line}", file=sys.stderr, flush=True)
