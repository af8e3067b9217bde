"""The limit for the temporary files of all requests together."""

from __future__ import annotations

__all__ = ("SpoolRoom",)


class SpoolRoom:
    """Counts the bytes in temporary files.

    Args:
        limit: most bytes in total.

    Attributes:
        used: number of bytes in use.
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self.used = 0

    def take(self, size: int) -> bool:
        """Take `size` bytes more, and return whether there was room for them."""
        if self.used + size > self._limit:
            return False
        self.used += size
        return True

    def give(self, size: int) -> None:
        """Give bytes back."""
        self.used -= size
