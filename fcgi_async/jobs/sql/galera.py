"""MariaDB with Galera: nodes that take writes all of them, and compare what was written when it is committed.

Theory of operation. A lock is known to its node alone. Of two transactions on two nodes that change the same row, the
first to commit wins, and the other one is forced back, as by a deadlock: it is made again. Rows that were locked and
not changed are not compared, so whatever has to exclude others changes a row that they change too; see
`fcgi_async.jobs.sql.dialect.Dialect.optimistic`. A transaction sees what was committed on any node before it began.

Tables are made and altered on all nodes in one order, each statement by itself and outside of transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol

import pymysql

from fcgi_async.jobs.errors import StoreUnavailable

__all__ = ("begin_session", "prepare")

# a table, an index and a row that are there already
_IS_THERE: Final = frozenset({1050, 1061, 1062})
_FORCED_BACK: Final = 1213
# times that preparing begins anew because of others who do the same
_TIMES: Final = 50


class _Session(Protocol):
    """What is needed of a `fcgi_async.jobs.sql.mysql.MySQLDialect`."""

    def query(self, statement: str, /) -> list[tuple[object, ...]]: ...

    def change(self, statement: str, /) -> int: ...

    def tables(self) -> set[str]: ...


def begin_session(session: _Session) -> bool:
    """Return whether the server is a node of a cluster; it then shows what was committed on any of them.

    Raises:
        StoreUnavailable: it is one that has lost the others, or has not caught up with them yet.
    """
    if _shown(session, "VARIABLES", "wsrep_on") != "ON":
        return False
    if _shown(session, "STATUS", "wsrep_ready") != "ON":
        raise StoreUnavailable("this node of the cluster is not ready: it has lost the others, or not caught up yet")
    session.change("SET SESSION wsrep_sync_wait = 1")
    return True


def prepare(session: _Session, creation: Sequence[str], prepare_schema: Callable[[], None]) -> None:
    """Make what is missing of the tables, or migrate them, while others may do the same on other nodes.

    No lock keeps these out, so each statement may find its work done; where one was killed the next one goes on.
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
    """Return whether there are tables; the version comes last, and a table of jobs without one is not ours."""
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
