"""Which PHP-FPM a command runs its jobs on: one that is there, or a private one."""

from __future__ import annotations

import argparse
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.fpm.local import LocalFPM
from fcgi_async.job.job import Job
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("PoolOptions", "add_pool_options", "count")

_PRIVATE_WORKERS = 4
# output leaves when the script says so, errors go to standard error rather than into the response, bodies have any size
_PRIVATE_INI = {
    "output_buffering": "0",
    "display_errors": "off",
    "log_errors": "on",
    "html_errors": "off",
    "post_max_size": "0",
}


def add_pool_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that `PoolOptions` reads."""
    group = parser.add_argument_group(
        "PHP-FPM", "Without --fpm a private PHP-FPM is started, and ended with the command."
    )
    group.add_argument(
        "--fpm", metavar="ADDRESS", help="unix:///run/php/php-fpm.sock, unix://@abstract or tcp://127.0.0.1:9000"
    )
    group.add_argument(
        "--max-children",
        metavar="N",
        type=count,
        help=f"pm.max_children of that pool; of a private one, how many workers it gets (default: {_PRIVATE_WORKERS})",
    )
    group.add_argument(
        "--reserve", metavar="N", type=int, help="with --fpm: workers left to everybody else (default: 0)"
    )


def count(text: str) -> int:
    """Parse a whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


@attrs.frozen(kw_only=True)
class PoolOptions:
    """The PHP-FPM that was asked for.

    Attributes:
        address: where it listens; None for a private one.
        max_children: how many workers it has.
        reserve: how many of them are left to everybody else.
    """

    address: str | None
    max_children: int
    reserve: int

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Self:
        """Read the options.

        Raises:
            UsageError: they do not go together.
        """
        if options.fpm is not None and options.max_children is None:
            raise UsageError("--fpm needs --max-children, which is pm.max_children in that pool's configuration")
        if options.fpm is None and options.reserve is not None:
            raise UsageError("--reserve goes with --fpm; nobody else uses a private PHP-FPM")
        return cls(
            address=options.fpm,
            max_children=options.max_children or _PRIVATE_WORKERS,
            reserve=options.reserve or 0,
        )

    def script(self, name: str) -> str:
        """Return the script's absolute path on FPM's side.

        Raises:
            UsageError: it is not there, or FPM could not know where.
        """
        if self.address is not None:
            if not name.startswith("/"):
                raise UsageError(
                    f"{name}: PHP-FPM does not know this directory; give the script's absolute path on its side"
                )
            return name
        path = Path(name).absolute()
        if not path.is_file():
            raise UsageError(f"{name}: there is no such script")
        return str(path)

    @asynccontextmanager
    async def open(self, *jobs: Job) -> AsyncIterator[Dispatcher]:
        """Start a private PHP-FPM where that is asked for, and a dispatcher on it.

        Args:
            jobs: the like of what will be run, to refuse it before anything is sent.

        Raises:
            ConfigurationError: there is no php-fpm, or the pool cannot be used like this.
            InvalidJob: jobs like this are never sent there.
        """
        if self.address is not None:
            async with self._dispatch(self.address, jobs) as php:
                yield php
            return
        async with (
            LocalFPM(max_children=self.max_children, ini=_PRIVATE_INI) as fpm,
            self._dispatch(fpm.address, jobs) as php,
        ):
            yield php

    def _dispatch(self, address: str, jobs: Iterable[Job]) -> Dispatcher:
        endpoint = Endpoint(address, max_children=self.max_children, reserve=self.reserve)
        encoder = RequestEncoder(endpoint)
        for job in jobs:
            encoder.check(job)
        return Dispatcher(endpoint)
