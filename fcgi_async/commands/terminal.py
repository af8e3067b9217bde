"""Text for a terminal, from people who are not to be trusted with one."""

from __future__ import annotations

__all__ = ("CLEAR_SCREEN", "clip", "printable")

CLEAR_SCREEN = "\x1b[H\x1b[2J"


def printable(text: str) -> str:
    """Return text with everything that a terminal may obey, or that cannot be seen, as an escape: `\\x1b`."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def clip(text: str, width: int | None) -> str:
    """Return as much of a line as fits into so many columns; all of it for None."""
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
