"""Which arguments count as numbers."""

from __future__ import annotations

from typing import TypeGuard

__all__ = ("is_duration", "is_whole")


def is_whole(value: object) -> bool:
    """Return whether `value` is a whole number; True and False are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_duration(value: object) -> TypeGuard[float]:
    """Return whether `value` is a number in any range; NaN, True and False are not."""
    return isinstance(value, int | float) and not isinstance(value, bool) and value == value
