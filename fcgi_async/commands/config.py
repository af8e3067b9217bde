"""`fcgi-async config`: print the endpoint that FPM's own configuration describes, for a program or a shell."""

from __future__ import annotations

import argparse
import json
import shlex

from fcgi_async.commands.config_options import add_config_options
from fcgi_async.commands.pool_options import ENVIRONMENT, count
from fcgi_async.commands.stdio import STDOUT, write
from fcgi_async.pool.endpoint import Endpoint

__all__ = ("add_arguments", "as_environment", "as_options", "as_python", "execute")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_config_options(parser, "{} (default: where distributions keep it)")
    parser.add_argument(
        "--reserve", metavar="N", type=int, help="workers left to other clients (default: a quarter, rounded up)"
    )
    parser.add_argument(
        "--processes", metavar="N", type=count, default=1, help="processes that share the rest (default: 1)"
    )
    parser.add_argument(
        "--format",
        metavar="FORMAT",
        choices=_FORMATS,
        default="python",
        help=f"one of {', '.join(_FORMATS)} (default: python)",
    )


async def execute(options: argparse.Namespace) -> int:
    """Print the endpoint; return the exit code.

    Raises:
        ConfigurationError: the configuration cannot be read, or leaves no worker.
    """
    endpoint = Endpoint.from_fpm_config(
        options.fpm_config, options.pool, reserve=options.reserve, processes=options.processes, prefix=options.prefix
    )
    await write(STDOUT, f"{_FORMATS[options.format](endpoint)}\n".encode())
    return 0


def as_python(endpoint: Endpoint) -> str:
    """Return the Python expression for the endpoint."""
    arguments = [f"{str(endpoint.address)!r}", f"max_children={endpoint.max_children}", f"reserve={endpoint.reserve}"]
    if endpoint.processes > 1:
        arguments.append(f"processes={endpoint.processes}")
    if endpoint.status is not None:
        arguments.append(f"status=StatusPage({str(endpoint.status.address)!r}, path={endpoint.status.path!r})")
    names = "Endpoint" if endpoint.status is None else "Endpoint, StatusPage"
    return f"from fcgi_async import {names}\n\nendpoint = Endpoint({', '.join(arguments)})"


def as_options(endpoint: Endpoint) -> str:
    """Return the options of `run`, `map`, `bench` and `worker`, in shell syntax."""
    reserve = _reserve_of_one(endpoint)
    options = ["--fpm", str(endpoint.address), "--max-children", str(endpoint.max_children), "--reserve", str(reserve)]
    return shlex.join(options)


def as_environment(endpoint: Endpoint) -> str:
    """Return the environment variables that replace these options, in shell syntax."""
    values = (str(endpoint.address), str(endpoint.max_children), str(_reserve_of_one(endpoint)))
    return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in zip(ENVIRONMENT, values, strict=True))


def as_json(endpoint: Endpoint) -> str:
    """Return one JSON object on one line."""
    page = endpoint.status
    return json.dumps(
        {
            "address": str(endpoint.address),
            "max_children": endpoint.max_children,
            "reserve": endpoint.reserve,
            "processes": endpoint.processes,
            "share": endpoint.share,
            "status": None if page is None else {"address": str(page.address), "path": page.path},
        }
    )


def _reserve_of_one(endpoint: Endpoint) -> int:
    """Return the number of workers that one process leaves to all others, including the other processes."""
    assert endpoint.max_children is not None
    return endpoint.max_children - endpoint.share


_FORMATS = {"python": as_python, "options": as_options, "environment": as_environment, "json": as_json}
