"""INSERT many rows at once, as one JSON parameter."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

__all__ = ("insert_many",)

_INSERT: Final = re.compile(r"(INSERT INTO \w+ \([^)]*\)) VALUES \((.*)\)((?:\{or_nothing\})?)", re.DOTALL)
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_]+)")
# columns that are not text
_TYPES: Final = {"priority": "integer", "delay": "bigint", "unique_for": "bigint"}


@cache
def insert_many(statement: str) -> tuple[str, tuple[str, ...]]:
    """Return a statement that inserts a row for each element of `:rows`, and the names in an element.

    Args:
        statement: INSERT INTO table (columns) VALUES (values with parameters).
    """
    found = _INSERT.fullmatch(statement)
    assert found is not None, statement
    insert, values, ending = found.groups()
    names = tuple(dict.fromkeys(_PARAMETER.findall(values)))
    columns = ", ".join(f'"{name}" {_TYPES.get(name, "text")}' for name in names)
    values = _PARAMETER.sub(r'given."\1"', values)
    return f"{insert} SELECT {values} FROM json_to_recordset(:rows) AS given ({columns}){ending}", names
