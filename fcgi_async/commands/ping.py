"""`fcgi-async ping`: check whether a worker of a pool answers, and how soon."""

from __future__ import annotations

import argparse

from fcgi_async.commands.advice import silent_pool
from fcgi_async.commands.pool_choice import PoolChoice, add_pool_choice
from fcgi_async.commands.stdio import STDOUT, write
from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import QueueTimeout

__all__ = ("add_arguments", "execute")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_pool_choice(parser, "the pool's address")


async def execute(options: argparse.Namespace) -> int:
    """Ask a worker for an answer; return the exit code.

    Raises:
        UsageError: the options cannot be used.
        FastCGIError: no worker answered in time.
    """
    choice = PoolChoice.parse(options)
    address = choice.address
    # asking one worker is enough, and every pool has one
    async with Dispatcher(address, max_children=1) as php:
        try:
            seconds = await php.ping(choice.timeout)
        except QueueTimeout as error:
            raise QueueTimeout(silent_pool(address, choice.timeout), endpoint=address) from error
    await write(STDOUT, f"{address}: a worker answered in {seconds * 1000:.1f} ms\n".encode())
    return 0
