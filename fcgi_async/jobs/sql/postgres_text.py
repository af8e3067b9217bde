"""Write statements as text with their values, so that many fit into one message and are planned once.

psycopg's pipeline runs a Python generator for each statement, which costs more than the server's work.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Final

import attrs
import psycopg

from fcgi_async.jobs.sql.dialect import Parameters

__all__ = ("Prepared", "literal")

_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)")
# most statements to prepare: some have a separate form for each number of values
_MOST: Final = 200


def literal(value: object) -> str:
    """Return a value as SQL, for a connection with standard_conforming_strings.

    Raises:
        psycopg.DataError: PostgreSQL does not have such a value.
    """
    if value is None:
        return "NULL"
    if isinstance(value, str):
        if "\0" in value:
            raise psycopg.DataError("PostgreSQL text cannot hold a NUL character")
        return "'" + value.replace("'", "''") + "'"
    if isinstance(value, int):
        return str(int(value))
    if isinstance(value, bytes | bytearray | memoryview):
        return f"'\\x{bytes(value).hex()}'::bytea"
    raise psycopg.DataError(f"no literal for {type(value).__name__}")


@attrs.define(eq=False)
class Prepared:
    """The prepared statements of one connection.

    Attributes:
        new: statements to perform before the last written ones.
    """

    new: list[str] = attrs.field(factory=list, init=False)
    # how often each was used, and the names and parameters of the prepared ones
    _used: Counter[str] = attrs.field(factory=Counter, init=False)
    _names: dict[str, tuple[str, tuple[str, ...]]] = attrs.field(factory=dict, init=False)

    def write(self, statement: str, parameters: Parameters) -> str:
        """Return a statement with its values, or a statement that executes the prepared one."""
        found = self._names.get(statement)
        if found is None:
            self._used[statement] += 1
            if self._used[statement] < 2 or len(self._names) >= _MOST:
                return _PARAMETER.sub(lambda found: literal(parameters[found[1]]), statement)
            found = self._prepare(statement)
        name, used = found
        return (
            f"EXECUTE {name}({', '.join([literal(parameters[each]) for each in used])})" if used else f"EXECUTE {name}"
        )

    def take_new(self) -> list[str]:
        """Return the statements in `new`, and empty it."""
        taken, self.new = self.new, []
        return taken

    def _prepare(self, statement: str) -> tuple[str, tuple[str, ...]]:
        used = tuple(dict.fromkeys(_PARAMETER.findall(statement)))
        numbers = {name: f"${number}" for number, name in enumerate(used, 1)}
        name = f"fcgi_{len(self._names)}"
        self.new.append(f"PREPARE {name} AS {_PARAMETER.sub(lambda found: numbers[found[1]], statement)}")
        self._names[statement] = name, used
        return name, used
