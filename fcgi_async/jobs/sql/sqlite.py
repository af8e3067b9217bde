"""SQLite: jobs in one file on one machine, by the standard library's module."""

from __future__ import annotations

import os
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import ClassVar, Final

from fcgi_async.jobs.bell import ring
from fcgi_async.jobs.errors import StoreCorrupt, StoreError, StoreFull, StoreRefused, StoreUnavailable
from fcgi_async.jobs.sql.dialect import Dialect, Parameters, Row, decode
from fcgi_async.jobs.sql.filesystem import network_filesystem
from fcgi_async.jobs.sql.schema import Types
from fcgi_async.jobs.sql.sqlite_insert import ROWS, insert_rows
from fcgi_async.jobs.sql.sqlite_path import relative_meant

__all__ = ("SQLiteDialect",)

# seconds to wait while another process writes
_BUSY: Final = 10.0
# milliseconds in which SQLite itself tries for the lock, at first after one
_STEP: Final = 8
_WAL_RETRY: Final = 0.01
_NOTHING: Parameters = {}
# the beginning of the module's message for text that is not UTF-8
_UNDECODABLE: Final = "Could not decode to UTF-8"

# primary result codes, https://www.sqlite.org/rescode.html
_PERM, _BUSY_CODE, _LOCKED, _READONLY, _IOERR = 3, 5, 6, 8, 10
_CORRUPT, _FULL, _CANTOPEN, _NOTADB = 11, 13, 14, 26
_TOOBIG, _CONSTRAINT, _MISMATCH = 18, 19, 20


class SQLiteDialect(Dialect):
    """A connection to an SQLite file.

    Args:
        path: the file; created if it does not exist, unlike its folder.
        clock: returns the seconds since 1970.
    """

    types: ClassVar[Types] = Types(
        key="INTEGER PRIMARY KEY AUTOINCREMENT",
        name="TEXT",
        text="TEXT",
        blob="BLOB",
        long="INTEGER",
        now="(CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER))",
        id="(lower(hex(randomblob(16))))",
        checks=True,
    )
    fill: ClassVar[Mapping[str, str]] = {
        "now": ":now",
        # a transaction runs alone
        "skip_locked": "",
        "locked": "",
        "shared": "",
        "or_nothing": " ON CONFLICT DO NOTHING",
        "length": "length",
        "free": "number = :number",
    }

    def __init__(self, path: Path, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__()
        self.path = path
        self._clock = clock
        self._connection: sqlite3.Connection | None = None
        self._identity: tuple[int, int] | None = None
        self._synced: bool | None = None
        self._now = 0
        self._bells: set[str] = set()

    @property
    def folder(self) -> Path:
        """The folder of workers' files and of bells' sockets."""
        return self.path.with_name(f"{self.path.name}-live")

    # the session

    def connect(self) -> None:
        """Connect if it is not connected, or if the file was replaced."""
        if self._connection is not None:
            if self._file_identity() == self._identity:
                return
            self.disconnect()
            raise StoreUnavailable(
                f"{self.path} was removed or replaced while it was in use; what was put since is in the old file. "
                "It is opened anew at the next call"
            )
        kind = network_filesystem(self.path.parent)
        if kind is not None:
            raise StoreUnavailable(
                f"{self.path} is on {kind}, whose locks do not keep two machines apart: put the file on a local disk"
            )
        connection = sqlite3.connect(
            self.path, timeout=_BUSY, isolation_level=None, check_same_thread=False, cached_statements=256
        )
        self._connection = connection
        try:
            self._use_wal(connection)
            self._synced = None
            self.begin(durable=True)
            self.prepare_schema()
            self.commit()
            self.folder.mkdir(exist_ok=True)
            self._identity = self._file_identity()
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """Disconnect; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(sqlite3.Error):
                connection.close()

    def begin(self, *, durable: bool, writes: bool = True) -> None:
        """Begin a transaction; one that writes excludes other writers."""
        connection = self._require()
        if self._synced is not durable:
            # in WAL, NORMAL leaves commits to the next sync, and FULL syncs each
            connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._synced = durable
        self._bells.clear()
        if writes:
            self._begin_immediate(connection)
        else:
            connection.execute("BEGIN")
        self._now = int(self._clock() * 1000)

    @staticmethod
    def _begin_immediate(connection: sqlite3.Connection) -> None:
        """Wait for the lock in short steps: SQLite's own grow to 100 ms, in which busier processes are always first."""
        deadline = time.monotonic() + _BUSY
        connection.execute(f"PRAGMA busy_timeout = {_STEP}")
        try:
            while True:
                try:
                    connection.execute("BEGIN IMMEDIATE")
                    return
                except sqlite3.OperationalError as error:
                    if error.sqlite_errorcode & 0xFF != _BUSY_CODE or time.monotonic() > deadline:
                        raise
        finally:
            connection.execute(f"PRAGMA busy_timeout = {_BUSY * 1000:.0f}")

    def commit(self) -> None:
        """Commit it."""
        self._require().execute("COMMIT")

    def rollback(self) -> None:
        """Roll back if there is a transaction; never raises."""
        self._bells.clear()
        if self._connection is not None and self._connection.in_transaction:
            try:
                self._connection.execute("ROLLBACK")
            except sqlite3.Error:
                self.disconnect()

    def committed(self) -> None:
        """Ring the bells."""
        for bell in self._bells:
            ring(self.folder, bell)

    def will_ring(self, bell: str) -> None:
        """Ring a bell once the transaction is committed."""
        self._bells.add(bell)

    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        """Return the error to raise for an error of SQLite; the failed transaction is rolled back."""
        if isinstance(error, StoreError):
            return error
        if isinstance(error, OSError):
            return StoreUnavailable(f"{self.folder}: {error.strerror or error}; is the folder there, and writable?")
        if isinstance(error, OverflowError | UnicodeError):
            return StoreRefused(f"{self.path}: {error}; nothing was stored")
        if not isinstance(error, sqlite3.Error):
            return None
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in (_READONLY, _IOERR, _CORRUPT, _CANTOPEN, _NOTADB):
            self.disconnect()
        if code == _FULL or (code == _IOERR and self._no_room()):
            return StoreFull(f"{self.path}: the disk is full; nothing was stored, and it goes on once there is room")
        if code in (_TOOBIG, _CONSTRAINT, _MISMATCH):
            return StoreRefused(f"{self.path}: {error}; the database cannot hold such a value; nothing was stored")
        if code in (_CORRUPT, _NOTADB):
            return StoreCorrupt(
                f"{self.path}: {error}; restore it from a backup, or move it away to begin with an empty one"
            )
        hint = relative_meant(self.path) if code == _CANTOPEN else ""
        return StoreUnavailable(f"{self.path}: {error}; {_advice(code)}{hint}")

    # statements

    def query(self, statement: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Return the rows of a SELECT."""
        connection, values = self._require(), self._with_now(parameters)
        rows: list[Row]
        try:
            rows = connection.execute(self.written(statement), values).fetchall()
        except sqlite3.OperationalError as error:
            if not str(error).startswith(_UNDECODABLE):
                raise
            connection.text_factory = decode
            try:
                rows = connection.execute(self.written(statement), values).fetchall()
            finally:
                connection.text_factory = str
        return rows

    def change(self, statement: str, parameters: Parameters = _NOTHING) -> int:
        """Return how many rows a statement has changed."""
        return self._require().execute(self.written(statement), self._with_now(parameters)).rowcount

    def change_many(self, statement: str, parameters: Sequence[Parameters]) -> int:
        """Perform a statement with each of several parameters; an INSERT with some of them at once."""
        connection, written = self._require(), self.written(statement)
        values = [self._with_now(each) for each in parameters]
        alone, changed = len(values), 0
        if statement.startswith("INSERT"):
            alone %= ROWS
        if alone:
            changed = connection.executemany(written, values[:alone]).rowcount
        if alone < len(values):
            several, names = insert_rows(written)
            rows = list(map(itemgetter(*names), values[alone:]))
            together = (chain.from_iterable(rows[begin : begin + ROWS]) for begin in range(0, len(rows), ROWS))
            changed += connection.executemany(several, map(tuple, together)).rowcount
        return changed

    def tables(self) -> set[str]:
        """Return the names of the tables that there are."""
        return {str(name) for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'table'")}

    def indexes(self) -> set[str]:
        """Return the names of the indexes that there are."""
        return {str(name) for (name,) in self.query("SELECT name FROM sqlite_master WHERE type = 'index'")}

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        return {str(name) for (name,) in self.query("SELECT name FROM pragma_table_info(:table)", {"table": table})}

    def write_parameter(self, name: str) -> str:
        """Return how a parameter is written."""
        return f":{name}"

    def check(self) -> list[str]:
        """Return what SQLite's own check finds; [] if the file is whole."""
        return [str(row[0]) for row in self.query("PRAGMA integrity_check") if row[0] != "ok"]

    def _require(self) -> sqlite3.Connection:
        assert self._connection is not None
        return self._connection

    def _with_now(self, parameters: Parameters) -> dict[str, object]:
        return {**parameters, "now": self._now}

    def _use_wal(self, connection: sqlite3.Connection) -> None:
        # SQLite does not wait for others here
        deadline = time.monotonic() + _BUSY
        while True:
            try:
                mode = connection.execute("PRAGMA journal_mode = WAL").fetchone()[0]
            except sqlite3.OperationalError as error:
                if getattr(error, "sqlite_errorcode", 0) & 0xFF not in (_BUSY_CODE, _LOCKED):
                    raise
                mode = None
            if mode == "wal":
                connection.execute(f"PRAGMA journal_size_limit = {64 << 20}")
                # pages until the log is written back, with syncs: a job changes several
                connection.execute("PRAGMA wal_autocheckpoint = 4000")
                return
            if mode is not None:
                raise StoreUnavailable(f"{self.path}: SQLite cannot use a write-ahead log here, only {mode!r}")
            if time.monotonic() > deadline:
                raise StoreUnavailable(f"{self.path}: another process keeps the file locked; end it and try again")
            time.sleep(_WAL_RETRY)

    def _file_identity(self) -> tuple[int, int] | None:
        try:
            found = os.stat(self.path)
        except OSError:
            return None
        return found.st_dev, found.st_ino

    def _no_room(self) -> bool:
        try:
            found = os.statvfs(self.path.parent)
        except OSError:
            return False
        # less than SQLite's shared memory grows by
        return found.f_bavail * found.f_frsize < 1 << 16


def _advice(code: int) -> str:
    return {
        _READONLY: "the file, or its folder, cannot be written to by this user",
        _PERM: "the file, or its folder, cannot be written to by this user",
        _CANTOPEN: "its folder must be there, and this user must be allowed to write to it",
        _BUSY_CODE: f"another process kept it locked for {_BUSY:g} s: keep transactions short, and try again",
        _LOCKED: "another connection keeps it locked; try again",
        _IOERR: "see the system's log about the disk",
    }.get(code, "try again, and report it if it stays")
