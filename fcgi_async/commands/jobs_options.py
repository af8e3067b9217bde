"""Which database of durable jobs a command uses."""

from __future__ import annotations

import argparse
import os
from typing import Final

from fcgi_async.commands.errors import UsageError
from fcgi_async.jobs.client import Jobs

__all__ = ("add_jobs_option", "open_jobs")

_VARIABLE: Final = "FCGI_ASYNC_JOBS"


def add_jobs_option(parser: argparse.ArgumentParser) -> None:
    """Add the option that `open_jobs()` reads."""
    parser.add_argument(
        "--jobs",
        metavar="URL",
        help=f"the database: sqlite:///var/lib/app/jobs.db (default: the environment variable {_VARIABLE})",
    )


def open_jobs(options: argparse.Namespace) -> Jobs:
    """Return the database, to be entered.

    Raises:
        UsageError: none is named.
        ConfigurationError: there is no such kind of database.
    """
    url = options.jobs or os.environ.get(_VARIABLE)
    if not url:
        raise UsageError(f"name the database of the jobs with --jobs URL, or in the environment variable {_VARIABLE}")
    return Jobs(url)
