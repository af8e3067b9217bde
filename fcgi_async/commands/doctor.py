"""`fcgi-async doctor`: check everything that a pool needs to run jobs, and tell what to do about problems."""

from __future__ import annotations

import argparse

from fcgi_async.commands.check import State, as_json, as_text
from fcgi_async.commands.diagnosis import Case, add_diagnosis_options, diagnose
from fcgi_async.commands.stdio import STDOUT, write
from fcgi_async.commands.terminal import has_colours

__all__ = ("add_arguments", "execute")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    add_diagnosis_options(parser)
    parser.add_argument("--json", action="store_true", help="print one JSON object on one line")


async def execute(options: argparse.Namespace) -> int:
    """Run the checks and print a line for each; return the exit code, 1 if jobs cannot run.

    Raises:
        UsageError: the options do not go together.
        ConfigurationError: the address is invalid, or the named configuration cannot be read.
    """
    case = Case.parse(options)
    checks = (await diagnose(case, options)).checks
    address = None if case.address is None else str(case.address)
    text = as_json(address, checks) + "\n" if options.json else as_text(checks, colours=has_colours(STDOUT))
    await write(STDOUT, text.encode())
    return 1 if any(check.state is State.FAILED for check in checks) else 0
