"""The options for the FPM pool that a command asks."""

from __future__ import annotations

import argparse
import math
import os
from typing import Self

import attrs

from fcgi_async.commands.config_options import add_config_options
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.pool_options import ENVIRONMENT
from fcgi_async.errors import ConfigurationError, StatusUnavailable
from fcgi_async.fpm.config import PoolConfig, read_pool_config
from fcgi_async.fpm.search import find_pool_config
from fcgi_async.fpm.status import StatusPage

__all__ = ("PoolChoice", "add_pool_choice", "named_address", "seconds")

_TIMEOUT = 5.0


def add_pool_choice(parser: argparse.ArgumentParser, whose: str) -> None:
    """Add the arguments that `PoolChoice` reads; `whose` tells what address is meant."""
    parser.add_argument(
        "address",
        metavar="ADDRESS",
        nargs="?",
        help=f"{whose}: unix:///run/php/php-fpm.sock, unix://@abstract or tcp://host:port (default: FCGI_ASYNC_FPM in "
        "the environment, else as in FPM's configuration, where distributions keep it)",
    )
    add_config_options(parser, "instead of an address: {}")
    parser.add_argument(
        "--timeout", metavar="SECONDS", type=seconds, default=_TIMEOUT, help=f"at most (default: {_TIMEOUT:g})"
    )


def named_address(options: argparse.Namespace) -> str | None:
    """Return the address of the command line or of the environment; None if there is none, or a configuration.

    Raises:
        UsageError: both an address and a configuration are given.
    """
    if options.fpm_config is None:
        return options.address or os.environ.get(ENVIRONMENT[0]) or None
    if options.address:
        raise UsageError("name the ADDRESS of a pool, or --fpm-config FILE, not both")
    return None


def seconds(text: str) -> float:
    """Parse a number of seconds above 0, for argparse."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not 0 < number < math.inf:
        raise argparse.ArgumentTypeError(f"{text} must be a number of seconds above 0")
    return number


@attrs.frozen(kw_only=True)
class PoolChoice:
    """The chosen pool.

    Attributes:
        address: its address, or the name that was given.
        page: its status page; None if its configuration has none.
        timeout: most seconds to wait.
        warnings: warnings about its settings.
    """

    address: str
    page: StatusPage | None
    timeout: float
    warnings: tuple[str, ...] = ()

    def require_page(self) -> StatusPage:
        """Return the status page.

        Raises:
            StatusUnavailable: the pool's configuration has none.
        """
        if self.page is None:
            raise StatusUnavailable(
                f"the configuration of {self.address} names no status page; set pm.status_path, and pm.status_listen "
                "for one that answers while every worker is busy",
                endpoint=self.address,
            )
        return self.page

    @classmethod
    def parse(cls, options: argparse.Namespace) -> Self:
        """Read the options.

        Raises:
            UsageError: the options do not go together.
            ConfigurationError: the address or the path is invalid, or FPM's configuration cannot be read.
        """
        path = getattr(options, "path", None)
        address = named_address(options)
        if address is not None:
            if options.pool is not None or options.prefix is not None:
                raise UsageError(
                    "--pool and --prefix look for a pool in FPM's configuration: leave out its ADDRESS, or name a file "
                    "with --fpm-config"
                )
            page = StatusPage(address, path=path or "/status")
            return cls(address=address, page=page, timeout=options.timeout)
        config = _configured(options)
        path = path or config.status_path
        return cls(
            address=str(config.listen),
            page=None if path is None else StatusPage(config.status_listen or config.listen, path=path),
            timeout=options.timeout,
            warnings=config.warnings(),
        )


def _configured(options: argparse.Namespace) -> PoolConfig:
    if options.fpm_config is not None:
        return read_pool_config(options.fpm_config, options.pool, prefix=options.prefix)
    try:
        return find_pool_config(options.pool, prefix=options.prefix)[1]
    except ConfigurationError as error:
        why = error.message.rpartition("; ")[0]
        raise UsageError(f"{why}; name the pool's ADDRESS, or --fpm-config FILE") from error
