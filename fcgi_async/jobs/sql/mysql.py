"""MariaDB 10.6 and MySQL 8.0.17 and newer, by PyMySQL in one thread."""

from __future__ import annotations

import re
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import ClassVar, Final, cast

try:
    import pymysql
except ImportError as error:
    raise ImportError(
        "durable jobs in MariaDB or MySQL need PyMySQL: pip install 'fcgi-async[mysql]'",
        name=error.name,
        path=error.path,
    ) from error
from pymysql.constants import CLIENT
from pymysql.cursors import Cursor

from fcgi_async.jobs.errors import PayloadTooLarge, StoreError, StoreRefused, StoreUnavailable
from fcgi_async.jobs.sql import galera
from fcgi_async.jobs.sql.dialect import Parameters, Row, among
from fcgi_async.jobs.sql.mysql_address import Address
from fcgi_async.jobs.sql.mysql_errors import is_of_node, is_transient, translate, waited_in_vain
from fcgi_async.jobs.sql.schema import Types, creation
from fcgi_async.jobs.sql.server_store import ServerDialect
from fcgi_async.jobs.sql.statements import PROMOTE, RELEASE_KEYS, SWEEP

__all__ = ("MySQLDialect",)

# seconds for which another transaction may keep a statement waiting
_LOCKED: Final = 10
# seconds without a call after which the connection may have ended unseen
_IDLE: Final = 1.0
# ready jobs that a claim passes over at most, and how much fewer after each commit
_WIDEST: Final = 256
_CALMER: Final = 0.97
_INSERT: Final = re.compile(r"INSERT INTO (\w+) \((\w+)")
_PARAMETER: Final = re.compile(r"(?<![:\w]):([a-z_][a-z_0-9]*)")
# `IN (SELECT ...)` in these would look at every row
_OTHERWISE: Final = {
    PROMOTE: """UPDATE (SELECT number AS found FROM fcgi_jobs FORCE INDEX (fcgi_jobs_delayed)
        WHERE state = 'delayed' AND due <= {now} ORDER BY due LIMIT 500{skip_locked}) AS free
        STRAIGHT_JOIN fcgi_jobs FORCE INDEX (PRIMARY) ON number = found SET state = 'ready'""",
    RELEASE_KEYS: """UPDATE (SELECT number AS found FROM fcgi_jobs FORCE INDEX (fcgi_jobs_held)
        WHERE state IN ('done', 'dead', 'cancelled') AND unique_until <= {now} AND unique_key IS NOT NULL
        LIMIT 500{skip_locked}) AS free
        STRAIGHT_JOIN fcgi_jobs FORCE INDEX (PRIMARY) ON number = found SET unique_key = NULL, unique_until = NULL""",
    SWEEP: """DELETE fcgi_jobs FROM (SELECT number AS found FROM fcgi_jobs FORCE INDEX (fcgi_jobs_kept)
        WHERE keep_until <= {now} AND worker IS NULL AND state IN ('done', 'dead', 'cancelled')
        ORDER BY keep_until LIMIT 1000{skip_locked}) AS free
        STRAIGHT_JOIN fcgi_jobs FORCE INDEX (PRIMARY) ON number = found""",
}
_NOTHING: Parameters = {}


class MySQLDialect(ServerDialect):
    """A connection to MariaDB or MySQL.

    Args:
        address: the address of the server and the database.
        lease: seconds after which MariaDB ends an idle transaction.
    """

    types: ClassVar[Types] = Types(
        key="bigint NOT NULL AUTO_INCREMENT PRIMARY KEY",
        name="varchar(200)",
        text="longtext",
        blob="longblob",
        long="bigint",
        # whatever time zone the session has
        now="(TIMESTAMPDIFF(MICROSECOND, '1970-01-01', UTC_TIMESTAMP(6)) DIV 1000)",
        id="(REPLACE(UUID(), '-', ''))",
        where="",
        # Galera replicates rows by their keys
        version_key=" PRIMARY KEY",
        options=" ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={collation} ROW_FORMAT=DYNAMIC",
    )
    fill: ClassVar[Mapping[str, str]] = {
        "now": types.now,
        "skip_locked": " FOR UPDATE SKIP LOCKED",
        "locked": " FOR UPDATE",
        "shared": " LOCK IN SHARE MODE",
        "length": "CHAR_LENGTH",
        # a subquery here costs more than an exchange for many rows, see `lock_free()`
        "free": "number = :number",
    }

    def __init__(self, address: Address, lease: float) -> None:
        super().__init__()
        self.address = address
        self._lease = lease
        self._connection: pymysql.Connection[Cursor] | None = None
        # which of the hosts is connected to, or is tried next
        self._place = 0
        self._unbegun = False
        self._rings = False
        # called in the thread after a commit that rang for work
        self.on_work: Callable[[], None] = _nobody
        self._used = 0.0
        self._collation = ""
        self._spread = 0.0
        self._patience: float = _LOCKED
        # bytes of the longest message that the server takes
        self._packet = 1 << 20
        # held as long as the server works for a connection of ours, see `_outlive()`
        self._key = f"fcgi_jobs_{secrets.token_hex(16)}"

    # the session

    def connect(self) -> None:
        """Connect if it is not connected: to the last host that worked, otherwise to another one."""
        if self._connection is not None:
            return
        for left in reversed(range(len(self.address.hosts))):
            try:
                self._connect()
                break
            except (pymysql.Error, OSError, StoreUnavailable):
                self._give_up()
                if not left:
                    raise
        self.generation += 1
        self.connected = time.monotonic()

    def _connect(self) -> None:
        self._connection = self.address.connect(self._place, client_flag=CLIENT.MULTI_STATEMENTS)
        patience = self._patience
        try:
            [(version, packet)] = self.query("SELECT VERSION(), @@max_allowed_packet")
            mariadb, self._packet = "MariaDB" in str(version), cast("int", packet) - _HEAD
            # quoted it may be twice as long
            self.longest_response = max((self._packet - _BESIDE) // 2, 0)
            # 'job' and 'job ' are two names
            self._collation = "utf8mb4_nopad_bin" if mariadb else "utf8mb4_0900_bin"
            self.change("SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION'")
            self.change("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
            self.limit_waits(_LOCKED)
            if mariadb:
                self.change(f"SET SESSION idle_transaction_timeout = {max(round(self._lease), 1)}")
            self.optimistic = galera.begin_session(self)
            if self.optimistic:
                # no lock of one node keeps out others, and what is on its way there commits as if it came later
                galera.prepare(self, creation(self.types), self.prepare_schema)
            else:
                self._outlive()
                self._lock("fcgi_jobs_schema")
                self.prepare_schema()
                self.query("SELECT RELEASE_LOCK('fcgi_jobs_schema')")
            self.limit_waits(patience)
        except BaseException:
            self.disconnect()
            raise

    def _give_up(self) -> None:
        """Disconnect from a host that has failed; the next one is tried first."""
        self.disconnect()
        self._place = (self._place + 1) % len(self.address.hosts)

    def disconnect(self) -> None:
        """Disconnect; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None and connection.open:
            with suppress(pymysql.Error, OSError):
                connection.close()

    def begin(self, *, durable: bool, writes: bool = True) -> None:
        """Begin a transaction with its first statement; over a new connection if the server has ended the old one."""
        connection = self._require()
        if time.monotonic() - self._used > _IDLE:
            try:
                connection.ping(reconnect=False)
            except (pymysql.Error, OSError):
                self._give_up()
                self.connect()
        self._unbegun, self._rings = True, False

    def commit(self) -> None:
        """Commit it."""
        if not self._unbegun:
            self._require().commit()
        self._unbegun = False

    def rollback(self) -> None:
        """Roll back if there is a transaction; never raises."""
        begun, self._unbegun = not self._unbegun, False
        connection = self._connection
        if connection is None:
            return
        try:
            if begun:
                connection.rollback()
        except (pymysql.Error, OSError):
            self._give_up()

    def committed(self) -> None:
        """Wake the workers of this process; others poll."""
        self._spread *= _CALMER
        if self._rings:
            self.on_work()

    def will_ring(self, bell: str) -> None:
        """Report work after the transaction is committed."""
        self._rings |= bell == "work"

    def translate(self, error: Exception, *, committing: bool) -> StoreError | None:
        """Return the error to raise for an error of PyMySQL."""
        if isinstance(error, StoreError):
            return error
        if isinstance(error, UnicodeError | OverflowError):
            return StoreRefused(f"{self.address}: {error}; nothing was stored")
        if not isinstance(error, pymysql.Error | OSError):
            return None
        lost = self._connection is None or not self._connection.open or is_of_node(error)
        if is_transient(error):
            self._spread = min(self._spread * 2 + 4, _WIDEST)
        translated, reconnect = translate(error, self.address, may_be_stored=committing and lost)
        if self._connection is not None and (reconnect or lost):
            self._give_up()
        return translated

    def is_transient(self, error: Exception) -> bool:
        """Return whether it was a deadlock, or another node committed first."""
        return is_transient(error)

    @property
    def spread(self) -> int:  # type: ignore[override]
        """The more, the more often others were first."""
        return int(self._spread)

    def waited_in_vain(self, error: Exception) -> bool:
        """Return whether another transaction kept the needed rows locked for too long."""
        return waited_in_vain(error)

    def limit_waits(self, seconds: float) -> None:
        """Let statements wait for locks for at most so many whole seconds, on later connections too."""
        # a later answer counts as lost
        self._patience = seconds = min(seconds, self.address.answer / 2)
        for lock in ("innodb_lock_wait_timeout", "lock_wait_timeout"):
            self.change(f"SET SESSION {lock} = {max(int(seconds), 1)}")

    def interrupt(self) -> None:
        """Do nothing: no statement waits for an answer for more than half a minute."""

    # statements

    def query(self, statement: str, parameters: Parameters = _NOTHING) -> list[Row]:
        """Return the rows of a SELECT."""
        return self._perform([(statement, parameters)])[0][0]

    def change(self, statement: str, parameters: Parameters = _NOTHING) -> int:
        """Return how many rows a statement has changed."""
        return self._perform([(statement, parameters)])[0][1]

    def change_many(self, statement: str, parameters: Sequence[Parameters]) -> int:
        """Perform a statement with each of several parameters."""
        return sum(self.change_each(statement, parameters))

    def ask(self, asked: Sequence[tuple[str, Parameters]]) -> list[list[Row]]:
        """Perform statements in one exchange; return the rows of each."""
        return [rows for rows, _ in self._perform(asked)]

    def change_each(self, statement: str, parameters: Sequence[Parameters]) -> list[int]:
        """Perform a statement with each of several parameters, some in one exchange; return how many each changed."""
        return [count for _, count in self._perform([(statement, each) for each in parameters])]

    def lock_free(self, numbers: Collection[int]) -> Collection[int]:
        """Lock those jobs that no other transaction has locked, and return them."""
        if not numbers:
            return numbers
        which, values = among(numbers)
        rows = self.query(f"SELECT number FROM fcgi_jobs WHERE {which}{{skip_locked}}", values)
        return {cast("int", number) for (number,) in rows}

    def tables(self) -> set[str]:
        """Return the names of the tables that there are."""
        return {str(name) for (name,) in self.query("SHOW TABLES")}

    def indexes(self) -> set[str]:
        """Return the names of the indexes that there are."""
        rows = self.query("SELECT index_name FROM information_schema.statistics WHERE table_schema = DATABASE()")
        return {str(name) for (name,) in rows}

    def columns(self, table: str) -> set[str]:
        """Return the names of a table's columns."""
        return {str(row[0]) for row in self.query(f"SHOW COLUMNS FROM {table}")}

    def write_parameter(self, name: str) -> str:
        """Return how a parameter is written, before its value stands there."""
        return f":{name}"

    def written(self, statement: str) -> str:
        """Return a statement in this dialect's words."""
        found = self._written.get(statement)
        if found is None:
            text = _OTHERWISE.get(statement, statement).replace("{collation}", self._collation)
            into = _INSERT.match(text)
            if into is not None:
                table, column = into.groups()
                # changes nothing, and unlike IGNORE hides no other error
                text = text.replace("{or_nothing}", f" ON DUPLICATE KEY UPDATE {column} = {table}.{column}")
            found = super().written(text)
            if len(self._written) < 500:
                self._written[statement] = found
        return found

    def check(self) -> list[str]:
        """Return []: the server looks after itself."""
        return []

    def _require(self) -> pymysql.Connection[Cursor]:
        assert self._connection is not None
        return self._connection

    def _perform(self, asked: Sequence[tuple[str, Parameters]]) -> list[tuple[list[Row], int]]:
        """Perform statements in one exchange, after what begins the transaction; return the rows and counts of each."""
        if not asked:
            return []
        connection, texts = self._require(), [self._text(statement, values) for statement, values in asked]
        begins, self._unbegun = self._unbegun, False
        if begins:
            texts.insert(0, b"START TRANSACTION")
        answers: list[tuple[list[Row], int]] = []
        with connection.cursor() as cursor:
            # a node that rolls a transaction back between statements does not report it, and performs the next ones
            for some in messages(texts, self._packet, 1 if self.optimistic else _TOGETHER):
                # its stubs only allow text, which it would encode
                cursor.execute(cast("str", b"; ".join(some)))
                for _ in some:
                    rows = cast("list[Row]", list(cursor.fetchall())) if cursor.description else []
                    answers.append((rows, cursor.rowcount))
                    cursor.nextset()
        self._used = time.monotonic()
        return answers[1:] if begins else answers

    def _text(self, statement: str, values: Parameters) -> bytes:
        """Return a statement with its values.

        Raises:
            PayloadTooLarge: the server takes no such long message.
        """
        escape = self._require().escape
        text = _PARAMETER.sub(lambda found: escape(values[found[1]]), self.written(statement))
        content = text.encode("utf-8", "surrogateescape")
        if len(content) > self._packet:
            raise PayloadTooLarge(
                f"{self.address}: one statement is {len(content)} bytes, and the server's max_allowed_packet takes "
                f"{self._packet}: raise that, or store the data elsewhere and put its name into the job"
            )
        return content

    def _outlive(self) -> None:
        """Wait until the server works no more for a connection that was lost: it may still be about to commit."""
        [(holder,)] = self.query(f"SELECT IS_USED_LOCK('{self._key}')")
        if holder is not None:
            # the connection may have ended meanwhile
            with suppress(pymysql.Error):
                self.change(f"KILL {holder}")
        self._lock(self._key)

    def _lock(self, name: str) -> None:
        if self.query(f"SELECT GET_LOCK('{name}', {min(_LOCKED, self.address.answer // 2)})") != [(1,)]:
            raise StoreUnavailable(f"{self.address}: another connection holds the lock {name!r}; try again")


def _nobody() -> None:
    """No task waits for work in this process."""


def messages(texts: Sequence[bytes], longest: int, most: int) -> Iterator[list[bytes]]:
    """Yield statements that go together in one message: it is not too long, and they are not too many."""
    some: list[bytes] = []
    size = 0
    for text in texts:
        if some and (len(some) == most or size + len(text) + 2 > longest):
            yield some
            some, size = [], 0
        some.append(text)
        size += len(text) + 2
    if some:
        yield some


# statements in one message, what stands before them in it, and what a settlement has beside its response
_TOGETHER: Final = 200
_HEAD: Final = 16
_BESIDE: Final = 1 << 18
