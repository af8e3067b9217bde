"""How much less often a worker looks if there are many: what one of them finds, all others need not look for."""

from __future__ import annotations

import random

__all__ = ("stretch", "wakes")

# so many workers do all that is to be done in time; and how many times longer one may wait in a larger crowd
_ENOUGH, _LONGEST = 16, 20.0


def stretch(workers: int) -> float:
    """Return how many times longer each of so many workers waits until it looks again for what any of them may find."""
    return min(max(workers / _ENOUGH, 1.0), _LONGEST)


def wakes(workers: int) -> bool:
    """Return whether one of so many workers looks for a job at once when all of them are told that one has come.

    By chance, so that about 16 do. The others look within a second, and at other times than each other: if none of
    those that were woken is free, one that is finds the job soon.
    """
    return random.random() * workers < _ENOUGH
