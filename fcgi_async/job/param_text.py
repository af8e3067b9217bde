"""What PHP-FPM accepts as the name and the value of a parameter."""

from __future__ import annotations

from fcgi_async.errors import InvalidJob
from fcgi_async.wire.spec import MAX_CONTENT

__all__ = ("check_pair", "check_text")


def check_pair(name: str, value: str) -> None:
    """Raise InvalidJob if a parameter does not fit into one PARAMS record, as PHP-FPM requires."""
    if len(name) + len(value) <= 16000:
        return
    size = len(name.encode("utf-8", "surrogateescape")) + len(value.encode("utf-8", "surrogateescape"))
    if size + 8 > MAX_CONTENT:
        error = InvalidJob(f"the parameter {name!r} is longer than the 64 KiB that PHP-FPM takes; send it in the body")
        error.too_long = name
        raise error


def check_text(what: str, value: object) -> str:
    """Return `value`; raise InvalidJob, which names `what`, if it is not a string that can be sent."""
    if not isinstance(value, str):
        raise InvalidJob(f"{what} must be a string, not {type(value).__name__}")
    if "\0" in value:
        raise InvalidJob(f"{what} has a NUL, and PHP would cut it off there; remove it")
    if not value.isascii():
        try:
            value.encode("utf-8", "surrogateescape")
        except UnicodeEncodeError as error:
            raise InvalidJob(f"{what} cannot be encoded as UTF-8: {error}") from None
    return value
