"""Make untrusted text safe for a terminal."""

from __future__ import annotations

import os

__all__ = ("CLEAR_SCREEN", "can_draw", "clip", "has_colours", "printable")

CLEAR_SCREEN = "\x1b[H\x1b[2J"


def printable(text: str) -> str:
    """Return text with all control characters and invisible characters escaped: `\\x1b`."""
    return text if text.isprintable() else "".join(char if char.isprintable() else _escape(char) for char in text)


def clip(text: str, width: int | None) -> str:
    """Return the part of a line that fits into `width` columns; the whole line for None."""
    return text if width is None or len(text) <= width else text[: width - 1] + "…"


def has_colours(fd: int) -> bool:
    """Return whether to use colours: on a terminal that supports them, unless NO_COLOR is set."""
    return os.isatty(fd) and not os.environ.get("NO_COLOR") and os.environ.get("TERM", "dumb") != "dumb"


def can_draw(fd: int) -> bool:
    """Return whether it is a terminal on which lines can be overwritten."""
    return os.isatty(fd) and os.environ.get("TERM", "dumb") not in ("dumb", "")


def _escape(char: str) -> str:
    return char.encode("unicode_escape").decode("ascii")
