"""`fcgi-async completion`: print the shell code that completes the command's words, with argcomplete."""

from __future__ import annotations

import argparse
import os
from typing import Final

from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.stdio import STDOUT, write

__all__ = ("add_arguments", "complete", "execute", "is_asked")

_SHELLS: Final = ("bash", "zsh", "fish")
_INSTALL: Final = "shell completion needs argcomplete: pip install 'fcgi-async[cli]'"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("shell", metavar="SHELL", choices=_SHELLS, help=f"one of {', '.join(_SHELLS)}")


async def execute(options: argparse.Namespace) -> int:
    """Print the shell code; return the exit code.

    Raises:
        UsageError: argcomplete is not installed.
    """
    try:
        from argcomplete.shell_integration import shellcode
    except ImportError as error:
        raise UsageError(_INSTALL) from error
    await write(STDOUT, shellcode(["fcgi-async"], shell=options.shell).encode() + b"\n")
    return 0


def is_asked() -> bool:
    """Return whether a shell asks for completions."""
    return "_ARGCOMPLETE" in os.environ


def complete(parser: argparse.ArgumentParser) -> None:
    """Answer a shell that asks for completions, and end the process; return if none asks."""
    if not is_asked():
        return
    try:
        from argcomplete import autocomplete
    except ImportError:
        return
    autocomplete(parser)
