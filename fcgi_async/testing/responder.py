"""A FastCGI responder for tests: it listens on a real socket, and a Python function answers."""

from __future__ import annotations

import inspect
import socket
import traceback
from collections.abc import Awaitable, Callable, Mapping
from contextlib import ExitStack
from types import TracebackType
from typing import Self, Unpack

import anyio
import attrs

from fcgi_async.errors import ConfigurationError
from fcgi_async.job.form import Pairs
from fcgi_async.net.backend import Backend
from fcgi_async.net.current import current_backend
from fcgi_async.testing.connection import Application, ServedConnection
from fcgi_async.testing.expectation import Asked, Expectation
from fcgi_async.testing.faults import Fault, Interruption
from fcgi_async.testing.listening import Listener, listening
from fcgi_async.testing.reply import Reply
from fcgi_async.testing.request import Answer, ClientGone, Request
from fcgi_async.testing.routes import (
    NOT_FOUND,
    Handler,
    Route,
    assert_all_asked,
    assert_asked,
    check_answer,
    is_coroutine_function,
)
from fcgi_async.wire.spec import FCGI_MAX_CONNS, FCGI_MAX_REQS, FCGI_MPXS_CONNS

__all__ = ("Responder",)

_Values = Mapping[str, str] | Interruption | None
ValuesPlan = _Values | Callable[[ServedConnection], Awaitable[_Values]]
FaultPlan = Fault | Mapping[int, Fault] | Callable[[Request], Fault | None] | None


@attrs.define(eq=False)
class Responder:
    """Answers FastCGI requests while its context is entered, on asyncio and on trio.

        async with Responder() as responder, Dispatcher(responder.address, max_children=4) as php:
            responder.on("/price.php").reply(json={"price": 7})
            await php.run(Job("/srv/price.php", json={"id": 3}))
            responder.assert_asked_once("/price.php", json={"id": 3})

    Without `multiplex`, it behaves like a PHP-FPM pool: it has a number of workers, and each serves one connection and
    one request at a time, answers GET_VALUES only between requests, and closes a connection that is not to be kept.
    With `multiplex`, the requests of a connection run at the same time.

    A request gets the answer set with `on()`, or otherwise the handler's. If there is neither, it is `unexpected` and
    gets PHP-FPM's 404. A plain function is called in the event loop after the body has come; it must not block.

    If a handler raises, the answer is that of a fatal error in PHP: status 500, with the traceback in STDERR. The error
    is kept in `errors`, and leaving the context raises the first one, unless another error leaves it.

    Entering raises `ConfigurationError` if it cannot listen. Leaving cancels running handlers and closes all
    connections. On asyncio it may be entered and left in different tasks, as pytest-asyncio's fixtures do.

    Args:
        handler: a plain or a coroutine function, called with each `Request` for which `on()` has no answer; it returns
            a `Reply`, its body as text or bytes, a fault, or None if it has answered through the request itself
            (otherwise the answer is an empty 200).
        address: where to listen: None for a unix socket in a private folder, "tcp" for a free port of 127.0.0.1, "tcp6"
            for a free port of ::1, or an address such as `unix:///path`, `unix://@name` and `tcp://127.0.0.1:9000`.
        multiplex: whether GET_VALUES is answered with FCGI_MPXS_CONNS=1, and many requests are accepted on a
            connection.
        workers: how many connections are served at a time; more wait in the backlog. With `multiplex`, reported as
            FCGI_MAX_CONNS.
        max_requests: with `multiplex`, how many requests are accepted at a time, reported as FCGI_MAX_REQS; more are
            OVERLOADED.
        backlog: how many connections the kernel keeps waiting.
        fault: the faults to make: one `Fault` for every request, a mapping from a request's number (from 1) to its
            fault, or a function of the request. It may be changed at any time.
        values: the answer to GET_VALUES instead of the usual one, or an `Interruption` that happens then; or an async
            function that is called with the `ServedConnection` each time and returns one of these, or None for the
            usual answer.
        closes_after_values: whether the connection is closed after the answer to GET_VALUES, as PHP before 8.2.13 does.

    Attributes:
        address: its address, for a `Dispatcher`.
        requests: every request whose parameters were complete, in order.
        routes: the routes that `on()` made.
        unexpected: the requests for which there was no answer.
        connections: every accepted connection, in order.
        running: number of requests that are being handled.
        most_at_once: most requests that were handled at the same time.
        most_connections: most connections that were served at the same time.
        errors: what handlers raised.
    """

    handler: Handler | None = None
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
    routes: list[Route] = attrs.field(factory=list, init=False)
    unexpected: list[Request] = attrs.field(factory=list, init=False)
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

    def __attrs_post_init__(self) -> None:
        if self.handler is not None and not callable(self.handler):
            raise ConfigurationError(
                f"Responder(handler={self.handler!r}) is not a function; for a fixed answer write "
                "responder.on().reply(...)"
            )

    async def __aenter__(self) -> Self:
        if self._backend is not None:
            raise ConfigurationError("this Responder was entered before; make a new one for each `async with`")
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

    def on(
        self,
        script: str | None = None,
        *,
        method: str | None = None,
        uri: str | None = None,
        query: Pairs | None = None,
    ) -> Route:
        """Set the answer to matching requests: `responder.on("/x.php", method="POST").reply(json={"id": 7})`.

        If several routes match, the latest one answers. Without `reply()`, the answer is an empty 200.

        Args:
            script: the end of SCRIPT_FILENAME, in whole path segments: "/x.php" also matches "/srv/app/x.php". None:
                any script.
            method: the request method; None: any.
            uri: the request target: its path, or path and query if it has a "?". None: any.
            query: the whole query string, in any order: a mapping, a sequence of pairs, or encoded. None: any.
        """
        facts = Asked()
        if method is not None:
            facts["method"] = method
        if uri is not None:
            facts["uri"] = uri
        if query is not None:
            facts["query"] = query
        self.routes.append(Route(Expectation(script, facts)))
        return self.routes[-1]

    def assert_asked(
        self, script: str | None = None, *, times: int | None = None, **asked: Unpack[Asked]
    ) -> list[Request]:
        """Return the requests that are as expected, in order.

        Args:
            script: which script, as for `on()`.
            times: how many there must be; None for at least one.
            asked: the other expected facts: see `Asked`.

        Raises:
            AssertionError: there are more or fewer; the error shows all requests, and how each differs.
            TypeError: an argument is not one of `Asked`.
        """
        __tracebackhide__ = True
        return assert_asked(self.requests, self.unexpected, Expectation(script, asked), times)

    def assert_asked_once(self, script: str | None = None, **asked: Unpack[Asked]) -> Request:
        """Return the only request that is as expected; like `assert_asked()` with `times=1`."""
        __tracebackhide__ = True
        return assert_asked(self.requests, self.unexpected, Expectation(script, asked), 1)[0]

    def assert_not_asked(self, script: str | None = None, **asked: Unpack[Asked]) -> None:
        """Raise AssertionError if there was such a request; like `assert_asked()` with `times=0`."""
        __tracebackhide__ = True
        assert_asked(self.requests, self.unexpected, Expectation(script, asked), 0)

    def assert_all_asked(self) -> None:
        """Raise AssertionError if a route of `on()` was never asked for, or a request was unexpected."""
        __tracebackhide__ = True
        assert_all_asked(self.routes, self.unexpected)

    @property
    def open_connections(self) -> int:
        """Number of connections that are being served."""
        return sum(connection.is_open for connection in self.connections)

    async def wait_for_requests(self, count: int) -> None:
        """Wait until this many requests have come since the beginning; earlier ones count."""
        self._check_here()
        while len(self.requests) < count:
            await self._arrived.wait()

    def stop_listening(self) -> None:
        """Refuse new connections from now on, also those in the backlog; accepted ones are served to their end."""
        self._check_here()
        if self._listening:
            self._listening = False
            anyio.notify_closing(self._listener.sock)
            self._listener.sock.close()

    def reload(self) -> None:
        """Close every connection as a graceful reload of PHP-FPM does: now, or after its running request."""
        self._check_here()
        for connection in self.connections:
            if connection.is_open:
                connection.close_when_idle()

    def _check_here(self) -> None:
        try:
            if self._backend is not None:
                self._backend.check_here()
        except ConfigurationError as error:
            raise ConfigurationError(
                "the responder runs in another event loop, where alone this can be done; make one in the test's own "
                "loop: `async with fcgi_responder_factory() as responder:`"
            ) from error

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
        """Return the next connection, or None if it no longer listens."""
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
            # PHP-FPM reports no other value
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
        # pytest.fail() in a handler does not raise an Exception
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
        answer = await self._decide(request)
        if isinstance(answer, Fault):
            await request.fault(answer)
        elif answer is not None:
            await request.respond(answer)
        if not request.ended:
            await (request.end() if request.answered else request.respond(b""))

    async def _decide(self, request: Request) -> Answer:
        route = next((route for route in reversed(self.routes) if route.matches(request)), None)
        chosen: Answer | Handler
        if route is not None:
            chosen = route.take(request)
        elif self.handler is not None:
            chosen = self.handler
        else:
            self.unexpected.append(request)
            chosen = NOT_FOUND
        if not is_coroutine_function(chosen):
            await request.body()
        answer = chosen(request) if callable(chosen) else chosen
        if inspect.isawaitable(answer):
            answer = await answer
        check_answer(answer)
        return answer

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
