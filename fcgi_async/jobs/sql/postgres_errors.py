"""Translate errors of PostgreSQL into errors of the store."""

from __future__ import annotations

from typing import Final

import psycopg

from fcgi_async.jobs.errors import StoreCorrupt, StoreError, StoreFull, StoreRefused, StoreUnavailable
from fcgi_async.jobs.sql.postgres_address import Address

__all__ = ("is_transient", "translate", "waited_in_vain")

# https://www.postgresql.org/docs/current/errcodes-appendix.html
_TRANSIENT: Final = frozenset({"40001", "40P01"})
_LOCKED: Final = frozenset({"55P03"})
_FULL: Final = frozenset({"53100"})
_CORRUPT: Final = frozenset({"XX001", "XX002"})
# a standby, or cached plans from before a migration: the next connection works
_RECONNECT: Final = frozenset({"25006", "0A000"})
# data exceptions, a violated constraint of the table, and a value too long for an index
_REFUSED: Final = ("22", "23514", "54000")
_READ_ONLY: Final = "25006"
_STANDBY: Final = "it is a standby: name the primary, or add target_session_attrs=read-write to the URL"
_NOT_ALLOWED: Final = (
    "this role may only read: turn default_transaction_read_only off, for the role, the database or the server"
)
_ADVICE: Final = {
    "3F000": "create the schema, or correct the search_path in the URL",
    "42501": "grant this user what it needs on the fcgi_ tables, and CREATE on the schema to make them",
    "55P03": "another transaction kept rows or tables locked: keep transactions short, and try again",
    "57014": "a statement took too long, or was cancelled; try again",
    "57P01": "the server was shut down; try again once it is back",
    "57P03": "it starts or stops; try again",
}


def is_transient(error: Exception) -> bool:
    """Return whether the transaction was rolled back because of others, so that it may be performed again at once."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _TRANSIENT


def waited_in_vain(error: Exception) -> bool:
    """Return whether another transaction kept rows or tables locked for longer than we wait."""
    return isinstance(error, psycopg.Error) and error.sqlstate in _LOCKED


def translate(
    error: psycopg.Error, address: Address, *, may_be_stored: bool, standby: str | None = None
) -> tuple[StoreError, bool]:
    """Return the error to raise, and whether to close the connection.

    Args:
        error: the driver's error.
        address: the address of the database.
        may_be_stored: whether the answer to a COMMIT was lost.
        standby: the server's `in_hot_standby`, "on" or "off"; None before PostgreSQL 14, which does not report it.
    """
    state = error.sqlstate or ""
    reason = " ".join(str(error).split()) or type(error).__name__
    reconnect = state in _RECONNECT
    if state in _FULL:
        return StoreFull(f"{address}: {reason}; nothing was stored, and it goes on once there is room"), reconnect
    if state.startswith(_REFUSED) or isinstance(error, psycopg.DataError):
        return StoreRefused(f"{address}: {reason}; {_cure(state)}; nothing was stored"), reconnect
    if state in _CORRUPT:
        return StoreCorrupt(f"{address}: {reason}; see the server's log, and restore it from a backup"), reconnect
    if state == _READ_ONLY:
        cure = {"on": _STANDBY, "off": _NOT_ALLOWED}.get(standby or "", f"{_STANDBY}, or {_NOT_ALLOWED}")
        return StoreUnavailable(f"{address}: {reason}; {cure}"), True
    advice = _ADVICE.get(state, "see that it runs and lets this user in, and try again")
    if may_be_stored:
        advice = "whether it has committed is not known: do the same again, with the same ids"
    return StoreUnavailable(f"{address}: {reason}; {advice}", may_be_stored=may_be_stored), reconnect


def _cure(state: str) -> str:
    if state == "22P05":
        return "keep the jobs in a database whose encoding is UTF8, or put only what this one's encoding has"
    return "the database cannot hold such a value"
