"""Which FPM pool a command looks at."""

from __future__ import annotations

import argparse
import math
from typing import Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.fpm.status import StatusPage

__all__ = ("PoolChoice", "add_pool_choice", "seconds")

_TIMEOUT = 5.0


def add_pool_choice(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the arguments that `PoolChoice` reads; `whose` tells what address is meant."""
    parser.add_argument(
        "address", metavar="ADDRESS", help=f"{whose}: unix:///run/php/php-fpm.sock, unix://@abstract or tcp://host:port"
    )
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=_TIMEOUT, help=f"at most (default: {_TIMEOUT:g})"
    )


def seconds(text: str) -> float:
    """Parse a number of seconds, more than none, for argparse."""
    number = float(text)
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} is no number of seconds above 0")
    return number


@attrs.frozen(kw_only=True)
class PoolChoice:
    """The pool that was asked for.

    Attributes:
        address: that was named.
        path: of the status page.
        timeout: seconds to wait at most.
        warnings: what is to be said of its settings.
    """

    address: str
    path: str
    timeout: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Self:
        """Read the options.

        Raises:
            UsageError: they do not go together.
        """
        if not options.address:
            raise UsageError("name the address of a pool")
        return cls(address=options.address, path=getattr(options, "path", None) or "/status", timeout=options.timeout)

    @property
    def status_page(self) -> StatusPage:
        """Where its status page is.

        Raises:
            ConfigurationError: the address or the path is none.
        """
        return StatusPage(self.address, path=self.path)
