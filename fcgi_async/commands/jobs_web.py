"""`fcgi-async jobs web`: serve the page of durable jobs."""

from __future__ import annotations

import argparse
import os
from typing import Final

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.stdio import STDERR, write
from fcgi_async.jobs.client import Jobs

__all__ = ("add_web", "web")

_VARIABLE: Final = "FCGI_ASYNC_JOBS_TOKEN"


def add_web(parser: argparse.ArgumentParser) -> None:
    """Add the action's arguments, except the database."""
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="where to listen (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="PORT", type=int, default=8788, help="0 for any free port (default: 8788)")
    parser.add_argument(
        "--actions",
        action="store_true",
        help="let visitors retry and cancel jobs, and pause queues (default: only show)",
    )
    parser.add_argument(
        "--token-file",
        metavar="FILE",
        help="a file with the password for visitors, required to listen for other machines "
        f"(default: the environment variable {_VARIABLE}, if it is set)",
    )


async def web(jobs: Jobs, options: argparse.Namespace) -> int:
    """Serve until a signal; return the exit code.

    Raises:
        UsageError: the extra is not installed, or the token cannot be read.
        ConfigurationError: it would listen for other machines without a token.
        OSError: the address is in use.
    """
    try:
        from fcgi_async.jobs.serve import bind, serve_page
    except ImportError as error:
        raise UsageError(str(error)) from error
    token = _read_token(options.token_file)
    listening = bind(options.host, options.port, token=token)
    host, port = listening.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    await write(STDERR, f"fcgi-async: the page is at http://{shown}:{port}/\n".encode())
    await serve_page(jobs, listening, actions=options.actions, token=token)
    return 0


def _read_token(path: str | None) -> str | None:
    if path is None:
        return os.environ.get(_VARIABLE) or None
    try:
        with open(path, encoding="utf-8") as file:
            token = file.read().strip()
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"--token-file {path}: {error}") from error
    if not token:
        raise UsageError(f"--token-file {path}: it is empty")
    return token
