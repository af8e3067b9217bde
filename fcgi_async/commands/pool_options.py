"""The options for the PHP-FPM that runs a command's jobs: an existing one, or a private one."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Self

import attrs

from fcgi_async.commands.config_options import add_config_options
from fcgi_async.commands.errors import UsageError
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.dispatch.request import RequestEncoder
from fcgi_async.fpm.config import PoolConfig, read_pool_config
from fcgi_async.fpm.local import LocalFPM
from fcgi_async.fpm.search import find_pool_at
from fcgi_async.fpm.status import StatusPage
from fcgi_async.job.job import Job
from fcgi_async.net.address import Address
from fcgi_async.pool.capacity import reserve_for_the_site
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("ENVIRONMENT", "PoolOptions", "add_pool_options", "configured_here", "count")

# environment variables that replace --fpm, --max-children and --reserve
ENVIRONMENT: Final = ("FCGI_ASYNC_FPM", "FCGI_ASYNC_MAX_CHILDREN", "FCGI_ASYNC_RESERVE")
_PRIVATE_WORKERS = 4
# the script decides when output is sent, errors go to STDERR instead of the response, bodies may have any size
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
        "PHP-FPM",
        "Without --fpm or --fpm-config, and without FCGI_ASYNC_FPM in the environment, a private PHP-FPM starts "
        "and ends with the command.",
    )
    group.add_argument(
        "--fpm", metavar="ADDRESS", help="unix:///run/php/php-fpm.sock, unix://@abstract or tcp://127.0.0.1:9000"
    )
    group.add_argument(
        "--max-children",
        metavar="N",
        type=count,
        help="pm.max_children of that pool (default: as in FPM's configuration, where distributions keep it; not "
        f"needed for a single job); for a private one, its number of workers (default: {_PRIVATE_WORKERS})",
    )
    group.add_argument(
        "--reserve",
        metavar="N",
        type=int,
        help="workers left to other clients (default: a quarter, rounded up, if its configuration is read, else 0)",
    )
    add_config_options(group, "instead of --fpm and --max-children: {}")


def count(text: str) -> int:
    """Parse a whole number of at least 1, for argparse."""
    try:
        number = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number") from None
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return number


def _add_environment(options: argparse.Namespace) -> None:
    """Use the environment for options that are not given.

    Raises:
        UsageError: a value in the environment is not a number.
    """
    if options.fpm is not None or not os.environ.get(ENVIRONMENT[0]):
        return
    options.fpm = os.environ[ENVIRONMENT[0]]
    for variable, name in zip(ENVIRONMENT[1:], ("max_children", "reserve"), strict=True):
        value = os.environ.get(variable)
        if value and getattr(options, name) is None:
            if not value.isdecimal():
                raise UsageError(f"{variable}={value} is not a whole number of workers")
            setattr(options, name, int(value))


def configured_here(address: str, otherwise: str = "") -> PoolConfig:
    """Return the configuration of the pool at an address, from the places where distributions keep it.

    Raises:
        UsageError: it is not there; `otherwise` tells what else to do than to give the number of workers.
        ConfigurationError: the address is invalid.
    """
    found = find_pool_at(Address.parse(address))
    if found is None:
        raise UsageError(
            f"--fpm needs --max-children, which is pm.max_children in that pool's configuration{otherwise}"
        )
    return found[1]


@attrs.frozen(kw_only=True)
class PoolOptions:
    """The chosen PHP-FPM.

    Attributes:
        address: its address; None for a private one.
        max_children: its number of workers.
        reserve: how many of them are left to other clients.
        status: its status page, if known.
    """

    address: str | None
    max_children: int
    reserve: int
    status: StatusPage | None = None

    @classmethod
    def parse(cls, options: argparse.Namespace, *, one_job: bool = False) -> Self:
        """Read the options.

        Args:
            options: the parsed command line.
            one_job: whether there is only one job, which needs only one worker.

        Raises:
            UsageError: the options do not go together.
            ConfigurationError: FPM's configuration cannot be read, or leaves no worker.
        """
        if options.fpm_config is not None:
            return cls._configured(options)
        _add_environment(options)
        if options.pool is not None or options.prefix is not None:
            raise UsageError("--pool and --prefix need --fpm-config FILE, which has the pool")
        if options.fpm is None and options.reserve is not None:
            raise UsageError("--reserve needs --fpm; a private PHP-FPM has no other clients")
        reserve, workers = options.reserve or 0, options.max_children
        if options.fpm is not None and workers is None:
            if not one_job:
                return cls._found(options)
            workers = 1 + max(reserve, 0)
        return cls(address=options.fpm, max_children=workers or _PRIVATE_WORKERS, reserve=reserve)

    @classmethod
    def _configured(cls, options: argparse.Namespace) -> Self:
        if options.fpm is not None:
            raise UsageError("name the pool with --fpm ADDRESS, or with --fpm-config FILE, not both")
        return cls._of(read_pool_config(options.fpm_config, options.pool, prefix=options.prefix), options)

    @classmethod
    def _found(cls, options: argparse.Namespace) -> Self:
        """Return the pool at an address, if FPM's configuration is where distributions keep it."""
        return cls._of(configured_here(options.fpm, "; or name that file, with --fpm-config"), options)

    @classmethod
    def _of(cls, config: PoolConfig, options: argparse.Namespace) -> Self:
        workers, reserve = options.max_children or config.max_children, options.reserve
        if reserve is None:
            reserve = reserve_for_the_site(workers, 1)
        page = config.status_path
        return cls(
            address=str(config.listen),
            max_children=workers,
            reserve=reserve,
            status=None if page is None else StatusPage(config.status_listen or config.listen, path=page),
        )

    def script(self, name: str) -> str:
        """Return the script's absolute path on FPM's side.

        Raises:
            UsageError: the script does not exist, or FPM could not find it.
        """
        if self.address is not None:
            if not name.startswith("/"):
                here = f", such as {Path(name).absolute()}" if Path(name).is_file() else ""
                raise UsageError(
                    f"{name}: PHP-FPM does not know this directory; give the script's absolute path on its side{here}"
                )
            return name
        path = Path(name).absolute()
        if not path.is_file():
            raise UsageError(f"{name}: there is no such script; give the path of a PHP file")
        return str(path)

    @asynccontextmanager
    async def open(self, *jobs: Job) -> AsyncIterator[Dispatcher]:
        """Start a private PHP-FPM if one is needed, and open a dispatcher.

        Args:
            jobs: examples of the jobs, to refuse them before anything is sent.

        Raises:
            ConfigurationError: there is no php-fpm, or the pool cannot be used with these options.
            InvalidJob: such jobs can never be sent.
        """
        async with self.fpm() as address, self._dispatch(address, jobs) as php:
            yield php

    @asynccontextmanager
    async def fpm(self) -> AsyncIterator[str]:
        """Start a private PHP-FPM if one is needed, and yield the address of the pool.

        Raises:
            ConfigurationError: there is no php-fpm.
        """
        if self.address is not None:
            yield self.address
            return
        async with LocalFPM(max_children=self.max_children, ini=_PRIVATE_INI) as fpm:
            yield fpm.address

    def endpoint(self, address: str) -> Endpoint:
        """Return the pool's endpoint for a dispatcher.

        Raises:
            ConfigurationError: no worker is left.
        """
        return Endpoint(address, max_children=self.max_children, reserve=self.reserve, status=self.status)

    def _dispatch(self, address: str, jobs: Iterable[Job]) -> Dispatcher:
        endpoint = self.endpoint(address)
        encoder = RequestEncoder(endpoint)
        for job in jobs:
            encoder.check(job)
        return Dispatcher(endpoint)
