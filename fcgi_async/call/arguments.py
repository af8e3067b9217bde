"""Check that JSON and PHP can both express the arguments of a call without loss."""

from __future__ import annotations

import math
from collections.abc import Mapping

from fcgi_async.errors import InvalidJob

__all__ = ("check_arguments",)

# PHP's integers, beyond which json_decode() returns a float
_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1
# the depth that json_decode() reads, minus the levels that hold the arguments
_DEPTH_MAX = 500


def check_arguments(function: str, args: tuple[object, ...], named: Mapping[str, object]) -> None:
    """Refuse arguments that would not arrive unchanged.

    Raises:
        InvalidJob: a value is not JSON, or means something else in PHP; the error names the argument, and what to give.
    """
    for number, value in enumerate(args, 1):
        _check(f"{function}(): argument {number}", value, 0)
    for name, value in named.items():
        _check(f"{function}(): argument {name}", value, 0)


def _check(where: str, value: object, depth: int) -> None:
    if depth > _DEPTH_MAX:
        raise InvalidJob(f"{where[:200]} is nested more than {_DEPTH_MAX} levels deep, or contains itself")
    match value:
        case None | bool() | str():
            pass
        case int():
            if not _INT_MIN <= value <= _INT_MAX:
                raise InvalidJob(
                    f"{where} is an integer of more than 64 bits, which PHP makes a float; give it as text"
                )
        case float():
            if not math.isfinite(value):
                raise InvalidJob(f"{where} is {value}, which is not JSON; give None, or text")
        case list() | tuple():
            for index, item in enumerate(value):
                _check(f"{where}[{index}]", item, depth + 1)
        case dict():
            for key, item in value.items():
                if not isinstance(key, str | int) or isinstance(key, bool):
                    raise InvalidJob(f"{where} has the key {key!r}; a key of PHP's is text or an integer")
                _check(f"{where}[{key!r}]", item, depth + 1)
        case bytes() | bytearray() | memoryview():
            raise InvalidJob(
                f"{where} is {type(value).__name__}, which is not JSON; give text, or base64 that PHP decodes"
            )
        case _:
            raise InvalidJob(
                f"{where} is {type(value).__name__}, which is not JSON; give None, bool, int, float, str, list, tuple "
                "or dict"
            )
