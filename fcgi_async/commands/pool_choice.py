"""Which FPM pool a command looks at."""

from __future__ import annotations

import argparse
import math
from typing import Self

import attrs

from fcgi_async.commands.errors import UsageError
from fcgi_async.fpm.config import read_pool_config
from fcgi_async.fpm.status import StatusPage

__all__ = ("PoolChoice", "add_pool_choice", "seconds")

_TIMEOUT = 5.0


def add_pool_choice(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the arguments that `PoolChoice` reads; `whose` tells what address is meant."""
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help=f"{whose}: unix:///run/php/php-fpm.sock, unix://@abstract or tcp://host:port",
    )
    parser.add_argument(
        "--fpm-config",
        metavar="FILE",
        help="instead of an address: FPM's configuration, or what php-fpm -tt prints, in a file",
    )
    parser.add_argument("--pool", metavar="NAME", help="the pool in that configuration (default: www, or the only one)")
    parser.add_argument(
        "--prefix",
        metavar="DIR",
        help="what relative paths in that configuration start from (default: found, from what it includes)",
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
        address: where it listens, or what was named.
        page: where its status page is; None where its configuration has none.
        timeout: seconds to wait at most.
        warnings: what is to be said of its settings.
    """

    address: str
    page: StatusPage | None
    timeout: float
    warnings: tuple[str, ...] = ()

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Self:
        """Read the options.

        Raises:
            UsageError: they do not go together.
            ConfigurationError: the address or the path is none, or FPM's configuration cannot be read.
        """
        path = getattr(options, "path", None)
        if options.fpm_config is None:
            if not options.address or options.pool is not None or options.prefix is not None:
                raise UsageError("name the ADDRESS of a pool, or --fpm-config FILE, with --pool NAME and --prefix DIR")
            page = StatusPage(options.address, path=path or "/status")
            return cls(address=options.address, page=page, timeout=options.timeout)
        if options.address:
            raise UsageError("name the ADDRESS of a pool, or --fpm-config FILE, not both")
        config = read_pool_config(options.fpm_config, options.pool, prefix=options.prefix)
        path = path or config.status_path
        return cls(
            address=str(config.listen),
            page=None if path is None else StatusPage(config.status_listen or config.listen, path=path),
            timeout=options.timeout,
            warnings=config.warnings(),
        )
