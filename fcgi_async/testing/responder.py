"""A FastCGI responder for tests: it listens on a real socket, and a Python function answers."""

from __future__ import annotations

import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self

import anyio
import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.net.backend import Backend
from fcgi_async.net.current import current_backend
from fcgi_async.testing.connection import Application, ServedConnection
from fcgi_async.testing.faults import Drip, Fault, Interruption
from fcgi_async.testing.listening import Listener, listening
from fcgi_async.testing.reply import Reply
from fcgi_async.testing.request import Answer, ClientGone, Request
from fcgi_async.wire.spec import FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS

__all__ = ("Handler", "Responder")

Handler = Callable[[Request], Awaitable[Answer]]

_Values = Mapping[str, str] | Interruption | None
ValuesPlan = _Values | Callable[[ServedConnection], Awaitable[_Values]]
FaultPlan = Fault | Mapping[int, Fault] | Callable[[Request], Fault | None] | None


@attrs.define(eq=False)
class Responder:
    """Answers FastCGI requests for as long as its context is entered, on asyncio and on trio.

        async def handler(request):
            return Reply(404, body=f"no {request.uri}")

        async with Responder(handler) as responder, Dispatcher(responder.address, max_children=4) as php:
            ...

    Without `multiplex` it is what a PHP-FPM pool is to its clients: so many workers, each of which serves one
    connection at a time and one request at a time, answers GET_VALUES only between requests, and closes a connection
    that was not to be kept. With `multiplex` the requests of a connection run at the same time.

    A handler that raises is answered for as PHP is that dies of a fatal error: status 500, the traceback in STDERR.
    The error is kept in `errors`, and leaving the context raises the first one, unless it is left by another error.

    Entering raises `ConfigurationError` where it cannot listen. Leaving cancels handlers that run and closes all
    connections. On asyncio it may be entered and left in different tasks, as pytest-asyncio's fixtures do.

    Args:
        handler: called with each `Request`; returns a `Reply`, its body as text or bytes, a fault, or None where it
            has answered through the request itself (where it has not, the answer is an empty 200).
        address: where to listen: None for a unix socket in a private folder, "tcp" for a free port of 127.0.0.1, "tcp6"
            for one of ::1, or an address such as `unix:///path`, `unix://@name` and `tcp://127.0.0.1:9000`.
        multiplex: whether GET_VALUES is answered FCGI_MPXS_CONNS=1, and many requests are taken on a connection.
        workers: how many connections are served at a time; more wait in the backlog. With `multiplex` it is said as
            FCGI_MAX_CONNS.
        max_requests: with `multiplex`, how many requests are taken at a time, said as FCGI_MAX_REQS; more are
            OVERLOADED.
        backlog: how many connections the kernel keeps waiting.
        fault: what goes wrong: one `Fault` for every request, a mapping from a request's number (from 1) to its fault,
            or a function of the request. It may be changed at any time.
        values: what GET_VALUES is answered with instead, or an `Interruption` that strikes then; or an async function
            that is called with the `ServedConnection` each time and returns one of these, or None for the usual answer.
        closes_after_values: whether the connection is closed after the answer to GET_VALUES, as by PHP before 8.2.13.

    Attributes:
        address: where it listens, as a `Dispatcher` takes it.
        requests: every request whose parameters were complete, in their order.
        connections: every connection that was taken, in their order.
        running: how many requests are being handled.
        most_at_once: the most there were of them at a time.
        most_connections: the most connections that were served at a time.
        errors: what handlers raised.
    """

    handler: Handler
    _listen_at: str | None = attrs.field(default=None, alias="address")
    multiplex: bool = attrs.field(default=False, kw_only=True)
    workers: int = attrs.field(default=4, kw_only=True, validator=attrs.validators.ge(1))
    max_requests: int = attrs.field(default=100, kw_only=True, validator=attrs.validators.ge(1))
    backlog: int = attrs.field(default=128, kw_only=True)
    fault: FaultPlan = attrs.field(default=None, kw_only=True)
    values: ValuesPlan = attrs.field(default=None, kw_only=True)
    closes_after_values: bool = attrs.field(default=False, kw_only=True)
    address: str = attrs.field(init=False)
    requests: list[Request] = attrs.field(factory=list, init=False)
    connections: list[ServedConnection] = attrs.field(factory=list, init=False)
    running: int = attrs.field(default=0, init=False)
    most_at_once: int = attrs.field(default=0, init=False)
    most_connections: int = attrs.field(default=0, init=False)
    errors: list[BaseException] = attrs.field(factory=list, init=False)
    _stack: ExitStack = attrs.field(factory=ExitStack, init=False, repr=False)
    _backend: Backend | None = attrs.field(default=None, init=False, repr=False)
    _listener: Listener = attrs.field(init=False, repr=False)
    _listening: bool = attrs.field(default=True, init=False, repr=False)
    _accepting: anyio.Lock = attrs.field(init=False, repr=False)
    _arrived: anyio.Event = attrs.field(init=False, repr=False)

    async def __aenter__(self) -> Self:
        if self._backend is not None:
            raise ConfigurationError("this Responder has been entered already")
        self._accepting, self._arrived = anyio.Lock(), anyio.Event()
        self._listener = self._stack.enter_context(listening(self._listen_at, self.backlog))
        self.address = self._listener.address
        self._backend = current_backend()
        try:
            await self._backend.open()
        except BaseException:
            self._stack.close()
            raise
        for _ in range(self.workers):
            self._backend.spawn(self._work)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._backend is not None
        try:
            await self._backend.aclose()
        finally:
            self._stack.close()
        if error is None and self.errors:
            raise self.errors[0]

    @property
    def open_connections(self) -> int:
        """How many connections are being served."""
        return sum(connection.is_open for connection in self.connections)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until so many requests have come since the beginning; those already there count."""
        while len(self.requests) < count:
            await self._arrived.wait()

    def stop_listening(self) -> None:
        """Refuse connections from now on, those in the backlog too; what was taken is served to its end."""
        if self._listening:
            self._listening = False
            anyio.notify_closing(self._listener.sock)
            self._listener.sock.close()

    def reload(self) -> None:
        """Close every connection as a graceful reload of PHP-FPM does: now, or after the request that runs on it."""
        for connection in self.connections:
            if connection.is_open:
                connection.close_when_idle()

    async def _work(self) -> None:
        application = Application(
            run=self._run,
            arrived=self._note_arrival,
            values=self._answer_to_get_values,
            closes_after_values=self.closes_after_values,
            multiplex=self.multiplex,
            max_requests=self.max_requests if self.multiplex else self.workers,
            open_requests=lambda: sum(len(connection.unended) for connection in self.connections if connection.is_open),
        )
        while (sock := await self._accept()) is not None:
            connection = ServedConnection(sock, application, len(self.connections) + 1)
            self.connections.append(connection)
            self.most_connections = max(self.most_connections, self.open_connections)
            await connection.serve()

    async def _accept(self) -> socket.socket | None:
        """Return the next connection, or None once nothing listens any more."""
        async with self._accepting:
            while True:
                if not self._listening:
                    return None
                try:
                    await anyio.wait_readable(self._listener.sock)
                    sock, _ = self._listener.sock.accept()
                except (BlockingIOError, ConnectionAbortedError, anyio.ClosedResourceError):
                    continue
                break
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return sock

    def _note_arrival(self, request: Request) -> None:
        self.requests.append(request)
        request.number = len(self.requests)
        self._arrived.set()
        self._arrived = anyio.Event()

    async def _answer_to_get_values(self, connection: ServedConnection) -> Mapping[str, str] | Interruption:
        values = await self.values(connection) if callable(self.values) else self.values
        if values is not None:
            return values
        if not self.multiplex:
            # PHP-FPM says no more
            return {FCGI_MPXS_CONNS.decode(): "0"}
        return {
            FCGI_MPXS_CONNS.decode(): "1",
            FCGI_MAX_CONNS.decode(): str(self.workers),
            FCGI_MAX_REQS.decode(): str(self.max_requests),
        }

    async def _run(self, request: Request) -> None:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        try:
            await self._answer(request)
        except (ClientGone, KeyboardInterrupt, SystemExit, GeneratorExit, anyio.get_cancelled_exc_class()):
            raise
        # pytest.fail() in a handler is no Exception
        except BaseException as error:
            self.errors.append(error)
            await self._answer_for(request, error)
        finally:
            self.running -= 1

    async def _answer(self, request: Request) -> None:
        fault = self._fault_of(request)
        if fault is not None:
            await request.fault(fault)
        if request.ended:
            return
        answer = await self.handler(request)
        if isinstance(answer, Fault) and not isinstance(answer, Drip):
            await request.fault(answer)
            answer = None
        if isinstance(answer, Reply | str | bytes):
            await request.respond(answer)
        elif answer is not None:
            raise TypeError(f"a handler returns a Reply, text, bytes, a fault or None, not {answer!r}")
        elif not request.ended:
            await (request.end() if request.answered else request.respond(b""))

    def _fault_of(self, request: Request) -> Fault | None:
        if self.fault is None or isinstance(self.fault, Fault):
            return self.fault
        if isinstance(self.fault, Mapping):
            return self.fault.get(request.number)
        return self.fault(request)

    async def _answer_for(self, request: Request, error: BaseException) -> None:
        if request.ended:
            return
        await request.write_stderr("PHP message: PHP Fatal error:  " + "".join(traceback.format_exception(error)))
        await (request.end() if request.answered else request.respond(Reply(500)))
