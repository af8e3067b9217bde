"""How much is run: in full, quickly, or only to see that it runs."""

from __future__ import annotations

from typing import TypeVar

import attrs

__all__ = ("FULL", "QUICK", "TINY", "Size")

Thing = TypeVar("Thing")


@attrs.frozen
class Size:
    """A size of the suite.

    Attributes:
        name: as it is written into the results.
        rounds: how often contenders take turns; `long_rounds` where one run is long.
    """

    name: str
    rounds: int
    long_rounds: int

    def pick(self, full: Thing, quick: Thing, tiny: Thing) -> Thing:
        """Return what belongs to this size."""
        return {"full": full, "quick": quick, "tiny": tiny}[self.name]


FULL = Size("full", rounds=5, long_rounds=3)
QUICK = Size("quick", rounds=2, long_rounds=1)
TINY = Size("tiny", rounds=1, long_rounds=1)
