"""Blocks of memory that large responses are joined in, and that are used again.

A response of a megabyte whose parts are kept until they are joined takes two; what it gives back the C library returns
to the system, which faults the same pages in anew for the next one: half of what such a job costs, from some jobs on.
"""

from __future__ import annotations

__all__ = ("Blocks", "Joined")

_FIRST = 512 * 1024
# what is kept for later: blocks of a peer, and bytes of one
_KEPT = 4
_KEPT_SIZE = 4 * 1024 * 1024


class Blocks:
    """The blocks of one peer that nobody uses at the moment."""

    __slots__ = ("_spare",)

    def __init__(self) -> None:
        self._spare: list[bytearray] = []

    def take(self) -> bytearray:
        """Return a block, with anything in it."""
        return self._spare.pop() if self._spare else bytearray(_FIRST)

    def give_back(self, block: bytearray) -> None:
        """Keep a block for the next response, unless it is very large or there are some."""
        if len(self._spare) < _KEPT and len(block) <= _KEPT_SIZE:
            self._spare.append(block)


class Joined:
    """Parts, joined as they come."""

    __slots__ = ("_block", "_blocks", "_size")

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._block = blocks.take()
        self._size = 0

    def add(self, part: bytes) -> None:
        """Add a part."""
        block, size = self._block, self._size
        self._size = end = size + len(part)
        if end > len(block):
            self._block = bytearray(max(2 * len(block), end))
            self._block[:size] = memoryview(block)[:size]
        self._block[size:end] = part

    def take(self) -> bytes:
        """Return all of it, and give the block back; nothing can be added after this."""
        content = bytes(memoryview(self._block)[: self._size])
        self.give_back()
        return content

    def give_back(self) -> None:
        """Give the block back."""
        self._blocks.give_back(self._block)
