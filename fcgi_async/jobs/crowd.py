"""How often one of many workers looks at the database: the more there are, the less often each looks."""

from __future__ import annotations

import random

__all__ = ("stretch", "wakes")

# this many workers do everything in time; each of more workers waits up to 20 times longer
_ENOUGH, _LONGEST = 16, 20.0


def stretch(workers: int) -> float:
    """Return how many times longer each of `workers` waits between two looks."""
    return min(max(workers / _ENOUGH, 1.0), _LONGEST)


def wakes(workers: int) -> bool:
    """Return whether one of `workers` looks at once when all of them are told that a job has come.

    It is random, so that about 16 look at once. The others look within a second, at different times: if the first 16
    are busy, a free one finds the job soon.
    """
    return random.random() * workers < _ENOUGH
