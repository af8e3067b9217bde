"""Handle SIGINT and SIGTERM: the first signal asks to finish, the second to end at once."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ("stop_signals",)

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def stop_signals(finish: Callable[[], None], end: Callable[[], None]) -> Iterator[None]:
    """Watch for the signals, in asyncio's event loop.

    Args:
        finish: called at the first signal.
        end: called at each signal after that.
    """
    loop = asyncio.get_running_loop()
    calls = iter([finish])

    def received() -> None:
        next(calls, end)()

    for number in _SIGNALS:
        loop.add_signal_handler(number, received)
    try:
        yield
    finally:
        for number in _SIGNALS:
            loop.remove_signal_handler(number)
