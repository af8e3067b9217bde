"""Mutations that know the units an input is made of: records, name-value pairs or lines."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random

import attrs

LONGEST_INPUT = 200_000
BORDERS = (0, 1, 2, 7, 8, 9, 127, 128, 255)


@attrs.frozen
class Grammar:
    """How inputs of one kind are mutated.

    Attributes:
        split: cuts any bytes into units, so that they joined are the bytes again.
        fresh: makes a unit that is right as a rule.
        change: alters one unit.
    """

    split: Callable[[bytes], list[bytes]]
    fresh: Callable[[Random], bytes]
    change: Callable[[Random, bytes], bytes]

    def mutate(self, rng: Random, data: bytes, other: bytes) -> bytes:
        """Return `data`, changed in one to four ways; `other` is an input to take units from."""
        units = self.split(data)
        for _ in range(rng.choice((1, 1, 2, 2, 3, 4))):
            what = rng.random()
            if what < 0.45 and units:
                place = _late(rng, len(units))
                units[place] = self.change(rng, units[place])
            elif what < 0.65:
                units.insert(_late(rng, len(units) + 1), self.fresh(rng))
            else:
                self._rearrange(rng, units, other)
        changed = b"".join(units)
        if rng.random() < 0.08:
            changed = spoil(rng, changed)
        return changed[:LONGEST_INPUT]

    def _rearrange(self, rng: Random, units: list[bytes], other: bytes) -> None:
        what = rng.randrange(6)
        if what == 0 or not units:
            units[_late(rng, len(units) + 1) :] = _run(rng, self.split(other))
        elif what == 1:
            units[:0] = _run(rng, self.split(other))
        elif what == 2:
            del units[_late(rng, len(units))]
        elif what == 3:
            first, second = rng.randrange(len(units)), rng.randrange(len(units))
            units[first], units[second] = units[second], units[first]
        elif what == 4:
            units.insert(rng.randint(0, len(units)), units[_late(rng, len(units))])
        else:
            place = _late(rng, len(units))
            units[place:place] = [units[place]] * rng.choice((2, 2, 3, 8, 40))


def _late(rng: Random, count: int) -> int:
    # what is wrong at the beginning hides what comes behind it
    return max(rng.randrange(count), rng.randrange(count))


def _run(rng: Random, units: Sequence[bytes]) -> Sequence[bytes]:
    start = rng.randint(0, len(units))
    return units[start : start + rng.choice((1, 2, 4, 100))]


def spoil(rng: Random, data: bytes) -> bytes:
    """Change bytes that mean nothing: flip, cut, or put something in."""
    if not data:
        return rng.randbytes(rng.choice(BORDERS))
    place = _late(rng, len(data))
    what = rng.randrange(4)
    if what == 0:
        return data[:place]
    if what == 1:
        return data[:place] + bytes((data[place] ^ 1 << rng.randrange(8),)) + data[place + 1 :]
    if what == 2:
        return data[:place] + rng.randbytes(rng.choice((1, 2, 8))) + data[place:]
    return data[:place] + data[place + rng.choice((1, 2, 8)) :]
