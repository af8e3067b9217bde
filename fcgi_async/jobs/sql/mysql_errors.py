"""Translate errors of MariaDB and MySQL into errors of the store."""

from __future__ import annotations

from typing import Final

import pymysql

from fcgi_async.jobs.errors import StoreCorrupt, StoreError, StoreFull, StoreRefused, StoreUnavailable
from fcgi_async.jobs.sql.mysql_address import Address

__all__ = ("is_of_node", "is_transient", "translate", "waited_in_vain")

# https://mariadb.com/kb/en/mariadb-error-code-reference/
_TRANSIENT: Final = frozenset({1213})
_LOCKED: Final = frozenset({1205})
_FULL: Final = frozenset({1021, 1114})
# a column cannot hold the text, number or length, or a constraint of the table forbids it
_REFUSED: Final = frozenset({1264, 1366, 1406, 3819, 4025})
_CORRUPT: Final = frozenset({1034, 1194, 1712})
# a node of a cluster has lost the others or is leaving; this may happen during a COMMIT
_OF_NODE: Final = frozenset({1047, 1053, 1180})
# a replica: the next connection may reach the right server
_RECONNECT: Final = frozenset({1290, 1836})
_ADVICE: Final = {
    1047: "name the other nodes in the URL, too",
    1040: "raise max_connections, or let fewer processes connect",
    1044: "grant this user what it needs on the database",
    1045: "see the user and the password in the URL",
    1049: "create the database, or correct the URL",
    1142: "grant this user what it needs on the fcgi_ tables, and CREATE on the database to make them",
    1205: "another transaction kept rows locked: keep transactions short, and try again",
    1290: "it is read-only: name the primary if it is a replica, or turn read_only off",
    1836: "it is read-only: name the primary if it is a replica, or turn read_only off",
}


def is_transient(error: Exception) -> bool:
    """Return whether the transaction was rolled back because of others, so that it may be performed again at once."""
    return isinstance(error, pymysql.Error) and _code(error) in _TRANSIENT


def waited_in_vain(error: Exception) -> bool:
    """Return whether another transaction kept rows or tables locked for longer than we wait."""
    return isinstance(error, pymysql.Error) and _code(error) in _LOCKED


def is_of_node(error: Exception) -> bool:
    """Return whether a node of a cluster reports that it cannot work; another node may be able to."""
    if not isinstance(error, pymysql.Error):
        return False
    return _code(error) in _OF_NODE or (_code(error) in _LOCKED and "Synchronous wait" in str(error.args[1:]))


def translate(error: Exception, address: Address, *, may_be_stored: bool) -> tuple[StoreError, bool]:
    """Return the error to raise, and whether to close the connection.

    Args:
        error: the driver's error.
        address: the address of the database.
        may_be_stored: whether the answer to a COMMIT was lost.
    """
    code = _code(error)
    reason = " ".join(str(part) for part in error.args[1:]) or str(error) or type(error).__name__
    reconnect = code in _RECONNECT or isinstance(error, OSError | pymysql.err.InterfaceError)
    if code in _FULL:
        return StoreFull(f"{address}: {reason}; nothing was stored, and it goes on once there is room"), reconnect
    if code in _REFUSED:
        return StoreRefused(
            f"{address}: {reason}; the database cannot hold such a value; nothing was stored"
        ), reconnect
    if code in _CORRUPT:
        return StoreCorrupt(f"{address}: {reason}; see the server's log, and restore it from a backup"), reconnect
    advice = _ADVICE.get(code, "see that it runs and lets this user in, and try again")
    if may_be_stored:
        advice = "whether it has committed is not known: do the same again, with the same ids"
    return StoreUnavailable(f"{address}: {reason}; {advice}", may_be_stored=may_be_stored), reconnect


def _code(error: Exception) -> int:
    code = error.args[0] if error.args else 0
    return code if isinstance(code, int) else 0
