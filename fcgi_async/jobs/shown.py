"""Make foreign text safe for a log: it stays on its line, and is not long."""

from __future__ import annotations

from typing import Final

__all__ = ("shown",)

_MOST: Final = 200


def shown(text: str, most: int = _MOST) -> str:
    """Return text with unprintable characters escaped, truncated to `most` characters and an ellipsis."""
    short = text if len(text) <= most else f"{text[:most]}…"
    if short.isprintable():
        return short
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode("ascii") for char in short)
