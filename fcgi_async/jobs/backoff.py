"""How long a job waits before it is retried."""

from __future__ import annotations

import random
from typing import Literal

import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.jobs.checks import check_number

__all__ = ("Backoff",)


@attrs.frozen
class Backoff:
    """Waiting times that grow with each attempt.

    Args:
        first: seconds after the first failed attempt, 0 or more.
        factor: each wait is longer than the last by this factor, 1 or more.
        most: most seconds to wait.
        jitter: "full" waits a random time from 0 to the full wait, so that jobs that failed together are not retried
            together; "none" waits the full time.

    Raises:
        ConfigurationError: an argument is out of its range.
    """

    first: float = 1.0
    factor: float = 2.0
    most: float = 3600.0
    jitter: Literal["full", "none"] = "full"

    def __attrs_post_init__(self) -> None:
        check_number("Backoff(first)", self.first, least=0)
        check_number("Backoff(factor)", self.factor, least=1)
        check_number("Backoff(most)", self.most, least=0)
        if self.jitter not in ("full", "none"):
            raise ConfigurationError(f'Backoff(jitter={self.jitter!r}) must be "full" or "none"')

    def longest(self, failed: int) -> float:
        """Return the most seconds to wait after `failed` attempts, 1 or more."""
        try:
            return min(self.first * self.factor ** (max(failed, 1) - 1), self.most)
        except OverflowError:
            return self.most

    def delay(self, failed: int) -> float:
        """Return the seconds to wait after `failed` attempts, 1 or more."""
        longest = self.longest(failed)
        return random.uniform(0, longest) if self.jitter == "full" else longest
