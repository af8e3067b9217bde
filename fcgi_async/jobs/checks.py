"""Checks of the settings of durable jobs."""

from __future__ import annotations

import json
import math
import re
from typing import TypeVar

from fcgi_async.errors import ConfigurationError, InvalidJob

__all__ = ("check_key", "check_name", "check_number", "check_pair", "check_whole", "is_name", "to_json")

A = TypeVar("A")
B = TypeVar("B")

# this length fits into file names, parameters of a request and MariaDB's index entries
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:-]{0,99}")

# escaped, so that every database accepts it
_ENCODE = json.JSONEncoder(allow_nan=False, separators=(",", ":")).encode

# every database can compare this length in an index
_LONGEST_KEY = 200


def check_key(unique: object) -> None:
    """Check a unique key.

    Raises:
        ConfigurationError: `value` is not valid.
    """
    if not isinstance(unique, str) or not 1 <= len(unique) <= _LONGEST_KEY or not unique.isprintable():
        raise ConfigurationError(f"unique must be 1 to {_LONGEST_KEY} printable characters, not {unique!r}")


def is_name(name: str) -> bool:
    """Return whether this is a valid name for a job, task, queue or schedule."""
    return _NAME.fullmatch(name) is not None


def check_name(what: str, name: object) -> str:
    """Check a name and return it.

    Raises:
        ConfigurationError: it is not a valid name for a task, queue or schedule.
    """
    if not isinstance(name, str) or not is_name(name):
        raise ConfigurationError(f"{what} must be 1 to 100 letters, digits and _ . : - , not {name!r}")
    return name


def check_number(what: str, value: object, *, least: float, most: float = math.inf, optional: bool = False) -> None:
    """Check a finite number of at least `least` and at most `most`, or None if that is allowed.

    Raises:
        ConfigurationError: `value` is not valid.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value < math.inf:
        raise ConfigurationError(f"{what} must be a number of at least {least:g}, not {value!r}")
    if value > most:
        raise ConfigurationError(f"{what} must be at most {most:.0f}, not {value!r}")


def check_pair(pair: tuple[A, B]) -> tuple[A, B]:
    """Return a task and its data.

    Raises:
        ConfigurationError: it is not a pair of a task and data.
    """
    given: object = pair
    if not isinstance(given, tuple | list) or len(given) != 2:
        raise ConfigurationError(f"jobs must be pairs of (task, data), not {given!r}; give (task, None) without data")
    return pair


def to_json(what: str, data: object) -> str:
    """Return data as JSON.

    Raises:
        InvalidJob: it cannot be written as JSON.
    """
    try:
        return _ENCODE(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidJob(
            f"{what} cannot be written as JSON: {error}; give dicts, lists, str, finite numbers, bool and None"
        ) from None


def check_whole(what: str, value: object, *, least: int, optional: bool = False) -> None:
    """Check a whole number of at least `least`, or None if that is allowed.

    Raises:
        ConfigurationError: `value` is not valid.
    """
    if value is None and optional:
        return
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise ConfigurationError(f"{what} must be a whole number of at least {least}, not {value!r}")
