"""LineSplitter: lines of a text that comes in parts."""

from __future__ import annotations

from codecs import getincrementaldecoder
from collections.abc import Callable

import attrs

__all__ = ("LineSplitter",)


def _decoder() -> Callable[[bytes, bool], str]:
    return getincrementaldecoder("utf-8")("replace").decode


@attrs.define(eq=False)
class LineSplitter:
    """Splits UTF-8 into lines, without their ends; what is no UTF-8 is replaced."""

    # the parts of a line that has not ended
    _parts: list[str] = attrs.field(factory=list, init=False)
    _decode: Callable[[bytes, bool], str] = attrs.field(factory=_decoder, init=False)

    def feed(self, data: bytes | None) -> list[str]:
        """Return the lines that a part has ended; None is the end, and ends the last one unless it is empty."""
        first, *rest = self._decode(data or b"", data is None).split("\n")
        self._parts.append(first)
        if not rest and data is not None:
            return []
        lines = ["".join(self._parts), *rest]
        last = lines.pop()
        self._parts = [last]
        if data is None and last:
            lines.append(last)
        return [line.removesuffix("\r") for line in lines]
