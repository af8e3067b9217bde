"""The error of a command that is refused before it does anything."""

from __future__ import annotations

__all__ = ("UsageError",)


class UsageError(Exception):
    """The command line, or something that it names, is wrong; the text is one line for the user, the exit code is 2."""
