"""`fcgi-async top`: show a pool's workers, queue and requests per second while it runs."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from contextlib import ExitStack
from typing import TYPE_CHECKING, Final

import anyio
import attrs

from fcgi_async.commands.advice import advise
from fcgi_async.commands.pool_choice import PoolChoice, add_pool_choice, seconds
from fcgi_async.commands.request_rate import RequestRate
from fcgi_async.commands.stdio import STDERR, STDOUT, write
from fcgi_async.commands.terminal import can_draw, printable
from fcgi_async.commands.top_report import Look
from fcgi_async.commands.wording import in_options
from fcgi_async.errors import StatusUnavailable
from fcgi_async.fpm.status import StatusPage, fetch_status

if TYPE_CHECKING:
    from fcgi_async.commands.top_screen import Screen

__all__ = ("add_arguments", "execute")

_INTERVAL: Final = 2.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_pool_choice(parser, "pm.status_listen, which answers even while every worker is busy; or the pool's address")
    parser.add_argument("--path", metavar="PATH", help="pm.status_path (default: /status, or as configured)")
    parser.add_argument(
        "--interval",
        metavar="SECONDS",
        type=seconds,
        default=_INTERVAL,
        help=f"between two readings (default: {_INTERVAL:g})",
    )
    parser.add_argument("--once", action="store_true", help="read once, without requests per second")
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line for each reading")


async def execute(options: argparse.Namespace) -> int:
    """Show the pool until interrupted; return the exit code.

    Raises:
        UsageError: the options cannot be used.
        StatusUnavailable: there is no answer to the first reading; the error tells what to configure.
    """
    choice = PoolChoice.parse(options)
    page = choice.require_page()
    watched = _Watched(page, choice.timeout, json=options.json)
    if options.once:
        await watched.print(await watched.look())
        return 0
    loop = asyncio.get_running_loop()
    with ExitStack() as stack, anyio.CancelScope() as scope:
        # an interruption is the normal end
        loop.add_signal_handler(signal.SIGINT, scope.cancel)
        try:
            first = await watched.look()
            if not options.json and can_draw(STDOUT):
                watched.screen = _screen(stack)
            await watched.print(first)
            while True:
                await anyio.sleep(options.interval)
                await watched.refresh()
        finally:
            loop.remove_signal_handler(signal.SIGINT)
    return 0


def _screen(stack: ExitStack) -> Screen | None:
    """Use the whole terminal if rich is installed."""
    try:
        from fcgi_async.commands.top_screen import Screen
    except ImportError:
        return None
    return stack.enter_context(Screen())


@attrs.define(eq=False)
class _Watched:
    """The pool and its last reading.

    Attributes:
        screen: the screen to draw on; None to print lines.
    """

    page: StatusPage
    timeout: float
    json: bool
    screen: Screen | None = attrs.field(default=None, init=False)
    _rate: RequestRate = attrs.field(factory=RequestRate, init=False)
    _last: Look | None = attrs.field(default=None, init=False)

    async def look(self) -> Look:
        """Ask FPM."""
        status = await fetch_status(self.page, timeout=self.timeout)
        self._last = Look(status, self._rate.rates(status, time.monotonic()))
        return self._last

    async def refresh(self) -> None:
        """Ask FPM, and show the answer, or that there is none: it may answer again later."""
        try:
            await self.print(await self.look())
        except StatusUnavailable as error:
            problem = printable(in_options(advise(error, None)))
            if self.screen is not None:
                self.screen.show(self._last, problem)
            else:
                await write(STDERR, f"fcgi-async: {problem}\n".encode())

    async def print(self, look: Look) -> None:
        """Show the last reading."""
        if self.screen is not None:
            self.screen.show(look, "")
        else:
            await write(STDOUT, f"{look.as_json() if self.json else look.line()}\n".encode())
