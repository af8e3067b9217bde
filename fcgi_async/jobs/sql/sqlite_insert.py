"""An INSERT of several rows: starting and ending a statement costs more than its rows."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

__all__ = ("ROWS", "insert_rows")

# rows in one statement: SQLite before 3.32 accepts 999 parameters
ROWS: Final = 64

_INSERT: Final = re.compile(r"(INSERT INTO \w+ \([^)]*\) VALUES) (\(.*\))((?: ON CONFLICT DO NOTHING)?)", re.DOTALL)
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")


@cache
def insert_rows(written: str) -> tuple[str, tuple[str, ...]]:
    """Return the statement that inserts `ROWS` rows, and the names of the parameters of each, in their order.

    Args:
        written: INSERT INTO table (columns) VALUES (values with named parameters).
    """
    found = _INSERT.fullmatch(written)
    assert found is not None, written
    insert, row, ending = found.groups()
    rows = ", ".join([_PARAMETER.sub("?", row)] * ROWS)
    return f"{insert} {rows}{ending}", tuple(_PARAMETER.findall(row))
