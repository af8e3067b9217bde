"""Names of test cases that are the same in every process, so that several may share the work."""

from __future__ import annotations

import re

_ADDRESS = re.compile(r" at 0x[0-9a-f]+")


def readable(value: object) -> str:
    """Return a value as text, without the addresses of objects."""
    return _ADDRESS.sub("", str(value))
