"""Gateway: a dispatcher's workers, for every process that speaks FastCGI."""

from __future__ import annotations

import logging
import socket
from types import TracebackType
from typing import Self

import anyio
import anyio.lowlevel
import attrs

from fcgi_async.dispatch.dispatcher import Dispatcher
from fcgi_async.errors import ConfigurationError
from fcgi_async.gateway.front import Front
from fcgi_async.gateway.incoming_body import BodySettings
from fcgi_async.gateway.listening import Acceptor, listen
from fcgi_async.gateway.params import KnownParams
from fcgi_async.gateway.serving import Serving
from fcgi_async.job.numbers import is_whole
from fcgi_async.net.bell import Bell
from fcgi_async.net.values import GATEWAY_VALUE
from fcgi_async.spool.room import SpoolRoom
from fcgi_async.wire.spec import FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS, MAX_REQUEST_ID

__all__ = ("Gateway", "GatewayStatistics")

logger = logging.getLogger("fcgi_async.gateway")

_MIB = 1024 * 1024
_MODE = 0o660
# requests of one client that keep a few workers busy however late the client comes
_MANY_REQUESTS = 12
# seconds for a client to read the rest of its responses after all have come
_FLUSH_SECONDS = 5.0


@attrs.frozen
class GatewayStatistics:
    """What a gateway is doing and has done; the dispatcher's statistics count its requests as jobs.

    The first two are gauges of the current moment; the others count from the beginning.

    Attributes:
        connections: open connections of clients.
        requests: requests that have begun and not ended, including those whose bodies are still coming.
        passed: requests that PHP has answered.
        failed: requests without a complete response from PHP.
        refused: requests that should be sent again later: the queue was full, or the gateway was closing.
        left: requests whose clients left, before or while they ran.
    """

    connections: int
    requests: int
    passed: int
    failed: int
    refused: int
    left: int


def _requests_for(share: int, most_queued: int) -> int:
    """Return how many requests a client may have at once.

    With only twice a small share, the queue is empty each time a client is late, and each answer is sent by itself.
    """
    return min(max(2 * share, min(3 * share, _MANY_REQUESTS)), share + most_queued, MAX_REQUEST_ID)


class Gateway:
    """Takes FastCGI requests of other processes, and runs them on the workers of a dispatcher, in its queue.

        async with Dispatcher("unix:///run/php/php-fpm.sock", max_children=8) as php:
            async with Gateway(php, "unix:///run/app/gateway.sock"):
                await anyio.sleep_forever()

    Its clients are dispatchers of this library, with the gateway's address as their endpoint, and web servers. All
    clients use the dispatcher's share together: a busy process can use all of it. The dispatcher's `max_queued`, its
    endpoints' `kept` and its deadlines apply to their requests. A client sets a priority with the parameter
    `FCGI_ASYNC_PRIORITY`, which a dispatcher sends by itself and PHP does not get.

    Enter it once, in the dispatcher's event loop, while the dispatcher is entered. Every client that can connect can
    run any PHP file, as with PHP-FPM's own socket.

    Args:
        dispatcher: the dispatcher whose workers are used; it may run its own jobs too.
        listen: `unix:///path.sock`, `unix://@name`, `tcp://127.0.0.1:9000`, or a socket that already listens. A socket
            file without a listener is replaced.
        mode: the permissions of a unix socket's file.
        requests: most requests that each client is told to send at once; None for three times the share up to 12, and
            at least twice the share, if the queue has room for them. With a higher number, more requests wait in the
            gateway's queue, ordered by its priorities, and more go with each system call; with a lower number, more
            wait in the clients' own queues, where they have certainly not run.
        max_connections: most clients that are served; more wait in the backlog.
        max_body: most bytes of a request's body.
        body_buffer: bytes of a body that are kept in memory before it goes to a temporary file.
        max_spooled: most bytes of all bodies in temporary files.
        shutdown_timeout: how many seconds leaving waits for the requests; None for no limit.

    Raises:
        ConfigurationError: a number is out of its range.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        listen: str | socket.socket,
        *,
        mode: int = _MODE,
        requests: int | None = None,
        max_connections: int = 1000,
        max_body: int = 1024 * _MIB,
        body_buffer: int = 256 * 1024,
        max_spooled: int = 4096 * _MIB,
        shutdown_timeout: float | None = None,
    ) -> None:
        self._dispatcher, self._listen, self._mode = dispatcher, listen, mode
        for name, value in (
            ("requests", 1 if requests is None else requests),
            ("max_connections", max_connections),
            ("max_body", max_body),
            ("body_buffer", body_buffer),
            ("max_spooled", max_spooled),
        ):
            if not is_whole(value) or value < (0 if "_" in name and name != "max_connections" else 1):
                raise ConfigurationError(f"Gateway({name}) must be a number in its range, not {value!r}")
        if requests is not None and requests > MAX_REQUEST_ID:
            raise ConfigurationError(f"Gateway(requests={requests}): a connection has {MAX_REQUEST_ID} request ids")
        self._requests, self._max_connections = requests, max_connections
        self._max_body, self._body_buffer, self._max_spooled = max_body, body_buffer, max_spooled
        self._shutdown_timeout = shutdown_timeout
        self._serving: Serving | None = None
        self._acceptor: Acceptor | None = None
        self._fronts: set[Front] = set()
        self.address = ""

    async def __aenter__(self) -> Self:
        """Listen.

        Raises:
            ConfigurationError: it cannot listen there, or it was entered before.
            DispatcherClosed: the dispatcher is not entered.

        After a cancellation it can be entered again.
        """
        await anyio.lowlevel.checkpoint()
        if self._serving is not None:
            raise ConfigurationError("a gateway can be entered only once; make a new one")
        backend, most_queued = self._dispatcher._for_gateway()
        share = sum(endpoint.share for endpoint in self._dispatcher.endpoints)
        listening = listen(self._listen, self._mode)
        self.address = listening.address
        self._changed = Bell(backend)
        allowed = frozenset.intersection(*(endpoint.allow_params for endpoint in self._dispatcher.endpoints))
        self._serving = Serving(
            backend=backend,
            queue=self._dispatcher._relay,
            params=KnownParams(frozenset(name.encode() for name in allowed)),
            bodies=BodySettings(self._max_body, self._body_buffer, SpoolRoom(self._max_spooled), backend),
            values={
                FCGI_MPXS_CONNS: b"1",
                FCGI_MAX_REQS: b"%d"
                % (_requests_for(share, most_queued) if self._requests is None else self._requests),
                FCGI_MAX_CONNS: b"%d" % self._max_connections,
                GATEWAY_VALUE: b"1",
            },
            most_open=most_queued + share,
            ended=self._ended,
        )
        self._acceptor = Acceptor(listening, backend, self._take, self._has_room)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Finish the requests within `shutdown_timeout`; after an exception or a cancellation, end them now."""
        await self.aclose(timeout=self._shutdown_timeout if kind is None else 0.0)

    async def aclose(self, *, timeout: float | None = None) -> None:
        """Refuse new requests, finish the accepted ones, and close.

        Args:
            timeout: seconds to wait for requests; 0 ends them now, None waits without a limit.

        Requests that come meanwhile are refused, and do not run. Requests that are not done in time end as if their
        clients had left. Cancelling ends the requests now.
        """
        serving, acceptor = self._serving, self._acceptor
        if serving is None or acceptor is None:
            await anyio.lowlevel.checkpoint()
            return
        serving.draining = True
        acceptor.close()
        try:
            with anyio.move_on_after(timeout):
                while serving.open:
                    await self._changed.wait()
            if timeout != 0:
                await self._flush()
        finally:
            if serving.open:
                logger.warning("the gateway is closed with %d unfinished request(s)", serving.open)
            for front in tuple(self._fronts):
                front.close()
        await anyio.lowlevel.checkpoint()

    async def _flush(self) -> None:
        for front in tuple(self._fronts):
            front.close_when_sent()
        with anyio.move_on_after(_FLUSH_SECONDS):
            while self._fronts:
                await self._changed.wait()

    def statistics(self) -> GatewayStatistics:
        """Return the current gauges and the counters since entering.

        Raises:
            ConfigurationError: it was not entered.
        """
        serving = self._serving
        if serving is None:
            raise ConfigurationError("the gateway was not entered")
        return GatewayStatistics(
            len(self._fronts), serving.open, serving.passed, serving.failed, serving.refused, serving.left
        )

    def _take(self, sock: socket.socket) -> None:
        assert self._serving is not None
        self._fronts.add(Front(sock, self._serving, self._front_closed))

    def _has_room(self) -> bool:
        return len(self._fronts) < self._max_connections

    def _front_closed(self, front: Front) -> None:
        self._fronts.discard(front)
        if self._acceptor is not None:
            self._acceptor.resume()

    def _ended(self) -> None:
        if self._changed.waiters:
            self._changed.ring()
