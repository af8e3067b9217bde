"""Dialect: a connection to an SQL database, used by one thread, and the special features of that database."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import ClassVar

from fcgi_async.jobs.errors import SchemaMismatch, StoreError
from fcgi_async.jobs.sql.migrations import MIGRATIONS
from fcgi_async.jobs.sql.schema import VERSION, Types, creation

__all__ = ("Dialect", "Parameters", "Row", "Undecodable", "among", "decode")

Row = tuple[object, ...]
Parameters = Mapping[str, object]

_NOTHING: Parameters = {}
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)")


class Undecodable(str):
    """Text that is not UTF-8, with an escape for each byte that is not: `\\xff`."""


def decode(content: bytes) -> str:
    """Return a database's text value as str; the database may have a value of another type."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        return Undecodable(content.decode("utf-8", "backslashreplace"))


def among(numbers: Iterable[int]) -> tuple[str, dict[str, object]]:
    """Return a condition that selects these jobs, and its parameters."""
    values: dict[str, object] = {f"n{index}": number for index, number in enumerate(numbers)}
    return f"number IN (:{', :'.join(values)})", values


class Dialect:
    """The session of a committer (`fcgi_async.jobs.committer.Session`), with statements on top.

    A database is added by a subclass with the abstract methods and the attributes below.

    Attributes:
        types: the names of its column types.
        fill: the text for the braces in statements; see `fcgi_async.jobs.sql.statements`.
        charset: Python's name of the text encoding, if the database does not accept all of Unicode.
        longest_response: most bytes of a stored response; None for no limit.
        optimistic: whether others may commit in spite of our locks, on another node of a cluster: if two transactions
            change a row, the first to commit wins and the other is rolled back; a lock alone does not count there.
        spread: how many ready jobs a claim may then skip, so that claims at the same time take different jobs.
    """

    types: ClassVar[Types]
    fill: ClassVar[Mapping[str, str]]
    charset: str | None = None
    longest_response: int | None = None
    optimistic: bool = False
    spread: int = 0

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    # the session

    @abstractmethod
    def connect(self) -> None:
        """Connect if it is not connected, and prepare the tables with `prepare_schema()`."""

    @abstractmethod
    def disconnect(self) -> None:
        """Disconnect; never raises."""

    @abstractmethod
    def begin(self, *, durable: bool, writes: bool = True) -> None:
        """Begin a transaction that may change rows. `durable`: it must be on disk when its commit returns."""

    @abstractmethod
    def commit(self) -> None:
        """Commit it."""

    @abstractmethod
    def rollback(self) -> None:
        """Roll back if there is a transaction; never raises. A broken connection is given up."""

    @abstractmethod
    def committed(self) -> None:
        """Called after each commit; rings the bells requested with `will_ring()`."""

    @abstractmethod
    def will_ring(self, bell: str) -> None:
        """Ring a bell, "work" or "ends", after the transaction is committed."""

    @abstractmethod
    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        """Return the error to raise for a driver's error; None if it is not one."""

    def is_transient(self, error: Exception) -> bool:
        """Return whether it was rolled back because of other transactions, and may be repeated at once."""
        return False

    def waited_in_vain(self, error: Exception) -> bool:
        """Return whether it waited too long for another transaction's locks, and would only wait again."""
        return False

    # statements

    @abstractmethod
    def query(self, statement: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Return the rows of a SELECT."""

    @abstractmethod
    def change(self, statement: str, parameters: Parameters = _NOTHING) -> int:
        """Perform a statement; return the number of changed rows."""

    @abstractmethod
    def change_many(self, statement: str, parameters: Sequence[Parameters]) -> int:
        """Perform a statement with each set of parameters; return the total number of changed rows."""

    def ask(self, asked: Sequence[tuple[str, Parameters]]) -> list[list[Row]]:
        """Perform statements, in one exchange with the server if there is one; return the rows of each."""
        return [self.query(statement, parameters) for statement, parameters in asked]

    def change_each(self, statement: str, parameters: Sequence[Parameters]) -> list[int]:
        """Perform a statement with each set of parameters; return the number of changed rows for each."""
        return [self.change(statement, each) for each in parameters]

    def storable(self, text: str | None) -> str | None:
        """Return text with an escape for each character that the database cannot hold: `\\u2192`."""
        if text is None or self.charset is None:
            return text
        return text.encode(self.charset, "backslashreplace").decode(self.charset)

    def lock_free(self, numbers: Collection[int]) -> Collection[int]:
        """Lock the jobs that no other transaction has locked, and return them.

        A database that does this with the condition {free} of a statement returns all jobs.
        """
        return numbers

    @abstractmethod
    def tables(self) -> set[str]:
        """Return the names of the existing tables."""

    @abstractmethod
    def indexes(self) -> set[str]:
        """Return the names of the existing indexes."""

    @abstractmethod
    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""

    @abstractmethod
    def check(self) -> list[str]:
        """Return the faults that the database's own check finds; [] if there are none, or no such check."""

    @abstractmethod
    def write_parameter(self, name: str) -> str:
        """Return a parameter as it is written in a statement."""

    def written(self, statement: str) -> str:
        """Return a statement in this dialect."""
        written = self._written.get(statement)
        if written is None:
            filled = statement.format(**self.fill) if "{" in statement else statement
            written = _PARAMETER.sub(lambda found: self.write_parameter(found[1]), filled)
            if len(self._written) < 500:
                self._written[statement] = written
        return written

    def prepare_schema(self) -> None:
        """Create or migrate the tables, in a transaction that keeps other processes from doing the same.

        Raises:
            SchemaMismatch: they have a later version, or are not ours.
        """
        tables = self.tables()
        if "fcgi_schema" not in tables:
            if "fcgi_jobs" in tables:
                raise SchemaMismatch(
                    "the database has a table fcgi_jobs and no fcgi_schema: it is not ours, or was restored in part; "
                    "name another database, or restore it whole"
                )
            for statement in creation(self.types):
                self.change(statement)
            return
        version = self.schema_version()
        if version > VERSION:
            raise SchemaMismatch(
                f"the tables are of version {version}, and this release knows {VERSION}: a later release has migrated "
                "them; upgrade fcgi-async here too"
            )
        while version < VERSION:
            MIGRATIONS[version](self)
            version += 1
            self.change("UPDATE fcgi_schema SET version = :version", {"version": version})

    def schema_version(self) -> int:
        """Return the version of the tables.

        Raises:
            SchemaMismatch: there is not exactly one version.
        """
        rows = self.query("SELECT version FROM fcgi_schema")
        if len(rows) != 1 or not isinstance(rows[0][0], int):
            raise SchemaMismatch("fcgi_schema must have one row with the version of the tables; restore the database")
        return rows[0][0]
