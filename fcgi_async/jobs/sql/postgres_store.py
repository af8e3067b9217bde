"""PostgresStore: jobs in PostgreSQL; leases show which workers are alive, and NOTIFY wakes them."""

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
# most workers that listen: notifying one costs the server time, and the others poll anyway
_LISTENERS: Final = 64


class PostgresStore(ServerStore[PostgresDialect]):
    """Jobs in PostgreSQL, for processes of any number of machines.

    Args:
        url: the URL of the database, as libpq reads it.
        lease: seconds after its last renewal until a worker counts as dead.

    Raises:
        ConfigurationError: it is no such URL.
    """

    placeholder: ClassVar[str] = "%s"
    relaxed: ClassVar[bool] = True

    def __init__(self, url: str, lease: float) -> None:
        self._address = Address(url)
        super().__init__(PostgresDialect(self._address, lease), lease)
        self._listeners: dict[Bell, _Listener] = {}
        # between 0 and 1; with many workers, one with a high number does not listen
        self._lot = random.random()

    async def aclose(self) -> None:
        """Perform the waiting calls, then disconnect."""
        await super().aclose()
        for listener in self._listeners.values():
            listener.close()
        self._listeners.clear()

    async def wait(self, bell: Bell, heard: int, timeout: float) -> int:
        """As `Store.wait()`; it lasts until the timeout if the server is away, or if this worker does not listen."""
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
    """Receives the notifications of one bell over its own connection, which the event loop reads."""

    _address: Address
    _bell: Bell
    _connection: psycopg.Connection[tuple[object, ...]] | None = attrs.field(default=None, init=False)
    # how many connections the store had made when this was made
    _generation: int = attrs.field(default=0, init=False)
    _tried: float = attrs.field(default=-_PAUSE, init=False)
    _closed: bool = attrs.field(default=False, init=False)

    async def listen(self) -> None:
        """Connect if it is not connected; if the server is away, the next wait tries again."""
        if self._connection is not None:
            return
        self._tried, generation = time.monotonic(), self._generation
        with suppress(psycopg.Error):
            self._keep(await anyio.to_thread.run_sync(self._connect), generation)

    def follow(self, generation: int) -> None:
        """Connect again if the store has: a frozen or unreachable server does not close this connection."""
        if generation != self._generation:
            self._generation = generation
            self._disconnect()

    def rest(self) -> None:
        """Disconnect until the next wait."""
        if not self._reading:
            self._disconnect()

    def close(self) -> None:
        """Stop listening."""
        self._closed = True
        self._disconnect()

    async def _read(self) -> bool:
        connection = self._connection
        if connection is None:
            await anyio.sleep(max(self._tried + _PAUSE - time.monotonic(), 0))
            await self.listen()
            # a notification may have come meanwhile
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
        # another call has connected or closed it meanwhile, or the store has connected again
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
