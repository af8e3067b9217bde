"""What is fuzzed: one parser, how an input is given to it, and what must hold then."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from zlib import crc32

import attrs

from tests.fuzz.grammar import Grammar


@attrs.frozen
class Outcome:
    """What an input did.

    Attributes:
        past_first: whether the parser took the input's first record, pair or header line.
        shape: what happened, roughly; an input with something new in it is kept, as one that reaches a new branch is.
    """

    past_first: bool
    shape: frozenset[Hashable] = frozenset()


@attrs.frozen
class Target:
    """One parser.

    Attributes:
        unit: what its input is made of.
        drive: gives an input to it; whatever this raises is a finding.
        seeds: valid inputs, which the mutations begin with.
        code: the functions whose branches count, as `file.py` or `file.py:function`.
    """

    name: str
    unit: str
    drive: Callable[[bytes], Outcome]
    grammar: Grammar
    seeds: tuple[bytes, ...]
    code: tuple[str, ...]


def salt(data: bytes) -> int:
    """A number that only the input decides."""
    return crc32(data)


def pieces(data: bytes, number: int) -> list[bytes]:
    """Cut `data` into parts of one length, which the number decides, as it does the length of the first."""
    steps = (1, 3, 7, 8, 9, 16, 61) if len(data) < 100 else (7, 16, 61, 100) if len(data) < 2048 else (1000, 65_535)
    number, choice = divmod(number, len(steps))
    step = steps[choice]
    first = number % step
    return [data[max(0, start) : start + step] for start in range(first - step, len(data), step)] or [data]
