"""Checks of PHPApplication's options; each raises ConfigurationError and names the option."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Final

from fcgi_async.errors import ConfigurationError, InvalidJob
from fcgi_async.job.job import Job
from fcgi_async.job.numbers import is_duration, is_whole

__all__ = (
    "check_bytes",
    "check_choice",
    "check_codings",
    "check_fpm_root",
    "check_job",
    "check_priority",
    "check_seconds",
    "script_name",
    "script_names",
)

_CODINGS: Final = ("br", "gz", "zst")


def check_choice(name: str, value: object, *allowed: object) -> None:
    """Refuse a value that is not one of `choices`."""
    if not any(value is choice or (value == choice and type(value) is type(choice)) for choice in allowed):
        raise ConfigurationError(f"{name}={value!r} is none of {', '.join(map(repr, allowed))}")


def check_bytes(name: str, value: object) -> None:
    """Refuse a value that is not a number of bytes."""
    if not isinstance(value, int) or not is_whole(value) or value < 0:
        raise ConfigurationError(f"{name}={value!r} is not a number of bytes of at least 0")


def check_seconds(name: str, value: object) -> None:
    """Refuse a value that is neither a number of seconds nor None."""
    if value is not None and (not isinstance(value, int | float) or not is_duration(value) or value < 0):
        raise ConfigurationError(f"{name}={value!r} is not a number of seconds of at least 0, or None for no limit")


def check_priority(value: object) -> None:
    """Refuse a value that is not a whole number."""
    if not isinstance(value, int) or not is_whole(value):
        raise ConfigurationError(f"priority={value!r} is not a whole number")


def check_job(params: object, headers: object, server_software: object) -> None:
    """Refuse params or headers that could not be sent with a job."""
    own: dict[str, dict[str, object]] = {
        "params": {"params": params},
        "headers": {"headers": headers},
        "server_software": {"params": {"SERVER_SOFTWARE": server_software}},
    }
    for name, given in own.items():
        try:
            Job("/", **given)  # type: ignore[arg-type]  # it says so itself
        except InvalidJob as error:
            raise ConfigurationError(f"{name}: {error.message}") from error


def check_fpm_root(value: object) -> None:
    """Refuse a value that is not an absolute path on FPM's side."""
    if value is not None and (not isinstance(value, str | os.PathLike) or not str(os.fspath(value)).startswith("/")):
        raise ConfigurationError(f"fpm_root={value!r} is not an absolute path, as FPM sees it")


def check_codings(endings: object) -> tuple[str, ...]:
    """Return the extensions of compressed copies."""
    found = _strings("precompressed", endings)
    for ending in found:
        if ending not in _CODINGS:
            raise ConfigurationError(f"precompressed has {ending!r}; the endings are {', '.join(_CODINGS)}")
    return found


def script_name(value: object) -> bytes | None:
    """Return the name of a front controller relative to the root, with a slash before it."""
    if value is None:
        return None
    if not isinstance(value, str) or not value.endswith(".php") or ".." in value.split("/"):
        raise ConfigurationError(f"front={value!r} is not the name of a .php file below the root, such as index.php")
    return b"/" + value.lstrip("/").encode("utf-8", "surrogateescape")


def script_names(value: object) -> tuple[bytes, ...]:
    """Return the names of a folder's index."""
    found = _strings("index", value)
    for name in found:
        if not name or "/" in name:
            raise ConfigurationError(f"index has {name!r}, which is not the name of a file")
    return tuple(name.encode("utf-8", "surrogateescape") for name in found)


def _strings(option: str, value: object) -> tuple[str, ...]:
    if isinstance(value, str | bytes) or not isinstance(value, Iterable):
        raise ConfigurationError(f"{option}={value!r} is not a list of strings")
    found = tuple(value)
    for item in found:
        if not isinstance(item, str):
            raise ConfigurationError(f"{option} has {item!r}, which is not a string")
    return found
