"""Migrate tables from an older version to a newer one; the jobs stay."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Final, Protocol, cast

from fcgi_async.jobs.sql.schema import Types, indexes, type_checks

__all__ = ("MIGRATIONS", "Migrating")


class Migrating(Protocol):
    """The methods of `fcgi_async.jobs.sql.dialect.Dialect` that a migration uses; see there."""

    @property
    def types(self) -> Types: ...

    def query(self, statement: str, /) -> list[tuple[object, ...]]: ...

    def change(self, statement: str, parameters: Mapping[str, object] = ..., /) -> int: ...

    def indexes(self) -> set[str]: ...

    def columns(self, table: str, /) -> set[str]: ...


def _to_2(dialect: Migrating) -> None:
    """Keep values of other types out of SQLite's tables, and create indexes for the sweep."""
    if dialect.types.checks:
        _check_types(dialect)
    _make_indexes(dialect, ("fcgi_jobs_held", "fcgi_batches_open", "fcgi_batches_finished"))


def _to_3(dialect: Migrating) -> None:
    """Add the columns that keep how long the leases of lost workers were watched."""
    # an interrupted migration on MySQL may have added one
    there = dialect.columns("fcgi_workers")
    for name, more in (("watched", " NOT NULL DEFAULT 0"), ("looked", "")):
        if name not in there:
            dialect.change(f"ALTER TABLE fcgi_workers ADD COLUMN {name} {dialect.types.long}{more}")


def _make_indexes(dialect: Migrating, names: Sequence[str]) -> None:
    # an interrupted migration on MySQL may have created some
    there = dialect.indexes()
    for name in names:
        if name not in there:
            dialect.change(indexes(dialect.types)[name])


def _check_types(dialect: Migrating) -> None:
    """Recreate SQLite's table of jobs with constraints; convert values of other types, and keep the numbers."""
    [(table,)] = dialect.query("SELECT sql FROM sqlite_master WHERE type = 'table' AND name = 'fcgi_jobs'")
    # including an application's triggers
    made = dialect.query("SELECT sql FROM sqlite_master WHERE tbl_name = 'fcgi_jobs' AND type <> 'table' AND sql > ''")
    columns = cast("list[tuple[str, str]]", dialect.query("SELECT name, type FROM pragma_table_info('fcgi_jobs')"))
    [(last,)] = dialect.query("SELECT COALESCE(max(seq), 0) FROM sqlite_sequence WHERE name = 'fcgi_jobs'")
    text = str(table).rpartition(")")[0].rstrip()
    dialect.change(text.replace("fcgi_jobs", "fcgi_jobs_2", 1) + type_checks() + "\n)")
    named = ", ".join(name for name, _ in columns)
    values = ", ".join(f"CAST({name} AS {kind})" for name, kind in columns)
    dialect.change(f"INSERT INTO fcgi_jobs_2 ({named}) SELECT {values} FROM fcgi_jobs")
    dialect.change("DROP TABLE fcgi_jobs")
    # an application's views and triggers may name the table, which is missing for a moment
    dialect.change("PRAGMA legacy_alter_table = ON")
    dialect.change("ALTER TABLE fcgi_jobs_2 RENAME TO fcgi_jobs")
    dialect.change("PRAGMA legacy_alter_table = OFF")
    # used numbers are not used again
    dialect.change("DELETE FROM sqlite_sequence WHERE name = 'fcgi_jobs'")
    dialect.change("INSERT INTO sqlite_sequence (name, seq) VALUES ('fcgi_jobs', :last)", {"last": last})
    for (statement,) in made:
        dialect.change(str(statement))


# by the version at which they start
MIGRATIONS: Final[dict[int, Callable[[Migrating], None]]] = {1: _to_2, 2: _to_3}
