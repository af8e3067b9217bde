"""What a command refuses before it does anything."""

from __future__ import annotations

__all__ = ("UsageError",)


class UsageError(Exception):
    """The command line, or what it names, is at fault; its text is one line for the user, and the exit code is 2."""
