"""Dialect: a connection to an SQL database, used by one thread, and what is special about that database."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from fcgi_async.jobs.errors import SchemaMismatch, StoreError
from fcgi_async.jobs.sql.schema import MIGRATIONS, VERSION, Types, creation

__all__ = ("Dialect", "Parameters", "Row")

Row = tuple[object, ...]
Parameters = Mapping[str, object]

_NOTHING: Parameters = {}
_PARAMETER = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)")


class Dialect:
    """The session of a committer (`fcgi_async.jobs.committer.Session`), with statements on top.

    A database is added by a subclass with the abstract methods and the attributes below.

    Attributes:
        types: what its columns are called.
        fill: what stands for the braces in statements; see `fcgi_async.jobs.sql.statements`.
    """

    types: ClassVar[Types]
    fill: ClassVar[Mapping[str, str]]

    def __init__(self) -> None:
        self._written: dict[str, str] = {}

    # the session

    @abstractmethod
    def connect(self) -> None:
        """Connect, if it is not connected, and prepare the tables by `prepare_schema()`."""

    @abstractmethod
    def disconnect(self) -> None:
        """Disconnect; raises nothing."""

    @abstractmethod
    def begin(self, *, durable: bool, writes: bool = True) -> None:
        """Begin a transaction that may change rows; it is on disk when its commit returns, or need not be."""

    @abstractmethod
    def commit(self) -> None:
        """Commit it."""

    @abstractmethod
    def rollback(self) -> None:
        """Take it back, if there is one; raises nothing. A connection that is broken is given up."""

    @abstractmethod
    def committed(self) -> None:
        """Called after each commit; rings the bells that were asked for by `will_ring()`."""

    @abstractmethod
    def will_ring(self, bell: str) -> None:
        """Ring a bell, "work" or "ends", once the transaction is committed."""

    @abstractmethod
    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        """Return what to raise for an error of the driver's; None if it is none of those."""

    # statements

    @abstractmethod
    def query(self, statement: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Return the rows of a SELECT."""

    @abstractmethod
    def change(self, statement: str, parameters: Parameters = _NOTHING) -> int:
        """Return how many rows a statement has changed."""

    @abstractmethod
    def change_many(self, statement: str, parameters: Sequence[Parameters]) -> int:
        """Perform a statement with each of several parameters; return how many rows were changed in all."""

    @abstractmethod
    def tables(self) -> set[str]:
        """Return the names of the tables that there are."""

    @abstractmethod
    def check(self) -> list[str]:
        """Return what the database's own check of its tables finds; [] if there is nothing, or no such check."""

    @abstractmethod
    def write_parameter(self, name: str) -> str:
        """Return how a parameter is written in a statement."""

    def written(self, statement: str) -> str:
        """Return a statement in this dialect's words."""
        written = self._written.get(statement)
        if written is None:
            filled = statement.format(**self.fill) if "{" in statement else statement
            written = _PARAMETER.sub(lambda found: self.write_parameter(found[1]), filled)
            if len(self._written) < 500:
                self._written[statement] = written
        return written

    def prepare_schema(self) -> None:
        """Make the tables or migrate them, within a transaction that keeps other processes from doing the same.

        Raises:
            SchemaMismatch: they are of a later version, or not ours.
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
            for statement in MIGRATIONS[version]:
                self.change(statement)
            version += 1
            self.change("UPDATE fcgi_schema SET version = :version", {"version": version})

    def schema_version(self) -> int:
        """Return the version of the tables.

        Raises:
            SchemaMismatch: there is not exactly one.
        """
        rows = self.query("SELECT version FROM fcgi_schema")
        if len(rows) != 1 or not isinstance(rows[0][0], int):
            raise SchemaMismatch("fcgi_schema must have one row with the version of the tables; restore the database")
        return rows[0][0]
