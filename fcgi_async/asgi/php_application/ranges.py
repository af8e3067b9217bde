"""Range requests (RFC 9110, 14): which part of a file is requested."""

from __future__ import annotations

import re

__all__ = ("parse_range",)

_RANGE = re.compile(rb"bytes[ \t]*=[ \t]*([0-9]{0,18})-([0-9]{0,18})[ \t]*", re.IGNORECASE)


def parse_range(value: bytes | None, size: int) -> tuple[int, int] | bool | None:
    """Return the position of the first byte and the number of bytes; None for the whole file; False if no byte matches.

    Several ranges, units other than bytes, and a header that cannot be parsed also get the whole file.

    Args:
        value: the Range header, or None.
        size: size of the file in bytes.
    """
    found = None if value is None else _RANGE.fullmatch(value)
    if found is None:
        return None
    first, last = found[1], found[2]
    if not first:
        if not last:
            return None
        length = min(int(last), size)
        return (size - length, length) if length else False
    begin = int(first)
    if last and int(last) < begin:
        return None
    if begin >= size:
        return False
    end = min(int(last), size - 1) if last else size - 1
    return begin, end - begin + 1
