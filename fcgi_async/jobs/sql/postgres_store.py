"""PostgresStore: jobs in PostgreSQL; leases say who is alive, and NOTIFY wakes."""

from __future__ import annotations

import random
import time
from contextlib import suppress
from typing import ClassVar, Final

import anyio
import anyio.to_thread
import attrs

try:
    import psycopg
except ImportError as error:
    raise ImportError(
        "durable jobs in PostgreSQL need psycopg: pip install 'fcgi-async[postgres]'",
        name=error.name,
        path=error.path,
    ) from error

from fcgi_async.jobs.bell import Hearing
from fcgi_async.jobs.sql.postgres import CHANNEL, PostgresDialect
from fcgi_async.jobs.sql.postgres_address import Address
from fcgi_async.jobs.sql.server_store import ServerStore
from fcgi_async.jobs.store import Bell

__all__ = ("PostgresStore",)

# seconds between attempts to listen again
_PAUSE: Final = 1.0
# workers that listen if there are more: the server pays for each that it tells of a job, and the others look anyway
_LISTENERS: Final = 64


class PostgresStore(ServerStore[PostgresDialect]):
    """Jobs in PostgreSQL, for processes of any number of machines.

    Args:
        url: of the database, as libpq reads it.
        lease: seconds after its last sign in which a worker is dead.

    Raises:
        ConfigurationError: it is no such URL.
    """

    placeholder: ClassVar[str] = "%s"
    relaxed: ClassVar[bool] = True

    def __init__(self, url: str, lease: float) -> None:
        self._address = Address(url)
        super().__init__(PostgresDialect(self._address, lease), lease)
        self._listeners: dict[Bell, _Listener] = {}
        # between 0 and 1: who draws a high one does not listen in a crowd
        self._lot = random.random()

    async def aclose(self) -> None:
        """Perform what was called, then disconnect."""
        await super().aclose()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """As `Store.wait()`; it takes all the time while the server is away, and for some of a crowd of workers."""
        listener = self._listeners.get(bell)
        if listener is None:
            listener = self._listeners[bell] = _Listener(self._address, bell)
        listener.follow(self._dialect.generation)
        if heard < 0:
            await listener.listen()
            return listener.count
        if bell == "work" and self._lot * self.crowd >= _LISTENERS:
            listener.rest()
            await anyio.sleep(timeout)
            return heard
        return await listener.wait(heard, timeout)

    def ring(self) -> None:
        """As `Store.ring()`."""
        self._committer.send(lambda dialect: dialect.will_ring("work"), durable=False)


@attrs.define(eq=False)
class _Listener(Hearing):
    """Hears one bell over a connection of its own, which the event loop reads."""

    _address: Address
    _bell: Bell
    _connection: psycopg.Connection[tuple[object, ...]] | None = attrs.field(default=None, init=False)
    # how many connections the store had made when this was made
    _generation: int = attrs.field(default=0, init=False)
    _tried: float = attrs.field(default=-_PAUSE, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def listen(self) -> None:
        """Connect if it is not connected; without a server that is tried again by who waits."""
        if self._connection is not None:
            return
        self._tried, generation = time.monotonic(), self._generation
        with suppress(psycopg.Error):
            self._keep(await anyio.to_thread.run_sync(self._connect), generation)

    def follow(self, generation: int) -> None:
        """Listen anew if the store is on a later connection: a server that is frozen or cut off ends none by itself."""
        if generation != self._generation:
            self._generation = generation
            self._disconnect()

    def rest(self) -> None:
        """Disconnect until somebody waits."""
        if not self._reading:
            self._disconnect()

    def close(self) -> None:
        """Listen no more."""
        self._closed = True
        self._disconnect()

    async def _read(self) -> bool:
        connection = self._connection
        if connection is None:
            await anyio.sleep(max(self._tried + _PAUSE - time.monotonic(), 0))
            await self.listen()
            # something may have come meanwhile
            return self._connection is not None
        try:
            await anyio.wait_readable(connection.fileno())
            connection.pgconn.consume_input()
        except anyio.ClosedResourceError:
            return False
        except psycopg.OperationalError:
            self._disconnect()
            return False
        heard = False
        while connection.pgconn.notifies() is not None:
            heard = True
        return heard

    def _keep(self, connection: psycopg.Connection[tuple[object, ...]], generation: int) -> None:
        # another call has connected meanwhile, or closed this, or the store has moved on
        if self._connection is None and not self._closed and generation == self._generation:
            self._connection = connection
        else:
            connection.close()

    def _connect(self) -> psycopg.Connection[tuple[object, ...]]:
        connection = self._address.connect()
        try:
            connection.execute(f"LISTEN {CHANNEL}{self._bell}".encode())
        except BaseException:
            connection.close()
            raise
        return connection

    def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error, OSError):
                anyio.notify_closing(connection.fileno())
            with suppress(psycopg.Error):
                connection.close()
