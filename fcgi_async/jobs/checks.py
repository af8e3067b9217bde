"""What the settings of durable jobs may be."""

from __future__ import annotations

import math
import re

from fcgi_async.errors import ConfigurationError

__all__ = ("check_name", "check_number", "check_whole")

# fits into file names, parameters of a request and MariaDB's index entries
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")


def check_name(what: str, name: object) -> str:
    """Return the name.

    Raises:
        ConfigurationError: it is not a name that a task, queue or schedule can have.
    """
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise ConfigurationError(f"{what} must be 1 to 100 letters, digits and _ . : - , not {name!r}")
    return name


def check_number(what: str, value: object, *, least: float, optional: bool = False) -> None:
    """Do nothing if it is a finite number of at least `least`, or None if that is allowed.

    Raises:
        ConfigurationError: it is not.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise ConfigurationError(f"{what} must be a number of at least {least:g}, not {value!r}")


def check_whole(what: str, value: object, *, least: int, optional: bool = False) -> None:
    """Do nothing if it is a whole number of at least `least`, or None if that is allowed.

    Raises:
        ConfigurationError: it is not.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{what} must be a whole number of at least {least}, not {value!r}")
