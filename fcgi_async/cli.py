"""The command `fcgi-async`: its command line and its exit codes."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.metadata import version
from types import ModuleType
from typing import Final

import anyio

from fcgi_async.commands import completion
from fcgi_async.commands.advice import advise
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.parser import Parser
from fcgi_async.commands.stdio import STDOUT
from fcgi_async.commands.warning_lines import WarningLines
from fcgi_async.commands.wording import in_options
from fcgi_async.errors import ConfigurationError, FastCGIError, InvalidJob, StatusUnavailable

__all__ = ("main", "make_parser")

# a module of fcgi_async.commands, which is imported when it is used, and its purpose
COMMANDS: Final = {
    "run": "run one job and print its response",
    "map": "run a job for each line of standard input, many at once",
    "ping": "check whether a worker of a pool answers, and how soon",
    "status": "show what the workers of a pool are doing, from FPM's status page",
    "top": "watch a pool's workers, queue and requests per second, from FPM's status page",
    "serve": "serve a PHP application, and run jobs beside it on the same workers",
    "doctor": "check everything that a pool needs to run jobs, and tell what to do about problems",
    "bench": "run one job repeatedly, and report how long each stage takes",
    "gateway": "share one pool's workers among several processes, until SIGTERM",
    "worker": "take durable jobs from a database and run them, until SIGTERM",
    "jobs": "put durable jobs into a database, show them, and retry, cancel or delete them",
    "exporter": "serve the metrics of a pool to Prometheus: its status page, and doctor's checks",
    "config": "print the endpoint that FPM's own configuration describes",
    "completion": "print the shell code that completes commands and options",
    "demo": "run PHP over every file of Python's standard library, and check its counts",
}
FAILED = 1
USAGE = 2
# what a shell reports for a program ended by SIGINT or SIGPIPE
INTERRUPTED = 128 + 2
NOBODY_READS = 128 + 13
EXIT_CODES = {
    0: "done",
    FAILED: "a job failed or FPM did not answer",
    USAGE: "wrong usage or configuration",
    3: "a signal stopped map before all lines were run",
    INTERRUPTED: "interrupted",
    NOBODY_READS: "the reader of standard output has closed it",
}


def make_parser(used: str | None = None) -> argparse.ArgumentParser:
    """Return the parser of the whole command line.

    Args:
        used: the only command whose arguments are wanted; None for those of all.
    """
    parser = Parser(
        prog="fcgi-async",
        description="Run PHP jobs on PHP-FPM, without a web server in between, and watch its workers.",
        epilog=f"Exit codes: {', '.join(f'{code} {meaning}' for code, meaning in EXIT_CODES.items())}.",
    )
    parser.add_argument("--version", action="version", version=f"fcgi-async {version('fcgi-async')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, purpose in COMMANDS.items():
        subparser = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        if used not in (None, name):
            continue
        _module(name).add_arguments(subparser)
        subparser.add_argument(
            "-v", "--verbose", action="store_true", help="log to standard error what the library does"
        )
    return parser


def _module(command: str) -> ModuleType:
    return import_module(f"fcgi_async.commands.{command}")


def _named(arguments: Sequence[str]) -> str:
    """Return the command, which no option that takes a value can precede."""
    return next((word for word in arguments if not word.startswith("-")), "")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run `fcgi-async`.

    Args:
        arguments: the command line without the program's name; None for `sys.argv`.

    Returns:
        The exit code.
    """
    open_standard_streams()
    warnings = WarningLines()
    code, complaint = perform(arguments, warnings)
    warnings.end(complaint)
    return complain(complaint, code) if complaint else code


def perform(arguments: Sequence[str] | None, warnings: WarningLines) -> tuple[int, str]:
    """Run a command; return its exit code, and the error message of a failure."""
    address: str | None = None
    try:
        arguments = sys.argv[1:] if arguments is None else arguments
        parser = make_parser(None if completion.is_asked() else _named(arguments))
        completion.complete(parser)
        if not arguments:
            parser.print_help(sys.stderr)
            return USAGE, ""
        options = parser.parse_args(arguments)
        address = getattr(options, "fpm", None)
        set_up_logging(warnings, verbose=options.verbose)
        command = _module(options.command)
        choose = getattr(command, "backend", None)
        backend, settings = ("asyncio", {}) if choose is None else choose(options)
        code: int = anyio.run(command.execute, options, backend=backend, backend_options=settings)
        return code, ""
    except KeyboardInterrupt:
        return INTERRUPTED, "interrupted"
    except BrokenPipeError:
        # Python flushes standard output again at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return NOBODY_READS, ""
    except StatusUnavailable as error:
        return FAILED, advise(error, address)
    except (UsageError, ConfigurationError, InvalidJob) as error:
        return USAGE, str(error)
    except (FastCGIError, OSError) as error:
        return FAILED, advise(error, address)


def open_standard_streams() -> None:
    """Reserve descriptors 0 to 2 if they are closed; otherwise a socket could become standard output."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def set_up_logging(warnings: WarningLines, *, verbose: bool) -> None:
    """Send the library's log to standard error, or only its warnings, in the command's own form."""
    logger = logging.getLogger("fcgi_async")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.handlers = [handler if verbose else warnings]
    logger.setLevel(logging.DEBUG if verbose else logging.NOTSET)
    # the commands show PHP's STDERR themselves
    logging.getLogger("fcgi_async.stderr").propagate = False


def complain(what: str, code: int) -> int:
    """Write one line to standard error, with unsafe characters of `what` escaped, and return the exit code."""
    print(f"fcgi-async: {' '.join(in_options(what).split())}", file=sys.stderr)
    return code
