"""The command `fcgi-async`: its command line, and how it ends."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from collections.abc import Sequence
from importlib.metadata import version
from typing import NoReturn

import anyio

from fcgi_async.commands import demo, jobs, map, ping, run, status, worker
from fcgi_async.commands.advice import advise
from fcgi_async.commands.errors import UsageError
from fcgi_async.commands.stdio import STDOUT
from fcgi_async.commands.warning_lines import WarningLines
from fcgi_async.commands.wording import in_options
from fcgi_async.errors import ConfigurationError, FastCGIError, InvalidJob, StatusUnavailable

__all__ = ("main", "make_parser")

COMMANDS = {
    "run": (run, "run one job and print what it answers"),
    "map": (map, "run a job for each line of NDJSON on standard input"),
    "ping": (ping, "see whether a worker of a pool answers, and how soon"),
    "status": (status, "show what the workers of a pool are doing, from FPM's status page"),
    "worker": (worker, "take durable jobs from a database and run them, until SIGTERM"),
    "jobs": (jobs, "put durable jobs into a database, look at them, and retry, cancel or delete them"),
    "demo": (demo, "run PHP over every file of Python's standard library, and check what it counts"),
}
FAILED = 1
USAGE = 2
# what a shell reports for a program that SIGINT, or SIGPIPE, has ended
INTERRUPTED = 128 + 2
NOBODY_READS = 128 + 13


class Parser(argparse.ArgumentParser):
    """Says what is wrong in one line."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"{message} (see {self.prog} --help)")


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the whole command line."""
    parser = Parser(
        prog="fcgi-async",
        description="Run PHP jobs on PHP-FPM, without a web server in between, and see what its workers do.",
        epilog="Exit codes: 0 done, 1 a job failed or FPM did not answer, 2 wrong usage or configuration, "
        "130 interrupted.",
    )
    parser.add_argument("--version", action="version", version=f"fcgi-async {version('fcgi-async')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (command, purpose) in COMMANDS.items():
        subparser = commands.add_parser(name, help=purpose, description=f"{purpose[0].upper()}{purpose[1:]}.")
        command.add_arguments(subparser)
        subparser.add_argument(
            "-v", "--verbose", action="store_true", help="log to standard error what the library does"
        )
    return parser


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
    """Run a command; return its exit code, and what is to be said of a failure."""
    address: str | None = None
    try:
        options = make_parser().parse_args(arguments)
        address = getattr(options, "fpm", None)
        set_up_logging(warnings, verbose=options.verbose)
        code: int = anyio.run(COMMANDS[options.command][0].execute, options, backend="asyncio")
        return code, ""
    except KeyboardInterrupt:
        return INTERRUPTED, "interrupted"
    except BrokenPipeError:
        # Python flushes standard output once more at its end
        os.dup2(os.open(os.devnull, os.O_WRONLY), STDOUT)
        return NOBODY_READS, ""
    except StatusUnavailable as error:
        return FAILED, advise(error, address)
    except (UsageError, ConfigurationError, InvalidJob) as error:
        return USAGE, str(error)
    except (FastCGIError, OSError) as error:
        return FAILED, advise(error, address)


def open_standard_streams() -> None:
    """Give descriptors 0 to 2 to nobody where they came closed; else a socket would become standard output."""
    for fd in (0, 1, 2):
        try:
            os.fstat(fd)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def set_up_logging(warnings: WarningLines, *, verbose: bool) -> None:
    """Send the library's log to standard error, or only its warnings, as the command's own words."""
    logger = logging.getLogger("fcgi_async")
    handler = logging.StreamHandler()
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    logger.handlers = [handler if verbose else warnings]
    logger.setLevel(logging.DEBUG if verbose else logging.NOTSET)
    # the commands show STDERR themselves
    logging.getLogger("fcgi_async.stderr").propagate = False


def complain(what: str, code: int) -> int:
    """Write one line to standard error, whatever is in `what`, and return the exit code."""
    print(f"fcgi-async: {' '.join(in_options(what).split())}", file=sys.stderr)
    return code
