"""`fcgi-async status`: print a pool's status page, once or repeatedly."""

from __future__ import annotations

import argparse
import asyncio
import os
import shutil
import signal

import anyio
import attrs

from fcgi_async.commands.advice import advise
from fcgi_async.commands.pool_choice import PoolChoice, add_pool_choice, seconds
from fcgi_async.commands.report import as_json, as_text
from fcgi_async.commands.stdio import STDERR, STDOUT, write
from fcgi_async.commands.terminal import CLEAR_SCREEN, printable
from fcgi_async.commands.wording import in_options
from fcgi_async.errors import StatusUnavailable
from fcgi_async.fpm.status import fetch_status

__all__ = ("add_arguments", "execute")

_WATCH_SECONDS = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_pool_choice(parser, "pm.status_listen, which answers even while every worker is busy; or the pool's address")
    parser.add_argument("--path", metavar="PATH", help="pm.status_path (default: /status, or as configured)")
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line")
    parser.add_argument(
        "--watch",
        metavar="SECONDS",
        type=seconds,
        nargs="?",
        const=_WATCH_SECONDS,
        help=f"print it again after this many seconds (default: {_WATCH_SECONDS:g}), until interrupted",
    )


async def execute(options: argparse.Namespace) -> int:
    """Print the status; return the exit code.

    Raises:
        UsageError: the options cannot be used.
        StatusUnavailable: there is no answer, or not in time; the error tells what to configure.
    """
    shown = _Shown(PoolChoice.parse(options), json=options.json)
    if options.watch is None:
        await shown.refresh()
    else:
        await _watch(shown, options.watch)
    return 0


async def _watch(shown: _Shown, interval: float) -> None:
    loop = asyncio.get_running_loop()
    with anyio.CancelScope() as scope:
        # an interruption is the normal end
        loop.add_signal_handler(signal.SIGINT, scope.cancel)
        try:
            await shown.refresh()
            while True:
                await anyio.sleep(interval)
                try:
                    await shown.refresh()
                except StatusUnavailable as error:
                    # it answered before, and may do so again: FPM is being restarted, or all workers are busy
                    await write(STDERR, f"fcgi-async: {printable(in_options(advise(error, None)))}\n".encode())
        finally:
            loop.remove_signal_handler(signal.SIGINT)


@attrs.define(eq=False)
class _Shown:
    """The status that was printed last."""

    choice: PoolChoice
    json: bool
    _terminal: bool = attrs.field(factory=lambda: os.isatty(STDOUT), init=False)
    _before: bool = attrs.field(default=False, init=False)

    async def refresh(self) -> None:
        """Ask FPM, and print the answer."""
        choice = self.choice
        status = await fetch_status(choice.require_page(), timeout=choice.timeout)
        if self.json:
            text = as_json(status, choice.warnings) + "\n"
        elif self._terminal:
            width = shutil.get_terminal_size().columns
            text = (CLEAR_SCREEN if self._before else "") + as_text(status, choice.warnings, width=width)
        else:
            text = ("\n" if self._before else "") + as_text(status, choice.warnings)
        self._before = True
        await write(STDOUT, text.encode())
