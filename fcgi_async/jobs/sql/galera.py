"""MariaDB with Galera: each node accepts writes, and a commit compares them with those of the other nodes.

Theory of operation. Only the node itself knows a lock. If two transactions on two nodes change the same row, the first
to commit wins. The other one is rolled back, as after a deadlock, and is performed again. Rows that were locked but not
changed are not compared, so a transaction that has to exclude others changes a row that they change too; see
`fcgi_async.jobs.sql.dialect.Dialect.optimistic`. A transaction sees all commits of all nodes from before its start.

Statements that create or alter tables run on all nodes in the same order, each alone and outside of transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import pymysql

from fcgi_async.jobs.errors import StoreUnavailable

__all__ = ("begin_session", "prepare")

# a table, an index or a row already exists
_IS_THERE: Final = frozenset({1050, 1061, 1062})
_FORCED_BACK: Final = 1213
# how often to start the preparation again if others prepare at the same time
_TIMES: Final = 50


class _Session(Protocol):
    """The methods of `fcgi_async.jobs.sql.mysql.MySQLDialect` that are used here."""

    def query(self, statement: str, /) -> list[tuple[object, ...]]: ...

    def change(self, statement: str, /) -> int: ...

    def tables(self) -> set[str]: ...


def begin_session(session: _Session) -> bool:
    """Return whether the server is a node of a cluster; if so, make it show the commits of all nodes.

    Raises:
        StoreUnavailable: the node has lost the others, or is not up to date yet.
    """
    if _shown(session, "VARIABLES", "wsrep_on") != "ON":
        return False
    if _shown(session, "STATUS", "wsrep_ready") != "ON":
        raise StoreUnavailable("this node of the cluster is not ready: it has lost the others, or not caught up yet")
    session.change("SET SESSION wsrep_sync_wait = 1")
    return True


def prepare(session: _Session, creation: Sequence[str], prepare_schema: Callable[[], None]) -> None:
    """Create missing tables, or migrate them; others may do the same on other nodes at the same time.

    No lock prevents that, so each statement may find its work done. If one process is killed, the next one continues.
    """
    for left in reversed(range(_TIMES)):
        try:
            if not _is_made(session):
                for statement in creation:
                    _make(session, statement)
            return prepare_schema()
        except pymysql.Error as error:
            if not left or _code(error) not in _IS_THERE | {_FORCED_BACK}:
                raise


def _is_made(session: _Session) -> bool:
    """Return whether the tables exist; the version is stored last; a table of jobs without a version is not ours."""
    tables = session.tables()
    if "fcgi_schema" not in tables:
        return "fcgi_jobs" in tables
    return bool(session.query("SELECT version FROM fcgi_schema"))


def _make(session: _Session, statement: str) -> None:
    try:
        session.change(statement)
    except pymysql.Error as error:
        if _code(error) not in _IS_THERE:
            raise


def _shown(session: _Session, what: str, name: str) -> object:
    rows = session.query(f"SHOW {what} LIKE '{name}'")
    return rows[0][1] if rows else None


def _code(error: pymysql.Error) -> object:
    return error.args[0] if error.args else None
