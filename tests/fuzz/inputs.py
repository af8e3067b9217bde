"""Batches of inputs: Hypothesis draws valid and odd units and a number, and many inputs are made of these.

An example of Hypothesis takes milliseconds, an input a tenth of one: so an example is a batch. What is in it depends
on nothing but what was drawn, so that Hypothesis shrinks the units of a batch in which an input fails.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from random import Random

from hypothesis import strategies as st

BATCH = 100
LONGEST = 100_000
BORDERS = (0, 1, 2, 7, 8, 9, 127, 128, 255)
# bytes of a record's header: type and request id mostly, which leave its length as it is
FIELDS = (1, 1, 1, 1, 2, 3, 3, 3, 3, 3, 3, 6, 7)
VALUES = (*BORDERS, 0, 1, 1, 1, 1, 2, 2, 2, 3, 3, 4, 5, 6, 6, 10)

Batches = st.SearchStrategy[Iterator[bytes]]


def batches(seeds: Sequence[Sequence[bytes]], unit: st.SearchStrategy[bytes]) -> Batches:
    """Return a strategy of batches, made of valid inputs in units and of other units: records, pairs or lines."""
    seed, units = st.sampled_from(seeds), st.lists(unit, max_size=6)
    spliced = st.builds(lambda one, two, place: [*one[: place % (len(one) + 1)], *two], seed, seed, st.integers(0, 30))
    longer = st.builds(lambda one, more: [*one, *more], seed, units)
    base = st.one_of(seed.map(list), seed.map(list), spliced, spliced, longer, longer, longer, units)
    return st.builds(_batch, base, st.lists(unit, min_size=1, max_size=4), st.integers(0, 2**32 - 1))


def _batch(base: list[bytes], spares: list[bytes], number: int) -> Iterator[bytes]:
    yield b"".join(base)
    for variant in range(1, BATCH):
        rng, units = Random(number * BATCH + variant), list(base)
        for _ in range(rng.choice((1, 1, 1, 2, 2, 3))):
            _alter(rng, units, spares)
        data = b"".join(units)
        yield (_spoil(rng, data) if rng.random() < 0.08 else data)[:LONGEST]


def _alter(rng: Random, units: list[bytes], spares: list[bytes]) -> None:
    what, place = rng.random(), _late(rng, len(units) or 1)
    if what < 0.25 or not units:
        units.insert(_late(rng, len(units) + 1), rng.choice(spares))
    elif what < 0.35:
        units[place] = rng.choice(spares)
    elif what < 0.6:
        field, unit = rng.choice(FIELDS), units[place]
        units[place] = unit[:field] + bytes((rng.choice(VALUES),)) + unit[field + 1 :]
    elif what < 0.65:
        units[place] = _spoil(rng, units[place])
    elif what < 0.75:
        del units[place]
    elif what < 0.85:
        units.insert(rng.randrange(len(units)), units.pop(place))
    else:
        units[place:place] = [rng.choice(units)] * rng.choice((1, 1, 2, 3, 8, 40))


def _late(rng: Random, count: int) -> int:
    # what is wrong at the beginning hides what comes after it
    return max(rng.randrange(count) for _ in range(4))


def _spoil(rng: Random, data: bytes) -> bytes:
    place, some = _late(rng, len(data) + 1), rng.randbytes(rng.choice((0, 1, 1, 2, 8)))
    return data[:place] + some + data[place + rng.choice((0, 0, 1, len(some), 8, len(data))) :]


def pieces(data: bytes, number: int) -> list[bytes]:
    """Cut `data` into parts of one length, which the number decides, as it does the length of the first."""
    step = max((1, 3, 7, 8, 9, 16, 61)[number % 7], len(data) // 60)
    return [data[: number % step], *(data[start : start + step] for start in range(number % step, len(data), step))]
